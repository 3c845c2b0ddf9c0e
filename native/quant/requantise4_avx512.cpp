#include "quant/groups.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")
#endif

namespace flashmoe::quant {

namespace {

#define FM_LANES 16

/// 32 bytes of packed codes as 64 codes in order.
inline __m512i unpack64(const std::uint8_t* codes) {
    const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    const __m512i wide = _mm512_cvtepu8_epi16(packed);
    return _mm512_and_si512(_mm512_or_si512(wide, _mm512_slli_epi16(wide, 4)), _mm512_set1_epi16(0x0f0f));
}

/// 16 bytes as 32 codes in the lower half; the upper half is 0.
inline __m512i unpack32(const std::uint8_t* codes) {
    const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    const __m256i both =
        _mm256_and_si256(_mm256_or_si256(wide, _mm256_slli_epi16(wide, 4)), _mm256_set1_epi16(0x0f0f));
    return _mm512_maskz_mov_epi64(0x0f, _mm512_castsi256_si512(both));
}

/// Rows of one repeated byte: cheaper from memory than to broadcast again for each group.
struct LevelRows {
    alignas(64) std::uint8_t row[16][64];
};
constexpr LevelRows kRows = [] {
    LevelRows rows{};
    for (int t = 0; t < 16; ++t) {
        for (auto& byte : rows.row[t]) byte = static_cast<std::uint8_t>(t);
    }
    return rows;
}();

template <std::size_t kBytes>
inline __m512i unpack(const std::uint8_t* codes) {
    return kBytes == 16 ? unpack32(codes) : unpack64(codes);
}

template <std::size_t kBytes>
inline void tail_counts(const std::uint8_t* codes, std::int32_t* tail) {
    const __m512i first = unpack<kBytes>(codes);
    const __m512i second = kBytes == 64 ? unpack64(codes + kBytes - 32) : first;
    for (int t = 1; t < 16; ++t) {
        const __m512i level = _mm512_load_si512(kRows.row[t]);
        auto count = _mm_popcnt_u64(_mm512_cmpge_epu8_mask(first, level));
        if (kBytes == 64) count += _mm_popcnt_u64(_mm512_cmpge_epu8_mask(second, level));
        tail[t * FM_LANES] = static_cast<std::int32_t>(count);
    }
}

inline void encode64(__m512i codes, const std::int32_t* choice, std::uint64_t* to) {
    const auto flip = static_cast<std::uint64_t>(std::int64_t{choice[3 * FM_LANES]});
    std::uint64_t over[3];
    for (int j = 0; j < 3; ++j) {
        over[j] = flip ^ _mm512_cmpge_epu8_mask(codes, _mm512_set1_epi8(static_cast<char>(choice[j * FM_LANES])));
    }
    // Codes count upwards: 01 over the first midpoint, 10 over the second, 11 over the third.
    const std::uint64_t high = over[1];
    const std::uint64_t low = (over[0] & ~over[1]) | over[2];
    constexpr std::uint64_t kEven = 0x5555555555555555ull;
    to[0] = _pdep_u64(low, kEven) | _pdep_u64(high, ~kEven);
    to[1] = _pdep_u64(low >> 32, kEven) | _pdep_u64(high >> 32, ~kEven);
}

template <std::size_t kBytes>
inline void encode(const std::uint8_t* codes, const std::int32_t* choice, std::uint8_t* to) {
    std::uint64_t words[4];
    encode64(unpack<kBytes>(codes), choice, words);
    if (kBytes == 64) encode64(unpack64(codes + kBytes - 32), choice, words + 2);
    std::memcpy(to, words, kBytes / 2);
}

template <typename Ints>
inline Ints gather(const std::int32_t* from, const Ints& index) {
    __m512i offsets;
    std::memcpy(&offsets, &index, sizeof offsets);
    const __m512i found = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, offsets, from, 4);
    Ints value;
    std::memcpy(&value, &found, sizeof value);
    return value;
}

/// Whether a comparison is true in any lane.
template <typename Ints>
inline bool any(const Ints& mask) {
    __m512i bits;
    std::memcpy(&bits, &mask, sizeof bits);
    return _mm512_test_epi32_mask(bits, bits) != 0;
}

#include "quant/requantise4_body.h"

} // namespace

ErrorSums requantise4_avx512(const Codes& source, const TwoBitTarget& target, Method method) {
    return requantise_any(source, target, method);
}

} // namespace flashmoe::quant

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
