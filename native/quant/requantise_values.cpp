// Groups of any width, value by value: shrunken ranges, each refined by least squares. Not in a hurry, since no
// model of the catalogue has 8-bit experts.
#include "quant/groups.h"

#include <algorithm>
#include <array>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace flashmoe::quant {

namespace {

constexpr int kShrinks = 25;
constexpr double kLeastShrink = 0.4;
constexpr int kRefits = 3;

struct Group {
    std::array<double, 128> values;
    /// Whole numbers: 1 where columns have none.
    std::array<double, 128> weights;
    double weight = 0;
    unsigned size = 0;
    double low = 0, high = 0, mean = 0;
};

struct Fit {
    float scale = 0, bias = 0;
    /// Plain, and by weights.
    double error = 0, weighted = 0;
};

unsigned code_of(double value, double scale, double bias) {
    if (scale == 0) return 0;
    return static_cast<unsigned>(std::clamp(std::nearbyint((value - bias) / scale), 0.0, 3.0));
}

Fit stored(const Group& group, double scale, double bias) {
    Fit fit{bf16_to_float(float_to_bf16(static_cast<float>(scale))), bf16_to_float(float_to_bf16(static_cast<float>(bias)))};
    for (unsigned i = 0; i < group.size; ++i) {
        const double point = double{fit.scale} * code_of(group.values[i], fit.scale, fit.bias) + fit.bias;
        const double square = (group.values[i] - point) * (group.values[i] - point);
        fit.error += square;
        fit.weighted += group.weights[i] * square;
    }
    return fit;
}

Fit search(const Group& group, Fit best) {
    const double middle = (group.low + group.high) / 2;
    for (int i = 0; i < kShrinks; ++i) {
        const double shrink = kLeastShrink + (1 - kLeastShrink) * i / (kShrinks - 1);
        double scale = shrink * (group.high - group.low) / 3;
        double bias = middle - 1.5 * scale;
        for (int refit = 0; refit < kRefits; ++refit) {
            double codes = 0, squares = 0, products = 0;
            for (unsigned v = 0; v < group.size; ++v) {
                const double q = code_of(group.values[v], scale, bias);
                codes += group.weights[v] * q;
                squares += group.weights[v] * q * q;
                products += group.weights[v] * q * (group.values[v] - group.mean);
            }
            const double spread = squares - codes * codes / group.weight;
            if (spread > 0) scale = products / spread;
            bias = group.mean - scale * codes / group.weight;
        }
        const Fit fit = stored(group, scale, bias);
        if (fit.weighted < best.weighted) best = fit;
    }
    return best;
}

Group decode(const Codes& source, std::size_t index, float scale, float bias, const Importance* importance) {
    Group group;
    group.size = source.group_size;
    const std::uint8_t* weights = importance == nullptr ? nullptr : weights_of(*importance, index, group.size);
    const std::size_t first_bit = index * source.group_size * source.bits;
    double sum = 0;
    for (unsigned i = 0; i < group.size; ++i) {
        const std::size_t bit = first_bit + i * source.bits;
        const unsigned code = (source.codes[bit / 8] >> (bit % 8)) & ((1u << source.bits) - 1);
        group.values[i] = scale * static_cast<float>(code) + bias;
        group.weights[i] = weights == nullptr ? 1 : weights[i];
        group.weight += group.weights[i];
        sum += group.weights[i] * group.values[i];
    }
    const auto [low, high] = std::minmax_element(group.values.begin(), group.values.begin() + group.size);
    group.low = *low;
    group.high = *high;
    group.mean = sum / group.weight;
    return group;
}

} // namespace

ErrorSums requantise_values(const Codes& source, const AffineTarget& target, Method method, const Importance* importance) {
    ErrorSums sums;
    for (std::size_t i = 0; i < source.groups; ++i) {
        const float scale = parameter(source.scales, source.type, i);
        const float bias = parameter(source.biases, source.type, i);
        const bool usable = is_usable(scale, bias);
        if (!usable) ++sums.broken_groups;
        const Group group = decode(source, i, usable ? scale : 0, usable ? bias : 0, importance);
        Fit fit = stored(group, (group.high - group.low) / 3, group.low);
        sums.range_error += fit.error;
        if (method == Method::search) fit = search(group, fit);

        const std::uint16_t params[] = {float_to_bf16(fit.scale), float_to_bf16(fit.bias)};
        std::memcpy(target.scales + 2 * i, &params[0], 2);
        std::memcpy(target.biases + 2 * i, &params[1], 2);
        std::uint8_t* to = target.codes + i * source.group_size / 4;
        std::fill(to, to + source.group_size / 4, std::uint8_t{0});
        for (unsigned v = 0; v < group.size; ++v) {
            to[v / 4] |= static_cast<std::uint8_t>(code_of(group.values[v], fit.scale, fit.bias) << (2 * (v % 4)));
            sums.sum += group.values[v];
            sums.sum_of_squares += group.values[v] * group.values[v];
        }
        sums.squared_error += fit.error;
        sums.values += group.size;
    }
    return sums;
}

} // namespace flashmoe::quant
