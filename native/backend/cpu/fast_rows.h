// What integer row loops share: which matrices they take, how x is laid out for them, and what they compute.
//
// x is rounded to 8 bits, a scale for each block of 32 columns. A block's codes stand in the order in which a block's weights come
// out of their bytes when these are masked and shifted: 4 bits: even columns, then odd ones; 2 bits: columns 0, 4, 8 ... of the
// block, then 1, 5, 9 ... Behind the codes stand the blocks' scales, and then each group's sum of the rounded values.
//
//   y = total + rest, of a row with w = scale * code + bias
//   total: block by block, in order, fma(sum of code products, scale of w * scale of x, total)
//   rest: group by group, in order, fma(bias, sum of the group's x, rest)
//
// Blocks of GGUF go in spans of 256 columns: codes in the order of columns, behind them the scales of 32 columns each, and where
// a kind has least values, the sums of its groups; zeros behind the last block. Each row has two times eight totals and eight rests.
// Groups of 32: lane l of the first totals (even 32s) or the second (odd ones) adds the products of columns 4 l to 4 l + 3 times
// the group's factor. Groups of 16: group g adds its products to the g % 8-th of the first totals or, where g / 8 is odd, the second.
// In both group g adds what its least value comes to to the g % 8-th rest. At the end the totals are added, then the rests, then
// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
//
// Sums of products are whole numbers, so this is the same number on every instruction set, for however many rows and tokens go
// together.
#pragma once

#include <cstdint>

#include "backend/cpu/kernels.h"

namespace flashmoe::cpu {

constexpr uint32_t kFastBlock = 32, kFastChunk = 64;

/// Others stay exact: 8 bits are few, and of use where they are exact.
inline bool is_fast(const Matrix& matrix) {
    if (matrix.codes == Codes::blocks) return matrix.block != quant::Block::q8_0;
    if (matrix.codes != Codes::affine) return false;
    return (matrix.bits == 4 && matrix.group >= 32) || (matrix.bits == 2 && matrix.group >= 64);
}

struct FastShape {
    uint32_t blocks, chunks, groups, group_shift;
    size_t row_bytes, param_bytes;
    explicit FastShape(const Matrix& matrix);
    size_t scales_at() const { return size_t{chunks} * kFastChunk / sizeof(float); }
    size_t sums_at() const { return scales_at() + size_t{chunks} * 2; }
    size_t floats() const { return (sums_at() + groups + 15) / 16 * 16; }
    uint32_t group_of(uint32_t block) const { return block * kFastBlock >> group_shift; }
};

constexpr uint32_t kFastSpan = 256;

struct FastBlockShape {
    uint32_t blocks, spans, group;
    bool has_least;
    explicit FastBlockShape(const Matrix& matrix);
    size_t scales_at() const { return size_t{spans} * kFastSpan / sizeof(float); }
    size_t sums_at() const { return scales_at() + size_t{spans} * kFastSpan / kFastBlock; }
    size_t floats() const { return sums_at() + (has_least ? size_t{spans} * kFastSpan / group : 0); }
};

/// Place in a block of its column `c`.
constexpr uint32_t fast_place_of(uint32_t bits, uint32_t c) {
    return bits == 4 ? c % 2 * 16 + c / 2 : bits == 2 ? c % 4 * 8 + c / 4 : c;
}

/// `count` scales or biases as floats.
void widen_parameters(ElementType type, const std::byte* from, uint32_t count, float* to);

/// Codes of a block's 32 values at their places (bits 0: in order), and their sum. Returns the scale; what is not finite makes it so.
using RoundBlock = float (*)(const float* x, uint32_t bits, int8_t* codes, int32_t& sum);
float round_block_scalar(const float* x, uint32_t bits, int8_t* codes, int32_t& sum);

/// `rows` of Kernels for matrices that are is_fast().
using FastRows = void (*)(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                          uint32_t tokens, float* y, size_t y_stride);
void fast_rows_scalar(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride);
/// The same for blocks of GGUF.
void fast_blocks_scalar(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                        uint32_t tokens, float* y, size_t y_stride);
#if defined(__x86_64__)
void fast_blocks_avx2(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride);
void fast_blocks_vnni(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride);
float round_block_avx2(const float* x, uint32_t bits, int8_t* codes, int32_t& sum);
void fast_rows_avx2(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride);
void fast_rows_vnni(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride);
#elif defined(__aarch64__)
void fast_blocks_neon(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride);
float round_block_neon(const float* x, uint32_t bits, int8_t* codes, int32_t& sum);
void fast_rows_neon(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride);
#endif

} // namespace flashmoe::cpu
