// Affine 4- or 8-bit codes to 2-bit codes of the same groups. Storage and method: docs/format.md.
// The bytes written depend on nothing but the bytes read: not on threads, not on the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmoe::quant {

enum class ParamType { bf16, f16, f32 };
/// search: least squares over all uniform partitions. minmax: the grid spans the group's range; for comparisons.
enum class Method { search, minmax };
enum class Isa { scalar, avx2, avx512, neon };

/// `groups` groups back to back, values of a group together; code j of a word in bits [b*j, b*j + b).
struct Codes {
    const std::uint8_t* codes; // groups * group_size * bits / 8 bytes
    const std::uint8_t* scales; // groups parameters, no alignment needed
    const std::uint8_t* biases;
    ParamType type;
    unsigned bits; // 4 or 8
    unsigned group_size; // 32, 64 or 128
    std::size_t groups;
};

/// Room for groups * group_size / 4 bytes of codes and groups BF16 parameters each.
struct TwoBitTarget {
    std::uint8_t* codes;
    std::uint8_t* scales;
    std::uint8_t* biases;
};

/// Sums over values, from the stored 2-bit bytes against the source's own values.
struct ErrorSums {
    double squared_error = 0;
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

ErrorSums requantise(const Codes& source, const TwoBitTarget& target, Method method, Isa isa);

} // namespace flashmoe::quant
