// Thirty-two bytes at a time for both x86 instruction sets. The file that includes this defines FM_TARGET, FM_LANE, FM_UNROLL and,
// in an unnamed namespace, `__m256i dot_signed(__m256i codes, __m256i x)`: eight sums of four products of signed bytes each.
#define FM_INLINE FM_TARGET inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

struct Lanes {
    using B = __m256i;
    using D = __m256i;
    using F = __m256;

    FM_LANE B load_bytes(const std::byte* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
    FM_LANE B every_byte(uint32_t value) { return _mm256_set1_epi8(static_cast<char>(value)); }
    /// The bits of `kept` in (byte >> count); and of (byte << count).
    FM_LANE B shifted_right(B bytes, uint32_t count, uint32_t kept) {
        return _mm256_and_si256(_mm256_srli_epi16(bytes, static_cast<int>(count)), every_byte(kept));
    }
    FM_LANE B shifted_left(B bytes, uint32_t count, uint32_t kept) {
        return _mm256_and_si256(_mm256_slli_epi16(bytes, static_cast<int>(count)), every_byte(kept));
    }
    FM_LANE B either(B a, B b) { return _mm256_or_si256(a, b); }
    FM_LANE B minus(B bytes, uint32_t value) { return _mm256_sub_epi8(bytes, every_byte(value)); }
    /// The low halves of sixteen bytes, then the high ones.
    FM_LANE B nibbles(const std::byte* from, uint32_t) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes), every_byte(15));
    }
    /// Byte j is `value` where bit j is set.
    FM_LANE B flags(uint32_t bits, uint32_t, uint32_t value) {
        const B each = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
        const B places = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
        const B spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), places);
        return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, each), each), every_byte(value));
    }
    FM_LANE float half(const std::byte* from) {
        uint16_t bits;
        std::memcpy(&bits, from, sizeof bits);
        return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
    }
    FM_LANE __m128i sixteen(uint64_t low, uint64_t high) { return _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low)); }
    /// to = factor * (sixteen bytes less `least`).
    FM_LANE void store_sixteen(__m128i bytes, uint32_t least, float factor, float* to) {
        const __m128i codes = _mm_sub_epi8(bytes, _mm_set1_epi8(static_cast<char>(least)));
        _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), _mm256_set1_ps(factor)));
        _mm256_storeu_ps(to + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8))), _mm256_set1_ps(factor)));
    }

    /// Eight sums of four products each.
    FM_LANE D products(B codes, B x) { return dot_signed(codes, x); }
    FM_LANE F numbers(D sums) { return _mm256_cvtepi32_ps(sums); }
    /// Of four times 32 products: sums of their first and their second sixteen.
    FM_LANE F sums_of_16(const D* p) {
        const D a = _mm256_hadd_epi32(_mm256_hadd_epi32(p[0], p[1]), _mm256_hadd_epi32(p[2], p[3]));
        return _mm256_cvtepi32_ps(_mm256_permutevar8x32_epi32(a, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }

    FM_LANE F zero() { return _mm256_setzero_ps(); }
    FM_LANE F load_eight(const float* from) { return _mm256_loadu_ps(from); }
    FM_LANE void store_eight(float* to, F value) { _mm256_storeu_ps(to, value); }
    FM_LANE F every(float value) { return _mm256_set1_ps(value); }
    FM_LANE F add(F a, F b) { return _mm256_add_ps(a, b); }
    FM_LANE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
    FM_LANE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
    /// Each number twice, in order.
    FM_LANE void twice(F eight, F& low, F& high) {
        low = _mm256_permutevar8x32_ps(eight, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
        high = _mm256_permutevar8x32_ps(eight, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
    }
    FM_LANE float sum_eight(F value) {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_blocks.h"
