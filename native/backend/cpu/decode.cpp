// Packed codes to floats. Affine codes of any width: a row is one little-endian stream of bits, the least significant first.
// mxfp4, nvfp4: E2M1 nibbles, the low one first; mxfp8: E4M3 bytes. Scales of mxfp are E8M0, those of nvfp4 E4M3
// (OCP Microscaling Formats 1.0). Blocks of GGUF: quant/blocks.h.
#include "backend/cpu/decode.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/half.h"

namespace flashmoe::cpu {
namespace {

constexpr float kE2M1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

float e4m3(uint32_t byte) {
    const uint32_t exponent = byte >> 3 & 15, mantissa = byte & 7;
    if ((byte & 0x7f) == 0x7f) return std::nanf("");
    const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                     : std::ldexp(static_cast<float>(8 + mantissa), static_cast<int>(exponent) - 10);
    return (byte & 0x80) != 0 ? -size : size;
}

float e8m0(uint32_t byte) { return byte == 255 ? std::nanf("") : std::ldexp(1.0f, static_cast<int>(byte) - 127); }

/// A byte's value, or those of its two nibbles.
struct Tables {
    std::array<float, 256> e4m3_values, e8m0_values;
    std::array<std::array<float, 2>, 256> e2m1_pairs;
    Tables() {
        for (uint32_t byte = 0; byte < 256; ++byte) {
            e4m3_values[byte] = e4m3(byte);
            e8m0_values[byte] = e8m0(byte);
            for (uint32_t i = 0; i < 2; ++i) {
                const uint32_t nibble = byte >> (4 * i) & 15;
                e2m1_pairs[byte][i] = (nibble & 8) != 0 ? -kE2M1[nibble & 7] : kE2M1[nibble & 7];
            }
        }
    }
};

const Tables& tables() {
    static const Tables all;
    return all;
}

float parameter(ElementType type, const std::byte* base, size_t index) {
    if (type == ElementType::f32) {
        float value;
        std::memcpy(&value, base + index * 4, 4);
        return value;
    }
    uint16_t bits;
    std::memcpy(&bits, base + index * 2, 2);
    return type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
}

/// Eight codes of kBits bits from kBits bytes.
template <uint32_t kBits> void eight_codes(const std::byte* from, float* out) {
    uint64_t stream = 0;
    std::memcpy(&stream, from, kBits);
    for (uint32_t j = 0; j < 8; ++j) out[j] = static_cast<float>(stream >> (j * kBits) & ((1u << kBits) - 1));
}

template <uint32_t kBits> void affine_codes(const std::byte* codes, uint32_t count, float* out) {
    for (uint32_t i = 0; i < count; i += 8) eight_codes<kBits>(codes + i / 8 * kBits, out + i);
}

void raw_codes(const Matrix& matrix, const std::byte* codes, uint32_t count, float* out) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(codes);
    if (matrix.codes == Codes::mxfp8) {
        for (uint32_t i = 0; i < count; ++i) out[i] = tables().e4m3_values[bytes[i]];
    } else if (matrix.codes != Codes::affine) {
        for (uint32_t i = 0; i < count; i += 2) std::memcpy(out + i, tables().e2m1_pairs[bytes[i / 2]].data(), 2 * sizeof(float));
    } else {
        switch (matrix.bits) {
        case 2: return affine_codes<2>(codes, count, out);
        case 3: return affine_codes<3>(codes, count, out);
        case 4: return affine_codes<4>(codes, count, out);
        case 5: return affine_codes<5>(codes, count, out);
        case 6: return affine_codes<6>(codes, count, out);
        default: return affine_codes<8>(codes, count, out);
        }
    }
}

} // namespace

void decode(const Matrix& matrix, uint32_t row, uint32_t first, uint32_t count, float* out) {
    const std::byte* start = matrix.weight.as<const std::byte>() + row * matrix.row_bytes();
    if (matrix.codes == Codes::blocks) {
        const auto* blocks = reinterpret_cast<const uint8_t*>(start) + size_t{first / matrix.group} * quant::block_bytes(matrix.block);
        return quant::decode_blocks(matrix.block, blocks, count / matrix.group, out);
    }
    const std::byte* codes = start + size_t{first} * matrix.bits / 8;
    raw_codes(matrix, codes, count, out);
    // A part of a row may begin and end inside a group.
    for (uint32_t at = 0; at < count;) {
        const uint32_t group = (first + at) / matrix.group;
        const uint32_t end = std::min(count, (group + 1) * matrix.group - first);
        const size_t index = row * matrix.groups() + group;
        if (matrix.codes == Codes::affine) {
            const float scale = parameter(matrix.type, matrix.scales.as<const std::byte>(), index);
            const float bias = parameter(matrix.type, matrix.biases.as<const std::byte>(), index);
            for (; at < end; ++at) out[at] = scale * out[at] + bias;
        } else {
            const auto byte = static_cast<uint8_t>(matrix.scales.as<const std::byte>()[index]);
            const float scale = (matrix.codes == Codes::nvfp4 ? tables().e4m3_values : tables().e8m0_values)[byte];
            for (; at < end; ++at) out[at] *= scale;
        }
    }
}

} // namespace flashmoe::cpu
