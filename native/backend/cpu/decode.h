// Weights of every packed format as floats: what kernels without a loop of their own for a format are made of.
#pragma once

#include "backend/backend.h"

namespace flashmoe::cpu {

/// Columns that decode() can be asked for at once, and what first and count must be multiples of.
constexpr uint32_t kDecodedTile = 512, kDecodedStep = 16;

/// Columns [first, first + count) of a row of packed codes; of one in blocks, whole blocks.
void decode(const Matrix& matrix, uint32_t row, uint32_t first, uint32_t count, float* out);

} // namespace flashmoe::cpu
