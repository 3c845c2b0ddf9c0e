// Linear maps in 8-bit integers: an exact table's, but for quantised weights, whose activations are rounded to 8 bits a block
// of 32.
#pragma once

#include "backend/cpu/kernels.h"

namespace flashmoe::cpu {

/// `exact` with its quantised linears replaced by integer ones of the same instruction set.
const Kernels& fast_kernels(const Kernels& exact);

} // namespace flashmoe::cpu
