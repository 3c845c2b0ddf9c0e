#include "quant/groups.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))), apply_to = function)
#else
#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx2,popcnt")
#endif

namespace flashmoe::quant {

namespace {

#define FM_LANES 8

inline __m128i load16(const std::uint8_t* codes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)); }

/// Low nibbles in the lower half, high nibbles in the upper half: counting needs no order.
inline __m256i unpack32(const std::uint8_t* codes) {
    const __m128i packed = load16(codes);
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

inline int count_over(__m256i codes, __m256i level) {
    return _mm_popcnt_u32(static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpgt_epi8(codes, level))));
}

template <std::size_t kBytes>
inline void tail_counts(const std::uint8_t* codes, std::int32_t* tail) {
    for (int t = 1; t < 16; ++t) tail[t * FM_LANES] = 0;
    for (std::size_t i = 0; i < kBytes; i += 16) {
        const __m256i part = unpack32(codes + i);
        for (int t = 1; t < 16; ++t) {
            tail[t * FM_LANES] += count_over(part, _mm256_set1_epi8(static_cast<char>(t - 1)));
        }
    }
}

/// 2-bit codes of 16 nibbles: minus the sum of three masks.
inline __m128i map(__m128i levels, const __m128i* below, __m128i flip) {
    __m128i sum = _mm_setzero_si128();
    for (int j = 0; j < 3; ++j) sum = _mm_add_epi8(sum, _mm_xor_si128(_mm_cmpgt_epi8(levels, below[j]), flip));
    return _mm_sub_epi8(_mm_setzero_si128(), sum);
}

template <std::size_t kBytes>
inline void encode(const std::uint8_t* codes, const int* threshold, int flip, std::uint8_t* to) {
    const __m128i invert = _mm_set1_epi8(static_cast<char>(flip));
    const __m128i nibble = _mm_set1_epi8(15);
    __m128i below[3];
    for (int j = 0; j < 3; ++j) below[j] = _mm_set1_epi8(static_cast<char>(threshold[j] - 1));
    for (std::size_t i = 0; i < kBytes; i += 16) {
        const __m128i packed = load16(codes + i);
        const __m128i even = map(_mm_and_si128(packed, nibble), below, invert);
        const __m128i odd = map(_mm_and_si128(_mm_srli_epi16(packed, 4), nibble), below, invert);
        // Four bits a byte, then two bytes to one.
        const __m128i pairs = _mm_or_si128(even, _mm_slli_epi16(odd, 2));
        const __m128i words = _mm_maddubs_epi16(pairs, _mm_set1_epi16(0x1001));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to + i / 2), _mm_packus_epi16(words, words));
    }
}

#include "quant/requantise4_body.h"

} // namespace

ErrorSums requantise4_avx2(const Codes& source, const TwoBitTarget& target, Method method) {
    return requantise_any(source, target, method);
}

} // namespace flashmoe::quant

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
