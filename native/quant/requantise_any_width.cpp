// Codes to codes of any width: the values that they stand for, quantised as those of an original are. A share of the groups at
// a time, so that values stay in the cache and nothing is allocated.
#include "quant/groups.h"
#include "quant/quantise.h"

#include <algorithm>
#include <array>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace flashmoe::quant {

namespace {

constexpr std::size_t kShare = 32;
constexpr std::size_t kMostValues = 128;

/// Values of group `index`; false, and zeros, where its parameters are no usable numbers.
bool decode(const Codes& source, std::size_t index, float* to) {
    const float scale = parameter(source.scales, source.type, index);
    const float bias = parameter(source.biases, source.type, index);
    if (!is_usable(scale, bias)) {
        std::fill(to, to + source.group_size, 0.0f);
        return false;
    }
    const std::uint8_t* codes = source.codes + index * source.group_size * source.bits / 8;
    if (source.bits == 8) {
        for (unsigned i = 0; i < source.group_size; ++i) to[i] = scale * static_cast<float>(codes[i]) + bias;
        return true;
    }
    std::array<float, 16> points;
    for (unsigned code = 0; code < points.size(); ++code) points[code] = scale * static_cast<float>(code) + bias;
    for (unsigned i = 0; i < source.group_size; i += 2) {
        to[i] = points[codes[i / 2] & 15];
        to[i + 1] = points[codes[i / 2] >> 4];
    }
    return true;
}

} // namespace

ErrorSums requantise_any_width(const Codes& source, const AffineTarget& target, Method method, Isa isa,
                               const Importance* importance) {
    ErrorSums sums;
    std::array<float, kShare * kMostValues> values;
    for (std::size_t done = 0; done < source.groups; done += kShare) {
        const std::size_t groups = std::min(kShare, source.groups - done);
        for (std::size_t g = 0; g < groups; ++g) {
            if (!decode(source, done + g, values.data() + g * source.group_size)) ++sums.broken_groups;
        }
        Importance share{};
        if (importance != nullptr) share = {importance->weights, importance->row_groups, importance->first + done};
        const AffineTarget to{target.codes + done * source.group_size * target.bits / 8, target.scales + 2 * done,
                              target.biases + 2 * done, target.bits};
        sums.add(quantise({values.data(), source.group_size, groups}, to, method == Method::search ? Rule::fit : Rule::mlx,
                          isa, importance == nullptr ? nullptr : &share));
    }
    return sums;
}

} // namespace flashmoe::quant
