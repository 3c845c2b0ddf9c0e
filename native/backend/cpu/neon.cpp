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
