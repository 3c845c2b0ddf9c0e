// Affine 4- or 8-bit codes to narrower ones of the same groups, in memory. Storage and method: docs/format.md.
// The bytes written depend on nothing but the bytes read: not on threads, not on the instruction set, not on how a
// matrix is cut. Whole rows, or any whole groups, can be given on their own; their sums add up to those of the whole.
// Thread-safe and without allocation: nothing is kept between calls.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmoe::quant {

enum class ParamType { bf16, f16, f32 };
/// search: to 2 bits least squares over all uniform partitions, to 3 and 5 Rule::fit of quantise.h. minmax: the grid spans the
/// group's range, to 3 and 5 bits Rule::mlx; for comparisons.
enum class Method { search, minmax };
enum class Isa { scalar, avx2, avx512, neon };

/// `groups` groups back to back, values of a group together; code j of a word in bits [b*j, b*j + b). For `rows` whole
/// rows of a [rows, columns] matrix: its bytes as they are, and rows * columns / group_size groups.
struct Codes {
    const std::uint8_t* codes; // groups * group_size * bits / 8 bytes
    const std::uint8_t* scales; // groups parameters, no alignment needed
    const std::uint8_t* biases;
    ParamType type;
    unsigned bits; // 4 or 8
    unsigned group_size; // 32, 64 or 128
    std::size_t groups;
};

/// How much a squared error counts, by column and the same in every row. What is minimised is the weighted error; what is
/// counted in ErrorSums stays the plain one.
struct Importance {
    const std::uint8_t* weights; // columns, each from 1 to 255
    std::size_t row_groups; // columns / group_size
    std::size_t first; // the row's group that the codes begin with
};

/// Room for groups * group_size * bits / 8 bytes of codes and groups BF16 parameters each.
struct AffineTarget {
    std::uint8_t* codes;
    std::uint8_t* scales;
    std::uint8_t* biases;
    unsigned bits; // 2, 3, 4, 5, 6 or 8; of requantise as is_narrowing says
};

/// Sums over values, from the stored bytes against the source's own values.
struct ErrorSums {
    double squared_error = 0;
    /// What Method::minmax leaves on the same values.
    double range_error = 0;
    double sum = 0;
    double sum_of_squares = 0;
    std::uint64_t values = 0;
    /// Groups with a parameter that is NaN or beyond 1e30: nothing sensible was written for them.
    std::uint64_t broken_groups = 0;

    void add(const ErrorSums& other);
};

/// Chosen once for this machine.
Isa best_isa();
bool has_isa(Isa isa);
const char* isa_name(Isa isa);

/// Whether `requantise` makes codes of `to` bits out of those of `from`.
constexpr bool is_narrowing(unsigned from, unsigned to) {
    return (from == 4 || from == 8) && to < from && (to == 2 || to == 3 || to == 5);
}

/// Source and target may not overlap. Costs the same for one call or many, from a few hundred groups on. Importance is
/// for the search; null: all columns count alike.
ErrorSums requantise(const Codes& source, const AffineTarget& target, Method method, Isa isa = best_isa(),
                     const Importance* importance = nullptr);

} // namespace flashmoe::quant
