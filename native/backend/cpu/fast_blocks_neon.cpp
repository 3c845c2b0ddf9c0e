// Integer rows of GGUF blocks for NEON with dot products.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "backend/cpu/fast_rows.h"
#include "backend/cpu/unroll.h"

#if defined(__clang__)
#define FM_TARGET __attribute__((target("dotprod")))
#else
#define FM_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define FM_LANE FM_TARGET static inline __attribute__((always_inline))
#define FM_INLINE FM_TARGET inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

struct Lanes {
    using B = uint8x16x2_t;
    using D = int32x4x2_t;
    using F = float32x4x2_t;

    FM_LANE B load_bytes(const std::byte* from) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(from);
        return {{vld1q_u8(bytes), vld1q_u8(bytes + 16)}};
    }
    FM_LANE uint8x16_t every_byte(uint32_t value) { return vdupq_n_u8(static_cast<uint8_t>(value)); }
    /// The bits of `kept` in (byte >> count); and of (byte << count).
    FM_LANE B shifted_right(B bytes, uint32_t count, uint32_t kept) { return shifted(bytes, -static_cast<int32_t>(count), kept); }
    FM_LANE B shifted_left(B bytes, uint32_t count, uint32_t kept) { return shifted(bytes, static_cast<int32_t>(count), kept); }
    FM_LANE B shifted(B bytes, int32_t left, uint32_t kept) {
        const int8x16_t by = vdupq_n_s8(static_cast<int8_t>(left));
        return {{vandq_u8(vshlq_u8(bytes.val[0], by), every_byte(kept)), vandq_u8(vshlq_u8(bytes.val[1], by), every_byte(kept))}};
    }
    FM_LANE B either(B a, B b) { return {{vorrq_u8(a.val[0], b.val[0]), vorrq_u8(a.val[1], b.val[1])}}; }
    FM_LANE B minus(B bytes, uint32_t value) { return {{vsubq_u8(bytes.val[0], every_byte(value)), vsubq_u8(bytes.val[1], every_byte(value))}}; }
    /// The low halves of sixteen bytes, then the high ones.
    FM_LANE B nibbles(const std::byte* from, uint32_t) {
        const uint8x16_t bytes = vld1q_u8(reinterpret_cast<const uint8_t*>(from));
        return {{vandq_u8(bytes, every_byte(15)), vshrq_n_u8(bytes, 4)}};
    }
    /// Byte j is `value` where bit j is set.
    FM_LANE B flags(uint32_t bits, uint32_t, uint32_t value) { return {{half_flags(bits, value), half_flags(bits >> 16, value)}}; }
    FM_LANE uint8x16_t half_flags(uint32_t bits, uint32_t value) {
        const uint8x16_t each = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
        const uint8x16_t spread = vcombine_u8(vdup_n_u8(static_cast<uint8_t>(bits)), vdup_n_u8(static_cast<uint8_t>(bits >> 8)));
        return vandq_u8(vtstq_u8(spread, each), every_byte(value));
    }
    FM_LANE float half(const std::byte* from) {
        uint16_t bits;
        std::memcpy(&bits, from, sizeof bits);
        return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
    }
    FM_LANE uint8x16_t sixteen(uint64_t low, uint64_t high) { return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high))); }
    /// to = factor * (sixteen bytes less `least`).
    FM_LANE void store_sixteen(uint8x16_t bytes, uint32_t least, float factor, float* to) {
        const int8x16_t codes = vreinterpretq_s8_u8(vsubq_u8(bytes, every_byte(least)));
        const int16x8_t low = vmovl_s8(vget_low_s8(codes)), high = vmovl_s8(vget_high_s8(codes));
        const int32x4_t all[4] = {vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)), vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))};
        for (uint32_t i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, vmulq_n_f32(vcvtq_f32_s32(all[i]), factor));
    }

    /// Eight sums of four products each.
    FM_LANE D products(B codes, B x) {
        const int32x4_t none = vdupq_n_s32(0);
        return {{vdotq_s32(none, vreinterpretq_s8_u8(codes.val[0]), vreinterpretq_s8_u8(x.val[0])),
                 vdotq_s32(none, vreinterpretq_s8_u8(codes.val[1]), vreinterpretq_s8_u8(x.val[1]))}};
    }
    FM_LANE F numbers(D sums) { return {{vcvtq_f32_s32(sums.val[0]), vcvtq_f32_s32(sums.val[1])}}; }
    /// Of four times 32 products: sums of their first and their second sixteen.
    FM_LANE F sums_of_16(const D* p) {
        return numbers({{vpaddq_s32(vpaddq_s32(p[0].val[0], p[0].val[1]), vpaddq_s32(p[1].val[0], p[1].val[1])),
                         vpaddq_s32(vpaddq_s32(p[2].val[0], p[2].val[1]), vpaddq_s32(p[3].val[0], p[3].val[1]))}});
    }

    FM_LANE F zero() { return {{vdupq_n_f32(0), vdupq_n_f32(0)}}; }
    FM_LANE F load_eight(const float* from) { return {{vld1q_f32(from), vld1q_f32(from + 4)}}; }
    FM_LANE void store_eight(float* to, F value) {
        vst1q_f32(to, value.val[0]);
        vst1q_f32(to + 4, value.val[1]);
    }
    FM_LANE F every(float value) { return {{vdupq_n_f32(value), vdupq_n_f32(value)}}; }
    FM_LANE F add(F a, F b) { return {{vaddq_f32(a.val[0], b.val[0]), vaddq_f32(a.val[1], b.val[1])}}; }
    FM_LANE F mul(F a, F b) { return {{vmulq_f32(a.val[0], b.val[0]), vmulq_f32(a.val[1], b.val[1])}}; }
    FM_LANE F fma(F a, F b, F c) { return {{vfmaq_f32(c.val[0], a.val[0], b.val[0]), vfmaq_f32(c.val[1], a.val[1], b.val[1])}}; }
    /// Each number twice, in order.
    FM_LANE void twice(F eight, F& low, F& high) {
        low = {{vzip1q_f32(eight.val[0], eight.val[0]), vzip2q_f32(eight.val[0], eight.val[0])}};
        high = {{vzip1q_f32(eight.val[1], eight.val[1]), vzip2q_f32(eight.val[1], eight.val[1])}};
    }
    FM_LANE float sum_eight(F value) {
        const float32x4_t four_of = vaddq_f32(value.val[0], value.val[1]);
        const float32x2_t two = vadd_f32(vget_low_f32(four_of), vget_high_f32(four_of));
        return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
    }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_blocks.h"

namespace flashmoe::cpu {

void fast_blocks_neon(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride) {
    kFastBlockRows[static_cast<size_t>(matrix.block)](matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
#endif
