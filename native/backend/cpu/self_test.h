// Kernels against double-precision references on small odd shapes. Ships: the first run on new hardware is a test.
#pragma once

#include <cstddef>

#include "backend/cpu/kernels.h"
#include "flashmoe.h"

namespace flashmoe::cpu {

/// Fills up to `capacity` checks (names live forever) and returns how many there are.
size_t self_test(const Kernels& kernels, fm_kernel_check* checks, size_t capacity);

} // namespace flashmoe::cpu
