// Values to affine codes of 2 to 8 bits, in memory. Storage: docs/format.md, "Quantised linears"; rules: "Originals".
// As requantise.h: the bytes written depend on nothing but the values, and any whole groups can be given on their own.
#pragma once

#include "quant/requantise.h"

namespace flashmoe::quant {

/// mlx: what MLX's Metal kernel computes, halves rounded away from zero; parameters become BF16 after the codes were chosen.
/// fit: the least squared error among MLX's own result and least-squares fits over shrunken ranges, codes chosen with the
/// parameters as they are stored.
enum class Rule { mlx, fit };

struct Values {
    const float* values; // groups * group_size
    unsigned group_size; // 16, 32, 64 or 128
    std::size_t groups;
};

/// `range_error` is what Rule::mlx leaves on the same values; a group with a value that is NaN or beyond 1e30 is broken.
/// Importance is for Rule::fit; null: all columns count alike.
ErrorSums quantise(const Values& source, const AffineTarget& target, Rule rule, Isa isa = best_isa(),
                   const Importance* importance = nullptr);

using QuantiseKernel = ErrorSums (*)(const Values&, const AffineTarget&, Rule, const Importance*);
ErrorSums quantise_scalar(const Values&, const AffineTarget&, Rule, const Importance*);
ErrorSums quantise_avx2(const Values&, const AffineTarget&, Rule, const Importance*);
ErrorSums quantise_avx512(const Values&, const AffineTarget&, Rule, const Importance*);
ErrorSums quantise_neon(const Values&, const AffineTarget&, Rule, const Importance*);

} // namespace flashmoe::quant
