// Integer rows for AVX2.
#if defined(__x86_64__)
#include <bit>
#include <immintrin.h>

#include "backend/cpu/fast_rows.h"
#include "core/half.h"

#define FM_TARGET __attribute__((target("avx2,fma,f16c")))

namespace flashmoe::cpu {
namespace {

/// At most 4 * 15 * 127 in 16 bits.
FM_TARGET inline __m256i dots(__m256i low, __m256i x, __m256i high, __m256i z) {
    const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, x), _mm256_maddubs_epi16(high, z));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_rows_x86.h"

namespace flashmoe::cpu {

void fast_rows_avx2(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride) {
    (matrix.bits == 4 ? fast_rows_of_bits<4> : fast_rows_of_bits<2>)(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
#endif
