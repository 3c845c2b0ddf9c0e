// arm64: NEON is part of the architecture, so no run-time choice is needed. Four lanes.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "backend/cpu/kernels.h"

#define FM_TARGET
#define FM_LANE static inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

struct Lanes {
    using F = float32x4_t;
    static constexpr uint32_t kLanes = 4;
    /// Rows whose sums for four tokens stay in registers.
    static constexpr uint32_t kTileRows = 4;

    FM_LANE F zero() { return vdupq_n_f32(0); }
    FM_LANE F set1(float value) { return vdupq_n_f32(value); }
    FM_LANE F load(const float* from) { return vld1q_f32(from); }
    FM_LANE F load_some(const float* from, uint32_t count) {
        if (count >= kLanes) return vld1q_f32(from);
        float values[4] = {0, 0, 0, 0};
        std::memcpy(values, from, count * sizeof(float));
        return vld1q_f32(values);
    }
    FM_LANE void store(float* to, F value) { vst1q_f32(to, value); }
    FM_LANE void store_some(float* to, F value, uint32_t count) {
        if (count >= kLanes) return vst1q_f32(to, value);
        float values[4];
        vst1q_f32(values, value);
        std::memcpy(to, values, count * sizeof(float));
    }
    FM_LANE F add(F a, F b) { return vaddq_f32(a, b); }
    FM_LANE F mul(F a, F b) { return vmulq_f32(a, b); }
    FM_LANE F div(F a, F b) { return vdivq_f32(a, b); }
    FM_LANE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
    FM_LANE float sum(F value) { return vaddvq_f32(value); }
    /// NaN passes through both.
    FM_LANE F clamp(F value, float low, float high) {
        return vminq_f32(vdupq_n_f32(high), vmaxq_f32(vdupq_n_f32(low), value));
    }
    FM_LANE F round(F value) { return vrndnq_f32(value); }
    /// The power is whole and within +-126.
    FM_LANE F scale_by_power(F value, F power) {
        const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(power), vdupq_n_s32(127));
        return vmulq_f32(value, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
    }

    FM_LANE uint32x4_t load_words(const std::byte* from, uint32_t count) {
        uint32_t words[4] = {0, 0, 0, 0};
        std::memcpy(words, from, std::min(count, kLanes) * sizeof(uint32_t));
        return vld1q_u32(words);
    }
    template <uint32_t kBits> FM_LANE F code(uint32x4_t words, uint32_t j) {
        const uint32x4_t shifted = vshlq_u32(words, vdupq_n_s32(-static_cast<int32_t>(j * kBits)));
        return vcvtq_f32_u32(vandq_u32(shifted, vdupq_n_u32((1u << kBits) - 1)));
    }
    /// Code j where it stands in its word: code * 2^(j * kBits), exact in f32.
    template <uint32_t kBits> FM_LANE F placed_code(uint32x4_t words, uint32_t j) {
        return vcvtq_f32_u32(vandq_u32(words, vdupq_n_u32(((1u << kBits) - 1) << (j * kBits))));
    }
    /// What undoes it.
    template <uint32_t kBits> static constexpr float place_factor(uint32_t j) {
        return 1.0f / static_cast<float>(1u << (j * kBits));
    }
    /// `count` parameters or plain weights as f32, zeros behind them.
    FM_LANE F params(ElementType type, const std::byte* from, uint32_t count) {
        if (type == ElementType::f32) return load_some(reinterpret_cast<const float*>(from), count);
        uint16_t values[4] = {0, 0, 0, 0};
        std::memcpy(values, from, std::min(count, kLanes) * sizeof(uint16_t));
        const uint16x4_t bits = vld1_u16(values);
        if (type == ElementType::f16) return vcvt_f32_f16(vreinterpret_f16_u16(bits));
        return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
    }
    /// Lane l gets the parameter of the group that code `first + l * codes a word` belongs to.
    template <uint32_t kBits> FM_LANE F spread(F params, uint32_t first, uint32_t group_shift) {
        float values[4];
        vst1q_f32(values, params);
        const float low = values[(first >> group_shift) & 3];
        // Four words hold at most 64 codes, two groups of the smallest size.
        const float high = values[((first + 2 * (32 / kBits)) >> group_shift) & 3];
        return vcombine_f32(vdup_n_f32(low), vdup_n_f32(high));
    }

    using B = uint8x16_t;
    FM_LANE B load_bytes(const std::byte* from) { return vld1q_u8(reinterpret_cast<const uint8_t*>(from)); }
    FM_LANE B every_byte(uint32_t value) { return vdupq_n_u8(static_cast<uint8_t>(value)); }
    /// The bits of `kept` in (byte >> count); and of (byte << count).
    FM_LANE B shifted_right(B bytes, uint32_t count, uint32_t kept) {
        const B shifted = vshlq_u8(bytes, vdupq_n_s8(static_cast<int8_t>(-static_cast<int32_t>(count))));
        return vandq_u8(shifted, every_byte(kept));
    }
    FM_LANE B shifted_left(B bytes, uint32_t count, uint32_t kept) {
        return vandq_u8(vshlq_u8(bytes, vdupq_n_s8(static_cast<int8_t>(count))), every_byte(kept));
    }
    FM_LANE B either(B a, B b) { return vorrq_u8(a, b); }
    FM_LANE B minus(B bytes, uint32_t value) { return vsubq_u8(bytes, every_byte(value)); }
    /// The low halves of sixteen bytes, or from 16 on the high ones.
    FM_LANE B nibbles(const std::byte* from, uint32_t at) { return shifted_right(load_bytes(from), at / 4, 15); }
    /// Byte j is `value` where bit `at` + j is set.
    FM_LANE B flags(uint32_t all, uint32_t at, uint32_t value) {
        const uint32_t bits = all >> at;
        const B each = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
        const B spread = vcombine_u8(vdup_n_u8(static_cast<uint8_t>(bits)), vdup_n_u8(static_cast<uint8_t>(bits >> 8)));
        return vandq_u8(vtstq_u8(spread, each), every_byte(value));
    }
    FM_LANE float half(const std::byte* from) {
        uint16_t bits;
        std::memcpy(&bits, from, sizeof bits);
        return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
    }
    /// Not by way of memory, where short writes would have to arrive before a long read.
    FM_LANE B sixteen(uint64_t low, uint64_t high) { return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high))); }
    /// to = factor * (sixteen bytes less `least`).
    FM_LANE void store_sixteen(B bytes, uint32_t least, float factor, float* to) {
        F values[16 / kLanes];
        widen(minus(bytes, least), values);
        for (uint32_t v = 0; v < 16 / kLanes; ++v) store(to + v * kLanes, mul(values[v], set1(factor)));
    }
    /// Sixteen signed bytes.
    FM_LANE void widen(B bytes, F* out) {
        const int16x8_t low = vmovl_s8(vget_low_s8(vreinterpretq_s8_u8(bytes)));
        const int16x8_t high = vmovl_s8(vget_high_s8(vreinterpretq_s8_u8(bytes)));
        out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
        out[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(low)));
        out[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
        out[3] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)));
    }
    FM_LANE F codes(const int16_t* from) { return vcvtq_f32_s32(vmovl_s16(vld1_s16(from))); }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/vector_kernels.h"

namespace flashmoe::cpu {

const Kernels& neon_kernels() {
    static const Kernels table = vector_table("neon");
    return table;
}

} // namespace flashmoe::cpu
#endif
