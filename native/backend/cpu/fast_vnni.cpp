// Integer rows for AVX-512 VNNI: sixteen rows at a time.
#if defined(__x86_64__)
// GCC 12's own header trips this warning (its bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "backend/cpu/fast_rows.h"
#include "backend/cpu/unroll.h"

#define FM_TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define FM_LANE FM_TARGET static inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

/// Four products a lane and half, added in 32 bits.
FM_TARGET inline __m256i dots(__m256i low, __m256i x, __m256i high, __m256i z) {
    return _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(_mm256_setzero_si256(), low, x), high, z);
}

struct Wide {
    using I = __m512i;
    using F = __m512;
    static constexpr uint32_t kRows = 16, kTokens = 12;

    FM_LANE __m128i part(const std::byte* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
    FM_LANE I gather(const std::byte* const* rows) {
        const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(part(rows[0])), part(rows[4]), 1);
        const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(part(rows[8])), part(rows[12]), 1);
        return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    FM_LANE I unpack_low(I a, I b) { return _mm512_unpacklo_epi32(a, b); }
    FM_LANE I unpack_high(I a, I b) { return _mm512_unpackhi_epi32(a, b); }
    FM_LANE I unpack_low_pairs(I a, I b) { return _mm512_unpacklo_epi64(a, b); }
    FM_LANE I unpack_high_pairs(I a, I b) { return _mm512_unpackhi_epi64(a, b); }
    FM_LANE I shift_right(I a, uint32_t bits) { return _mm512_srli_epi32(a, bits); }
    FM_LANE I bitwise_and(I a, I b) { return _mm512_and_si512(a, b); }
    FM_LANE I zero() { return _mm512_setzero_si512(); }
    FM_LANE I set1(int32_t value) { return _mm512_set1_epi32(value); }
    FM_LANE I load(const uint8_t (*from)[4]) { return _mm512_load_si512(from); }
    FM_LANE void store(uint8_t (*to)[4], I value) { _mm512_store_si512(to, value); }
    FM_LANE I add_products(I sum, I codes, I x) { return _mm512_dpbusd_epi32(sum, codes, x); }
    FM_LANE F to_float(I sum) { return _mm512_cvtepi32_ps(sum); }
    FM_LANE F set1(float value) { return _mm512_set1_ps(value); }
    FM_LANE F load(const float* from) { return _mm512_load_ps(from); }
    FM_LANE void store(float* to, F value) { _mm512_store_ps(to, value); }
    FM_LANE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
    FM_LANE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_rows_x86.h"

namespace flashmoe::cpu {

void fast_rows_vnni(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride) {
    (matrix.bits == 4 ? fast_rows_of_bits<4> : fast_rows_of_bits<2>)(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
#endif
