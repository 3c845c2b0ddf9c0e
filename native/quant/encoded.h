// Values of checkpoints that are no conversions, as they are stored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmoe::quant {

/// e4m3: one byte, times an F32 scale a block of 128 rows and columns. int4: code - 8, times a BF16, F16 or F32 scale a group.
/// e2m1: 4 bits, times an E8M0 scale for 32.
enum class Encoding { bf16, f16, f32, e4m3, int4, e2m1 };

/// 32, 16, 8 or 4.
unsigned bits_of(Encoding encoding);

constexpr std::size_t kBlock = 128;

/// Plain values, e4m3 without its scales.
void decode_plain(Encoding encoding, const std::uint8_t* from, std::size_t count, float* to);
/// Multiplies values [first, first + count) of a [.., columns] matrix by the scales of its blocks, row-major from `scales` on.
void scale_blocks(float* values, std::size_t first, std::size_t count, std::size_t columns, const std::uint8_t* scales);
/// Codes of groups of `group_size` with one scale each; int4.
void decode_int4(const std::uint8_t* codes, const float* scales, std::size_t groups, unsigned group_size, float* to);
/// Groups of 32.
void decode_e2m1(const std::uint8_t* codes, const std::uint8_t* scales, std::size_t groups, float* to);

} // namespace flashmoe::quant
