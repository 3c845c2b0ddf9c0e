// What requantising shares between instruction sets: 16-bit floats as bits, parameters of a group, and one kernel
// per instruction set over groups of 4-bit codes.
#pragma once

#include "quant/requantise.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

namespace flashmoe::quant {

/// Beyond it a scale is damage, and squares would leave float's range.
constexpr float kMaxParameter = 1e30f;

/// Round to nearest even; the argument is finite and small enough not to overflow.
inline std::uint16_t to_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

inline float from_f16(std::uint16_t bits) {
    const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
    const std::uint32_t rest = bits & 0x7fffu;
    // Subnormal: a multiple of 2^-24, exact in float.
    if (rest < 0x0400) {
        return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(static_cast<float>(rest) * 0x1p-24f));
    }
    const std::uint32_t exponent = rest >= 0x7c00 ? (255u - 31u) << 23 : (127u - 15u) << 23;
    return std::bit_cast<float>(sign | ((rest << 13) + exponent));
}

inline float parameter(const std::uint8_t* bytes, ParamType type, std::size_t index) {
    if (type == ParamType::f32) {
        float value;
        std::memcpy(&value, bytes + 4 * index, 4);
        return value;
    }
    std::uint16_t value;
    std::memcpy(&value, bytes + 2 * index, 2);
    return type == ParamType::bf16 ? from_bf16(value) : from_f16(value);
}

inline bool is_usable(float scale, float bias) {
    return std::fabs(scale) < kMaxParameter && std::fabs(bias) < kMaxParameter; // false for NaN
}

using Kernel = ErrorSums (*)(const Codes& source, const TwoBitTarget& target, Method method);

ErrorSums requantise4_scalar(const Codes& source, const TwoBitTarget& target, Method method);
ErrorSums requantise4_avx2(const Codes& source, const TwoBitTarget& target, Method method);
ErrorSums requantise4_avx512(const Codes& source, const TwoBitTarget& target, Method method);
ErrorSums requantise4_neon(const Codes& source, const TwoBitTarget& target, Method method);
/// Any width, value by value.
ErrorSums requantise_values(const Codes& source, const TwoBitTarget& target, Method method);

} // namespace flashmoe::quant
