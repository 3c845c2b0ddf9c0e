#include "quant/groups.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace flashmoe::quant {

namespace {

#define FM_LANES 4

template <std::size_t kBytes>
inline void tail_counts(const std::uint8_t* codes, std::int32_t* tail) {
    for (unsigned t = 1; t < 16; ++t) {
        const uint8x16_t level = vdupq_n_u8(static_cast<std::uint8_t>(t));
        // A byte counts at most 8 matches, so 16 of them stay below 256.
        uint8x16_t count = vdupq_n_u8(0);
        for (std::size_t i = 0; i < kBytes; i += 16) {
            const uint8x16_t packed = vld1q_u8(codes + i);
            count = vsubq_u8(count, vcgeq_u8(vandq_u8(packed, vdupq_n_u8(15)), level));
            count = vsubq_u8(count, vcgeq_u8(vshrq_n_u8(packed, 4), level));
        }
        tail[t * FM_LANES] = vaddvq_u8(count);
    }
}

inline uint8x16_t map(uint8x16_t levels, const uint8x16_t* from, uint8x16_t flip) {
    uint8x16_t sum = vdupq_n_u8(0);
    for (int j = 0; j < 3; ++j) sum = vsubq_u8(sum, veorq_u8(vcgeq_u8(levels, from[j]), flip));
    return sum;
}

template <std::size_t kBytes>
inline void encode(const std::uint8_t* codes, const std::int32_t* choice, std::uint8_t* to) {
    const uint8x16_t invert = vdupq_n_u8(static_cast<std::uint8_t>(choice[3 * FM_LANES]));
    uint8x16_t from[3];
    for (int j = 0; j < 3; ++j) from[j] = vdupq_n_u8(static_cast<std::uint8_t>(choice[j * FM_LANES]));
    for (std::size_t i = 0; i < kBytes; i += 16) {
        const uint8x16_t packed = vld1q_u8(codes + i);
        const uint8x16_t even = map(vandq_u8(packed, vdupq_n_u8(15)), from, invert);
        const uint8x16_t odd = map(vshrq_n_u8(packed, 4), from, invert);
        // Four bits a byte, then two bytes to one.
        const uint8x16_t pairs = vorrq_u8(even, vshlq_n_u8(odd, 2));
        const uint8x16_t joined = vorrq_u8(vuzp1q_u8(pairs, pairs), vshlq_n_u8(vuzp2q_u8(pairs, pairs), 4));
        vst1_u8(to + i / 2, vget_low_u8(joined));
    }
}

template <typename Ints>
inline Ints gather(const std::int32_t* from, const Ints& index) {
    Ints value{};
    for (int lane = 0; lane < FM_LANES; ++lane) value[lane] = from[index[lane]];
    return value;
}

/// Whether a comparison is true in any lane.
template <typename Ints>
inline bool any(const Ints& mask) {
    uint32x4_t bits;
    std::memcpy(&bits, &mask, sizeof bits);
    return vmaxvq_u32(bits) != 0;
}

/// a * b + c, for what may be rounded once.
template <typename Floats>
inline Floats fused(const Floats& a, const Floats& b, const Floats& c) {
    float32x4_t x, y, z;
    std::memcpy(&x, &a, sizeof x);
    std::memcpy(&y, &b, sizeof y);
    std::memcpy(&z, &c, sizeof z);
    const float32x4_t sum = vfmaq_f32(z, x, y);
    Floats value;
    std::memcpy(&value, &sum, sizeof value);
    return value;
}

#include "quant/requantise4_body.h"

} // namespace

ErrorSums requantise4_neon(const Codes& source, const AffineTarget& target, Method method, const Importance* importance) {
    return requantise_any(source, target, method, importance);
}

} // namespace flashmoe::quant

#endif
