// x86-64 with AVX-512 F, BW, DQ, VL: sixteen lanes.
#if defined(__x86_64__)
// GCC 12's own header trips this warning (its bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <cstring>

#include "backend/cpu/kernels.h"

#define FM_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define FM_LANE FM_TARGET static inline __attribute__((always_inline))

#include "backend/cpu/bytes_x86.h"

namespace flashmoe::cpu {
namespace {

struct Lanes : Bytes {
    using F = __m512;
    static constexpr uint32_t kLanes = 16;
    /// Rows whose sums for four tokens stay in registers.
    static constexpr uint32_t kTileRows = 6;

    FM_LANE __mmask16 mask(uint32_t count) { return static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1u << count) - 1); }

    FM_LANE F zero() { return _mm512_setzero_ps(); }
    FM_LANE F set1(float value) { return _mm512_set1_ps(value); }
    FM_LANE F load(const float* from) { return _mm512_loadu_ps(from); }
    FM_LANE F load_some(const float* from, uint32_t count) { return _mm512_maskz_loadu_ps(mask(count), from); }
    FM_LANE void store(float* to, F value) { _mm512_storeu_ps(to, value); }
    FM_LANE void store_some(float* to, F value, uint32_t count) { _mm512_mask_storeu_ps(to, mask(count), value); }
    FM_LANE F add(F a, F b) { return _mm512_add_ps(a, b); }
    FM_LANE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
    FM_LANE F div(F a, F b) { return _mm512_div_ps(a, b); }
    FM_LANE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
    FM_LANE float sum(F value) { return _mm512_reduce_add_ps(value); }
    /// max and min return their second operand for NaN.
    FM_LANE F clamp(F value, float low, float high) {
        return _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), value));
    }
    FM_LANE F round(F value) { return _mm512_roundscale_ps(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    FM_LANE F scale_by_power(F value, F power) { return _mm512_scalef_ps(value, power); }

    FM_LANE __m512i load_words(const std::byte* from, uint32_t count) {
        return _mm512_maskz_loadu_epi32(mask(count), from);
    }
    /// Up to 4 bits a permutation widens: it looks at the index's lowest four bits only.
    template <uint32_t kBits> FM_LANE F code(__m512i words, uint32_t j) {
        const __m512i shifted = _mm512_srli_epi32(words, j * kBits);
        if constexpr (kBits == 8) return _mm512_cvtepi32_ps(_mm512_and_si512(shifted, _mm512_set1_epi32(255)));
        const F table = kBits == 4 ? _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
                                   : _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
        return _mm512_permutexvar_ps(shifted, table);
    }
    /// A code where it stands in its word would take as many instructions: it is widened in place of that.
    template <uint32_t kBits> FM_LANE F placed_code(__m512i words, uint32_t j) { return code<kBits>(words, j); }
    template <uint32_t> static constexpr float place_factor(uint32_t) { return 1.0f; }
    /// `count` parameters or plain weights as f32, zeros behind them.
    FM_LANE F params(ElementType type, const std::byte* from, uint32_t count) {
        if (type == ElementType::f32) return _mm512_maskz_loadu_ps(mask(count), from);
        const __m256i bits = _mm256_maskz_loadu_epi16(mask(count), from);
        if (type == ElementType::f16) return _mm512_cvtph_ps(bits);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    }
    /// Lane l gets the parameter of the group that code `first + l * codes a word` belongs to.
    template <uint32_t kBits> FM_LANE F spread(F params, uint32_t first, uint32_t group_shift) {
        const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m512i columns = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                                                 _mm512_mullo_epi32(lanes, _mm512_set1_epi32(32 / kBits)));
        const __m512i groups = _mm512_srl_epi32(columns, _mm_cvtsi32_si128(static_cast<int>(group_shift)));
        return _mm512_permutexvar_ps(groups, params);
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
    FM_LANE void widen(B bytes, F* out) { out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)); }
    FM_LANE F codes(const int16_t* from) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
    }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/vector_kernels.h"

namespace flashmoe::cpu {

const Kernels& avx512_kernels() {
    static const Kernels table = vector_table("avx512");
    return table;
}

} // namespace flashmoe::cpu
#endif
