#include "quant/encoded.h"

#include "core/half.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace flashmoe::quant {

namespace {

constexpr unsigned kMicroGroup = 32;

/// Sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity.
float e4m3(unsigned byte) {
    const unsigned exponent = byte >> 3 & 15, mantissa = byte & 7;
    if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
    const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                     : std::ldexp(static_cast<float>(8 + mantissa), static_cast<int>(exponent) - 10);
    return (byte & 128) != 0 ? -size : size;
}

const std::array<float, 256>& e4m3_values() {
    static const auto values = [] {
        std::array<float, 256> all{};
        for (unsigned i = 0; i < all.size(); ++i) all[i] = e4m3(i);
        return all;
    }();
    return values;
}

} // namespace

unsigned bits_of(Encoding encoding) {
    switch (encoding) {
    case Encoding::f32: return 32;
    case Encoding::bf16:
    case Encoding::f16: return 16;
    case Encoding::e4m3: return 8;
    case Encoding::int4:
    case Encoding::e2m1: break;
    }
    return 4;
}

void decode_plain(Encoding encoding, const std::uint8_t* from, std::size_t count, float* to) {
    if (encoding == Encoding::f32) {
        std::memcpy(to, from, 4 * count);
    } else if (encoding == Encoding::e4m3) {
        const auto& values = e4m3_values();
        for (std::size_t i = 0; i < count; ++i) to[i] = values[from[i]];
    } else {
        const bool is_bf16 = encoding == Encoding::bf16;
        for (std::size_t i = 0; i < count; ++i) {
            std::uint16_t half;
            std::memcpy(&half, from + 2 * i, 2);
            to[i] = is_bf16 ? bf16_to_float(half) : f16_to_float(half);
        }
    }
}

void scale_blocks(float* values, std::size_t first, std::size_t count, std::size_t columns, const std::uint8_t* scales) {
    const std::size_t blocks = (columns + kBlock - 1) / kBlock;
    for (std::size_t at = first, end = first + count; at < end;) {
        const std::size_t row = at / columns, column = at % columns;
        const std::size_t to_border = std::min(kBlock - column % kBlock, columns - column);
        const std::size_t part = std::min(to_border, end - at);
        float scale;
        std::memcpy(&scale, scales + 4 * (row / kBlock * blocks + column / kBlock), 4);
        float* run = values + (at - first);
        for (std::size_t i = 0; i < part; ++i) run[i] *= scale;
        at += part;
    }
}

void decode_int4(const std::uint8_t* codes, const float* scales, std::size_t groups, unsigned group_size, float* to) {
    for (std::size_t g = 0; g < groups; ++g) {
        for (unsigned i = 0; i < group_size; i += 2, ++codes, to += 2) {
            to[0] = static_cast<float>(static_cast<int>(*codes & 15) - 8) * scales[g];
            to[1] = static_cast<float>(static_cast<int>(*codes >> 4) - 8) * scales[g];
        }
    }
}

void decode_e2m1(const std::uint8_t* codes, const std::uint8_t* scales, std::size_t groups, float* to) {
    static constexpr float kValues[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6};
    for (std::size_t g = 0; g < groups; ++g) {
        const float scale = scales[g] == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, int{scales[g]} - 127);
        for (unsigned i = 0; i < kMicroGroup; i += 2, ++codes, to += 2) {
            to[0] = kValues[*codes & 15] * scale;
            to[1] = kValues[*codes >> 4] * scale;
        }
    }
}

} // namespace flashmoe::quant
