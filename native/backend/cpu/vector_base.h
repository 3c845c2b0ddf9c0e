// Where every kernel over a vector type begins. An instruction set's file defines FM_TARGET (its target attribute) and
// a struct Lanes (its vectors) in an unnamed namespace, then includes vector_kernels.h; nothing else may
// include it or these parts of it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "backend/cpu/kernels.h"
#include "backend/cpu/unroll.h"

#define FM_INLINE FM_TARGET inline __attribute__((always_inline))

namespace flashmoe::cpu {
namespace {

using F = Lanes::F;
constexpr uint32_t kLanes = Lanes::kLanes;

constexpr uint32_t codes_per_word(uint32_t bits) { return 32 / bits; }

const std::byte* weight_row(const Matrix& matrix, uint32_t row) {
    return matrix.weight.as<const std::byte>() + row * matrix.row_bytes();
}

} // namespace
} // namespace flashmoe::cpu
