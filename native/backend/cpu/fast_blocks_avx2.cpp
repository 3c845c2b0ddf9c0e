// Integer rows of GGUF blocks for AVX2.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "backend/cpu/fast_rows.h"
#include "backend/cpu/unroll.h"

#define FM_TARGET __attribute__((target("avx2,fma,f16c")))
#define FM_LANE FM_TARGET static inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

/// Two products are at most 2 * 128 * 127: they fit 16 bits.
FM_LANE __m256i dot_signed(__m256i codes, __m256i x) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_blocks_x86.h"

namespace flashmoe::cpu {

void fast_blocks_avx2(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride) {
    kFastBlockRows[static_cast<size_t>(matrix.block)](matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
#endif
