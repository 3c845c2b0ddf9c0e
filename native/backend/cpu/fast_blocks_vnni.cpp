// Integer rows of GGUF blocks for AVX-512 VNNI, in vectors of 256 bits.
#if defined(__x86_64__)
// GCC 12's own header trips this warning (its bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <cstring>

#include "backend/cpu/fast_rows.h"
#include "backend/cpu/unroll.h"

#define FM_TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define FM_LANE FM_TARGET static inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

FM_LANE __m256i dot_signed(__m256i codes, __m256i x) {
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
}

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_blocks_x86.h"

namespace flashmoe::cpu {

void fast_blocks_vnni(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride) {
    kFastBlockRows[static_cast<size_t>(matrix.block)](matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
#endif
