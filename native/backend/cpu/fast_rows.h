// What integer row loops share: which matrices they take, and how x is laid out for them.
//
// x is rounded to 8 bits, a scale for each 32 columns, and laid out a chunk of 64 columns at a time in the order in which a
// chunk's codes come out of their bytes when these are masked and shifted: 4 bits: even columns, then odd ones; 2 bits:
// columns 0, 4, 8 ... of the chunk, then 1, 5, 9 ... Behind the codes stand, for each chunk, the scales of eight lanes, and then
// the sums of each group, of the rounded values: w = scale * code + bias is then multiplied with one x, not with two.
#pragma once

#include <cstdint>

#include "backend/cpu/kernels.h"

namespace flashmoe::cpu {

constexpr uint32_t kFastChunk = 64, kFastBlock = 32, kFastLanes = 8;

/// Others stay exact: 8 bits are few, and of use where they are exact.
inline bool is_fast(const Matrix& matrix) {
    if (matrix.codes != Codes::affine) return false;
    return (matrix.bits == 4 && matrix.group >= 32) || (matrix.bits == 2 && matrix.group >= 64);
}

struct FastShape {
    uint32_t chunks, groups;
    size_t row_bytes, param_bytes;
    explicit FastShape(const Matrix& matrix)
        : chunks((matrix.cols + kFastChunk - 1) / kFastChunk), groups(static_cast<uint32_t>(matrix.groups())),
          row_bytes(matrix.row_bytes()), param_bytes(element_bytes(matrix.type)) {}
    size_t lanes_at() const { return size_t{chunks} * kFastChunk / sizeof(float); }
    size_t sums_at() const { return lanes_at() + size_t{chunks} * kFastLanes; }
    size_t floats() const { return (sums_at() + groups + 15) / 16 * 16; }
};

/// Block (0 or 1) of its chunk that a lane's codes are of.
constexpr uint32_t fast_block_of(uint32_t bits, uint32_t lane) { return bits == 4 ? lane / 4 % 2 : lane / 2 % 2; }
/// Place in a chunk of its column `c`.
constexpr uint32_t fast_place_of(uint32_t bits, uint32_t c) {
    return bits == 4 ? c % 2 * 32 + c / 2 : c % 4 * 16 + c / 4;
}

/// `rows` of Kernels for matrices that are is_fast().
using FastRows = void (*)(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                          uint32_t tokens, float* y, size_t y_stride);
void fast_rows_scalar(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride);
#if defined(__x86_64__)
void fast_rows_avx2(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride);
void fast_rows_vnni(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride);
#endif

} // namespace flashmoe::cpu
