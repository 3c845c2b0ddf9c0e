// Layouts from ggml-org/llama.cpp, ggml/src/ggml-common.h. Halves are widened first; products and sums are f32, in the order
// written here, so nothing may be contracted.
#include "quant/blocks.h"

#include <cstring>

#include "core/half.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace flashmoe::quant {
namespace {

float half(const std::uint8_t* from) { return f16_to_float(static_cast<std::uint16_t>(from[0] | from[1] << 8)); }

/// Blocks of 32 nibbles: the low ones are the first half. A fifth bit of value j is bit j of `high`.
template <class Value> void nibbles(const std::uint8_t* codes, std::uint32_t high, float* to, Value value) {
    for (unsigned j = 0; j < 16; ++j) {
        to[j] = value((codes[j] & 15) | (high >> j & 1) << 4);
        to[j + 16] = value(codes[j] >> 4 | (high >> (j + 16) & 1) << 4);
    }
}

std::uint32_t word(const std::uint8_t* from) {
    std::uint32_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return bits;
}

template <bool kFive> void centred(const std::uint8_t* from, float* to) {
    const float scale = half(from);
    const auto value = [&](std::uint32_t code) { return static_cast<float>(static_cast<int>(code) - (kFive ? 16 : 8)) * scale; };
    nibbles(from + (kFive ? 6 : 2), kFive ? word(from + 2) : 0, to, value);
}

template <bool kFive> void shifted(const std::uint8_t* from, float* to) {
    const float scale = half(from), least = half(from + 2);
    const auto value = [&](std::uint32_t code) { return static_cast<float>(code) * scale + least; };
    nibbles(from + (kFive ? 8 : 4), kFive ? word(from + 4) : 0, to, value);
}

void q8_0(const std::uint8_t* from, float* to) {
    const float scale = half(from);
    for (unsigned j = 0; j < 32; ++j) to[j] = static_cast<float>(static_cast<std::int8_t>(from[2 + j])) * scale;
}

/// Two bits of value `place` of 256: 32 bytes hold 128 values, by their bits first.
unsigned two_bits(const std::uint8_t* codes, unsigned place) {
    return codes[place / 128 * 32 + place % 32] >> (place % 128 / 32 * 2) & 3u;
}

void q2_k(const std::uint8_t* from, float* to) {
    const float scale = half(from + 80), least = half(from + 82);
    for (unsigned i = 0; i < 256; ++i) {
        const unsigned both = from[i / 16];
        to[i] = scale * static_cast<float>(both & 15) * static_cast<float>(two_bits(from + 16, i)) - least * static_cast<float>(both >> 4);
    }
}

void q3_k(const std::uint8_t* from, float* to) {
    const float all = half(from + 108);
    const std::uint8_t* packed = from + 96;
    for (unsigned i = 0; i < 256; ++i) {
        const unsigned group = i / 16;
        const unsigned low = group < 8 ? packed[group] & 15u : packed[group - 8] >> 4;
        const unsigned high = packed[8 + group % 4] >> (group / 4 * 2) & 3u;
        const float scale = all * static_cast<float>(static_cast<int>(low | high << 4) - 32);
        const unsigned third = from[i % 32] >> (i / 32) & 1u;
        to[i] = scale * static_cast<float>(static_cast<int>(two_bits(from + 32, i) | third << 2) - 4);
    }
}

/// q4_k and q5_k: 6 bits each of a scale and a minimum for 32 values.
void scale_and_minimum(const std::uint8_t* packed, unsigned group, unsigned& scale, unsigned& least) {
    if (group < 4) {
        scale = packed[group] & 63u;
        least = packed[group + 4] & 63u;
    } else {
        scale = (packed[group + 4] & 15u) | packed[group - 4] >> 6 << 4;
        least = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
    }
}

template <bool kFive> void q45_k(const std::uint8_t* from, float* to) {
    const float scales = half(from), leasts = half(from + 2);
    const std::uint8_t* codes = from + (kFive ? 48 : 16);
    for (unsigned group = 0; group < 8; ++group) {
        unsigned scale_code, least_code;
        scale_and_minimum(from + 4, group, scale_code, least_code);
        const float scale = scales * static_cast<float>(scale_code), least = leasts * static_cast<float>(least_code);
        for (unsigned i = 0; i < 32; ++i, ++to) {
            unsigned code = codes[group / 2 * 32 + i] >> (group % 2 * 4) & 15u;
            if (kFive) code |= (from[16 + i] >> group & 1u) << 4;
            *to = scale * static_cast<float>(code) - least;
        }
    }
}

void q6_k(const std::uint8_t* from, float* to) {
    const float all = half(from + 208);
    for (unsigned i = 0; i < 256; ++i) {
        const unsigned part = i / 128, quarter = i % 128 / 32, place = i % 32;
        const unsigned low = from[64 * part + quarter % 2 * 32 + place] >> (quarter / 2 * 4) & 15u;
        const unsigned high = from[128 + 32 * part + place] >> (quarter * 2) & 3u;
        const float scale = all * static_cast<float>(static_cast<std::int8_t>(from[192 + i / 16]));
        to[i] = scale * static_cast<float>(static_cast<int>(low | high << 4) - 32);
    }
}

using Decode = void (*)(const std::uint8_t* from, float* to);
/// By Block.
constexpr Decode kDecoders[] = {centred<false>, shifted<false>, centred<true>, shifted<true>, q8_0,
                                q2_k,           q3_k,           q45_k<false>,  q45_k<true>,   q6_k};
static_assert(std::size(kDecoders) == kBlockKinds.size());

} // namespace

std::optional<Block> block_named(std::string_view name) {
    for (std::size_t i = 0; i < kBlockKinds.size(); ++i) {
        if (name == kBlockKinds[i].name) return static_cast<Block>(i);
    }
    return std::nullopt;
}

void decode_blocks(Block block, const std::uint8_t* from, std::size_t count, float* to) {
    const Decode decode = kDecoders[static_cast<std::size_t>(block)];
    const BlockKind& kind = kind_of(block);
    for (std::size_t i = 0; i < count; ++i) decode(from + i * kind.bytes, to + i * kind.values);
}

} // namespace flashmoe::quant
