// Integer rows for NEON with dot products: four rows at once, codes widened once for up to four tokens.
#if defined(__aarch64__)
#include <algorithm>
#include <arm_neon.h>
#include <limits>

#include "backend/cpu/fast_rows.h"

#if defined(__clang__)
#define FM_TARGET __attribute__((target("dotprod")))
#else
#define FM_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

namespace flashmoe::cpu {
namespace {

constexpr uint32_t kRows = 4, kTokens = 4;
/// Groups of four rows whose parameters are widened together.
constexpr uint32_t kGroupRun = 128;

/// Of four rows, parameters [first, first + count), group by group: to[g][row].
void widen_four(const Matrix& matrix, const FastShape& shape, const Span& from, const uint32_t* rows, uint32_t first, uint32_t count,
                float (*to)[kRows]) {
    float wide[kGroupRun];
    for (uint32_t i = 0; i < kRows; ++i) {
        widen_parameters(matrix.type, from.as<const std::byte>() + (size_t{rows[i]} * shape.groups + first) * shape.param_bytes, count, wide);
        for (uint32_t g = 0; g < count; ++g) to[g][i] = wide[g];
    }
}

/// A block's codes in the order of fast_place_of().
template <uint32_t kBits> FM_TARGET inline void unpack(const std::byte* codes, int8x16_t& low, int8x16_t& high) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(codes);
    if constexpr (kBits == 4) {
        const uint8x16_t words = vld1q_u8(bytes);
        low = vreinterpretq_s8_u8(vandq_u8(words, vdupq_n_u8(15)));
        high = vreinterpretq_s8_u8(vshrq_n_u8(words, 4));
    } else {
        const uint8x8_t words = vld1_u8(bytes);
        const uint8x16_t pair = vcombine_u8(words, vshr_n_u8(words, 2)), mask = vdupq_n_u8(3);
        low = vreinterpretq_s8_u8(vandq_u8(pair, mask));
        high = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(pair, 4), mask));
    }
}

template <uint32_t kBits, uint32_t kOf>
FM_TARGET void four_rows(const Matrix& matrix, const FastShape& shape, const uint32_t* rows, const float* x, size_t stride, float (*y)[kRows]) {
    const std::byte* weights[kRows];
    for (uint32_t i = 0; i < kRows; ++i) weights[i] = matrix.weight.as<const std::byte>() + rows[i] * shape.row_bytes;
    float scales[kGroupRun][kRows], biases[kGroupRun][kRows];
    float32x4_t totals[kOf], rests[kOf];
    for (uint32_t t = 0; t < kOf; ++t) totals[t] = rests[t] = vdupq_n_f32(0);
    for (uint32_t g0 = 0; g0 < shape.groups; g0 += kGroupRun) {
        const uint32_t groups = std::min(kGroupRun, shape.groups - g0);
        widen_four(matrix, shape, matrix.scales, rows, g0, groups, scales);
        widen_four(matrix, shape, matrix.biases, rows, g0, groups, biases);
        for (uint32_t t = 0; t < kOf; ++t) {
            const float* sums = x + t * stride + shape.sums_at() + g0;
            for (uint32_t g = 0; g < groups; ++g) rests[t] = vfmaq_n_f32(rests[t], vld1q_f32(biases[g]), sums[g]);
        }
        const uint32_t first = (g0 << shape.group_shift) / kFastBlock, last = ((g0 + groups) << shape.group_shift) / kFastBlock;
        for (uint32_t block = first; block < last; ++block) {
            int8x16_t low[kRows], high[kRows];
            for (uint32_t i = 0; i < kRows; ++i) unpack<kBits>(weights[i] + size_t{block} * kFastBlock * kBits / 8, low[i], high[i]);
            const float32x4_t scale = vld1q_f32(scales[shape.group_of(block) - g0]);
            for (uint32_t t = 0; t < kOf; ++t) {
                const auto* codes = reinterpret_cast<const int8_t*>(x + t * stride) + size_t{block} * kFastBlock;
                const int8x16_t front = vld1q_s8(codes), back = vld1q_s8(codes + 16);
                int32x4_t sum[kRows];
                for (uint32_t i = 0; i < kRows; ++i) sum[i] = vdotq_s32(vdotq_s32(vdupq_n_s32(0), low[i], front), high[i], back);
                const int32x4_t all = vpaddq_s32(vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3]));
                const float32x4_t factor = vmulq_n_f32(scale, x[t * stride + shape.scales_at() + block]);
                totals[t] = vfmaq_f32(totals[t], vcvtq_f32_s32(all), factor);
            }
        }
    }
    for (uint32_t t = 0; t < kOf; ++t) vst1q_f32(y[t], vaddq_f32(totals[t], rests[t]));
}

template <uint32_t kBits>
void rows_of(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, uint32_t tokens, float* y, size_t y_stride) {
    const FastShape shape(matrix);
    for (uint32_t r = first; r < last; r += kRows) {
        const uint32_t rows[kRows] = {r, std::min(r + 1, last - 1), std::min(r + 2, last - 1), std::min(r + 3, last - 1)};
        for (uint32_t t = 0, some = 0; t < tokens; t += some) {
            float made[kTokens][kRows];
            some = tokens - t >= kTokens ? kTokens : 1;
            (some == kTokens ? four_rows<kBits, kTokens> : four_rows<kBits, 1>)(matrix, shape, rows, x + t * stride, stride, made);
            for (uint32_t i = 0; i < some; ++i) std::copy_n(made[i], std::min(kRows, last - r), y + (t + i) * y_stride + (r - first));
        }
    }
}

} // namespace

float round_block_neon(const float* x, uint32_t bits, int8_t* codes, int32_t& sum) {
    float32x4_t values[8], most = vdupq_n_f32(0);
    uint32x4_t finite = vdupq_n_u32(UINT32_MAX);
    for (uint32_t i = 0; i < 8; ++i) {
        values[i] = vld1q_f32(x + i * 4);
        const float32x4_t size = vabsq_f32(values[i]);
        most = vmaxq_f32(most, size);
        finite = vandq_u32(finite, vcltq_f32(size, vdupq_n_f32(std::numeric_limits<float>::infinity())));
    }
    if (vminvq_u32(finite) == 0) return round_block_scalar(x, bits, codes, sum);
    const float largest = vmaxvq_f32(most), factor = largest > 0 ? 127 / largest : 0;
    int16x8_t halves[4];
    for (uint32_t i = 0; i < 4; ++i) {
        halves[i] = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(values[2 * i], factor))),
                                 vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(values[2 * i + 1], factor))));
    }
    const int8x16_t front = vcombine_s8(vmovn_s16(halves[0]), vmovn_s16(halves[1]));
    const int8x16_t back = vcombine_s8(vmovn_s16(halves[2]), vmovn_s16(halves[3]));
    const int8x16_t even = vuzp1q_s8(front, back), odd = vuzp2q_s8(front, back);
    vst1q_s8(codes, bits == 0 ? front : bits == 4 ? even : vuzp1q_s8(even, odd));
    vst1q_s8(codes + 16, bits == 0 ? back : bits == 4 ? odd : vuzp2q_s8(even, odd));
    sum = vaddlvq_s8(front) + vaddlvq_s8(back);
    return largest / 127;
}

void fast_rows_neon(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride) {
    (matrix.bits == 4 ? rows_of<4> : rows_of<2>)(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
#endif
