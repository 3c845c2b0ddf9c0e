// x86-64 with AVX2, FMA and F16C: eight lanes.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "backend/cpu/kernels.h"

#define FM_TARGET __attribute__((target("avx2,fma,f16c")))
#define FM_LANE FM_TARGET static inline __attribute__((always_inline))

#include "backend/cpu/bytes_x86.h"

namespace flashmoe::cpu {
namespace {

struct Lanes : Bytes {
    using F = __m256;
    static constexpr uint32_t kLanes = 8;
    /// Rows whose sums for four tokens stay in registers.
    static constexpr uint32_t kTileRows = 3;

    FM_LANE __m256i mask(uint32_t count) {
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lanes);
    }

    FM_LANE F zero() { return _mm256_setzero_ps(); }
    FM_LANE F set1(float value) { return _mm256_set1_ps(value); }
    FM_LANE F load(const float* from) { return _mm256_loadu_ps(from); }
    FM_LANE F load_some(const float* from, uint32_t count) { return _mm256_maskload_ps(from, mask(count)); }
    FM_LANE void store(float* to, F value) { _mm256_storeu_ps(to, value); }
    FM_LANE void store_some(float* to, F value, uint32_t count) { _mm256_maskstore_ps(to, mask(count), value); }
    FM_LANE F add(F a, F b) { return _mm256_add_ps(a, b); }
    FM_LANE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
    FM_LANE F div(F a, F b) { return _mm256_div_ps(a, b); }
    FM_LANE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
    FM_LANE float sum(F value) {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    }
    /// max and min return their second operand for NaN.
    FM_LANE F clamp(F value, float low, float high) {
        return _mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), value));
    }
    FM_LANE F round(F value) { return _mm256_round_ps(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    /// The power is whole and within +-126.
    FM_LANE F scale_by_power(F value, F power) {
        const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(power), _mm256_set1_epi32(127));
        return _mm256_mul_ps(value, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
    }

    FM_LANE __m256i load_words(const std::byte* from, uint32_t count) {
        if (count >= kLanes) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        return _mm256_maskload_epi32(reinterpret_cast<const int*>(from), mask(count));
    }
    template <uint32_t kBits> FM_LANE F code(__m256i words, uint32_t j) {
        const __m256i shifted = _mm256_srli_epi32(words, static_cast<int>(j * kBits));
        return _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32((1 << kBits) - 1)));
    }
    /// Code j where it stands in its word: code * 2^(j * kBits), exact in f32. The highest is shifted: it holds the sign.
    template <uint32_t kBits> FM_LANE F placed_code(__m256i words, uint32_t j) {
        if ((j + 1) * kBits == 32) return _mm256_cvtepi32_ps(_mm256_srli_epi32(words, static_cast<int>(32 - kBits)));
        return _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(((1u << kBits) - 1) << (j * kBits)))));
    }
    /// What undoes it.
    template <uint32_t kBits> static constexpr float place_factor(uint32_t j) {
        return (j + 1) * kBits == 32 ? 1.0f : 1.0f / static_cast<float>(1u << (j * kBits));
    }
    /// `count` parameters or plain weights as f32, zeros behind them.
    FM_LANE F params(ElementType type, const std::byte* from, uint32_t count) {
        if (type == ElementType::f32) return _mm256_maskload_ps(reinterpret_cast<const float*>(from), mask(count));
        __m128i bits = _mm_setzero_si128();
        if (count >= kLanes) bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        else if (count == kLanes / 2) bits = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
        else std::memcpy(&bits, from, count * 2);
        if (type == ElementType::f16) return _mm256_cvtph_ps(bits);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    }
    /// Lane l gets the parameter of the group that code `first + l * codes a word` belongs to.
    template <uint32_t kBits> FM_LANE F spread(F params, uint32_t first, uint32_t group_shift) {
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i columns = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(first)),
                                                 _mm256_mullo_epi32(lanes, _mm256_set1_epi32(32 / kBits)));
        const __m256i groups = _mm256_srl_epi32(columns, _mm_cvtsi32_si128(static_cast<int>(group_shift)));
        return _mm256_permutevar8x32_ps(params, groups);
    }
    /// Not by way of memory, where short writes would have to arrive before a long read.
    FM_LANE B sixteen(uint64_t low, uint64_t high) { return _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low)); }
    /// to = factor * (sixteen bytes less `least`).
    FM_LANE void store_sixteen(B bytes, uint32_t least, float factor, float* to) {
        F values[16 / kLanes];
        widen(minus(bytes, least), values);
        for (uint32_t v = 0; v < 16 / kLanes; ++v) store(to + v * kLanes, mul(values[v], set1(factor)));
    }
    /// Sixteen signed bytes.
    FM_LANE void widen(B bytes, F* out) {
        out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
        out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
    }
    FM_LANE F codes(const int16_t* from) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
    }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/vector_kernels.h"

namespace flashmoe::cpu {

const Kernels& avx2_kernels() {
    static const Kernels table = vector_table("avx2");
    return table;
}

} // namespace flashmoe::cpu
#endif
