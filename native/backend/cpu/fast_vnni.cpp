// Integer rows for AVX-512 VNNI.
#if defined(__x86_64__)
#include <bit>
#include <immintrin.h>

#include "backend/cpu/fast_rows.h"
#include "core/half.h"

#define FM_TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

namespace flashmoe::cpu {
namespace {

/// Four products a lane and half, added in 32 bits.
FM_TARGET inline __m256i dots(__m256i low, __m256i x, __m256i high, __m256i z) {
    return _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(_mm256_setzero_si256(), low, x), high, z);
}

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
