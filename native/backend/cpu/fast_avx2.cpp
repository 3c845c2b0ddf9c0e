// Integer rows for AVX2, eight at a time; and rounding x to 8 bits, for AVX-512 as well.
#if defined(__x86_64__)
#include <immintrin.h>

#include "backend/cpu/fast_rows.h"
#include "backend/cpu/unroll.h"

#define FM_TARGET __attribute__((target("avx2,fma,f16c")))
#define FM_LANE FM_TARGET static inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

/// At most 4 * 15 * 127 in 16 bits.
FM_TARGET inline __m256i dots(__m256i low, __m256i x, __m256i high, __m256i z) {
    const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, x), _mm256_maddubs_epi16(high, z));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

struct Wide {
    using I = __m256i;
    using F = __m256;
    static constexpr uint32_t kRows = 8, kTokens = 4;

    FM_LANE __m128i part(const std::byte* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
    FM_LANE I gather(const std::byte* const* rows) {
        return _mm256_inserti128_si256(_mm256_castsi128_si256(part(rows[0])), part(rows[4]), 1);
    }
    FM_LANE I unpack_low(I a, I b) { return _mm256_unpacklo_epi32(a, b); }
    FM_LANE I unpack_high(I a, I b) { return _mm256_unpackhi_epi32(a, b); }
    FM_LANE I unpack_low_pairs(I a, I b) { return _mm256_unpacklo_epi64(a, b); }
    FM_LANE I unpack_high_pairs(I a, I b) { return _mm256_unpackhi_epi64(a, b); }
    FM_LANE I shift_right(I a, uint32_t bits) { return _mm256_srli_epi32(a, static_cast<int>(bits)); }
    FM_LANE I bitwise_and(I a, I b) { return _mm256_and_si256(a, b); }
    FM_LANE I zero() { return _mm256_setzero_si256(); }
    FM_LANE I set1(int32_t value) { return _mm256_set1_epi32(value); }
    FM_LANE I load(const uint8_t (*from)[4]) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(from)); }
    FM_LANE void store(uint8_t (*to)[4], I value) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), value); }
    /// Pairs in 16 bits: a block's eight of them are at most 16 * 15 * 127.
    FM_LANE I add_products(I sum, I codes, I x) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x)); }
    FM_LANE F to_float(I sum) { return _mm256_cvtepi32_ps(_mm256_madd_epi16(sum, _mm256_set1_epi16(1))); }
    FM_LANE F set1(float value) { return _mm256_set1_ps(value); }
    FM_LANE F load(const float* from) { return _mm256_load_ps(from); }
    FM_LANE void store(float* to, F value) { _mm256_store_ps(to, value); }
    FM_LANE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
    FM_LANE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_rows_x86.h"

namespace flashmoe::cpu {
namespace {

FM_TARGET inline float largest_of(__m256 value) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/// Bytes in the order of columns to the order of fast_place_of().
FM_TARGET inline __m256i placed(__m256i bytes, uint32_t bits) {
    if (bits == 4) {
        const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
        return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(bytes, order), 0xD8);
    }
    const __m256i order = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(bytes, order), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

} // namespace

FM_TARGET float round_block_avx2(const float* x, uint32_t bits, int8_t* codes, int32_t& sum) {
    const __m256 sign = _mm256_set1_ps(-0.0f), infinite = _mm256_set1_ps(__builtin_inff());
    __m256 values[4], most = _mm256_setzero_ps(), strange = _mm256_setzero_ps();
    for (uint32_t i = 0; i < 4; ++i) {
        values[i] = _mm256_loadu_ps(x + i * 8);
        const __m256 size = _mm256_andnot_ps(sign, values[i]);
        most = _mm256_max_ps(most, size);
        strange = _mm256_or_ps(strange, _mm256_cmp_ps(size, infinite, _CMP_NLT_UQ));
    }
    if (_mm256_movemask_ps(strange) != 0) return round_block_scalar(x, bits, codes, sum);
    const float largest = largest_of(most), factor = largest > 0 ? 127 / largest : 0;
    __m256i whole[4];
    for (uint32_t i = 0; i < 4; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], _mm256_set1_ps(factor)));
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
    const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), bits == 0 ? ordered : placed(ordered, bits));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    const __m256i eight = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    sum = _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
    return largest / 127;
}

void fast_rows_avx2(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride) {
    (matrix.bits == 4 ? fast_rows_of_bits<4> : fast_rows_of_bits<2>)(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
#endif
