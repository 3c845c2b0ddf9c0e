// What requantising shares between instruction sets: parameters of a group, and one kernel per instruction set over
// groups of 4-bit codes.
#pragma once

#include "core/half.h"
#include "quant/requantise.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace flashmoe::quant {

/// Beyond it a scale is damage, and squares would leave float's range.
constexpr float kMaxParameter = 1e30f;

inline float parameter(const std::uint8_t* bytes, ParamType type, std::size_t index) {
    if (type == ParamType::f32) {
        float value;
        std::memcpy(&value, bytes + 4 * index, 4);
        return value;
    }
    std::uint16_t value;
    std::memcpy(&value, bytes + 2 * index, 2);
    return type == ParamType::bf16 ? bf16_to_float(value) : f16_to_float(value);
}

inline bool is_usable(float scale, float bias) {
    return std::fabs(scale) < kMaxParameter && std::fabs(bias) < kMaxParameter; // false for NaN
}

/// Weights of group `index` of the codes.
inline const std::uint8_t* weights_of(const Importance& importance, std::size_t index, unsigned group_size) {
    return importance.weights + (importance.first + index) % importance.row_groups * group_size;
}

/// `importance` may be null.
using Kernel = ErrorSums (*)(const Codes& source, const AffineTarget& target, Method method, const Importance* importance);

ErrorSums requantise4_scalar(const Codes&, const AffineTarget&, Method, const Importance*);
ErrorSums requantise4_avx2(const Codes&, const AffineTarget&, Method, const Importance*);
ErrorSums requantise4_avx512(const Codes&, const AffineTarget&, Method, const Importance*);
ErrorSums requantise4_neon(const Codes&, const AffineTarget&, Method, const Importance*);
/// To 2 bits from any width, value by value.
ErrorSums requantise_values(const Codes&, const AffineTarget&, Method, const Importance*);
/// To any width, as values are quantised.
ErrorSums requantise_any_width(const Codes&, const AffineTarget&, Method, Isa, const Importance*);

} // namespace flashmoe::quant
