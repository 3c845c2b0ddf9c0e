// 16-bit floats as bits. Plain C++; the SIMD kernels have their own.
#pragma once

#include <bit>
#include <cstdint>

namespace flashmoe {

inline float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

/// Round to nearest even; NaN stays NaN.
inline uint16_t float_to_bf16(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((bits >> 16) | 64);
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline float f16_to_float(uint16_t bits) {
    const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
    const uint32_t rest = bits & 0x7FFFu;
    // Below 0x0400 subnormal: its value is rest * 2^-24, exact in f32.
    if (rest < 0x0400) return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(static_cast<float>(rest) * 0x1p-24f));
    const uint32_t exponent_shift = rest >= 0x7C00 ? (255u - 31u) << 23 : (127u - 15u) << 23;
    return std::bit_cast<float>(sign | ((rest << 13) + exponent_shift));
}

/// Round to nearest even; beyond the range infinity; NaN stays NaN.
inline uint16_t float_to_f16(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
    const uint32_t rest = bits & 0x7FFFFFFF;
    if (rest > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00);
    if (rest >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00); // rounds to 65536 or more
    if (rest < 0x38800000) {                                             // below 2^-14: multiples of 2^-24
        // Adding 0.5 leaves exactly those multiples in the low bits, rounded by the machine.
        const float aligned = std::bit_cast<float>(rest) + 0.5f;
        return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3F000000));
    }
    const uint32_t rounded = rest + 0xFFF + ((rest >> 13) & 1);
    return static_cast<uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
}

} // namespace flashmoe
