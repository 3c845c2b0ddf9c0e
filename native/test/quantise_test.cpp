#include "quant/quantise.h"

#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "core/half.h"
#include "test/harness.h"

using namespace flashmoe;
using namespace flashmoe::quant;

namespace {

struct Result {
    std::vector<uint8_t> codes, scales, biases;
    ErrorSums sums;
    bool operator==(const Result& other) const {
        return codes == other.codes && scales == other.scales && biases == other.biases &&
               sums.squared_error == other.sums.squared_error && sums.range_error == other.sums.range_error &&
               sums.sum == other.sums.sum && sums.sum_of_squares == other.sums.sum_of_squares;
    }
};

Result quantised(const std::vector<float>& values, unsigned group, unsigned bits, Rule rule, Isa isa = best_isa(),
                 const Importance* importance = nullptr) {
    const size_t groups = values.size() / group;
    Result result{std::vector<uint8_t>(values.size() * bits / 8), std::vector<uint8_t>(groups * 2),
                  std::vector<uint8_t>(groups * 2), {}};
    result.sums = quantise({values.data(), group, groups},
                           {result.codes.data(), result.scales.data(), result.biases.data(), bits}, rule, isa, importance);
    return result;
}

std::vector<float> normal(size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> draw(0.01f, 0.3f);
    std::vector<float> values(count);
    for (auto& value : values) value = draw(random);
    return values;
}

float half_at(const std::vector<uint8_t>& from, size_t index) {
    return bf16_to_float(static_cast<uint16_t>(from[2 * index] | from[2 * index + 1] << 8));
}

/// Decoded as docs/format.md says, code by code.
double error_of(const std::vector<float>& values, const Result& result, unsigned group, unsigned bits,
                const std::vector<uint8_t>& weights = {}) {
    double error = 0;
    for (size_t i = 0; i < values.size(); ++i) {
        unsigned code = 0;
        for (unsigned b = 0; b < bits; ++b) {
            const size_t bit = i * bits + b;
            code |= (result.codes[bit / 8] >> (bit % 8) & 1u) << b;
        }
        const double off = values[i] - (double{half_at(result.scales, i / group)} * code + half_at(result.biases, i / group));
        error += off * off * (weights.empty() ? 1 : weights[i % weights.size()]);
    }
    return error;
}

} // namespace

TEST("every instruction set quantises values to the same bytes") {
    for (const unsigned group : {16u, 32u, 64u, 128u}) {
        const auto values = normal(64 * group, group);
        for (const unsigned bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
            for (const Rule rule : {Rule::mlx, Rule::fit}) {
                const auto expected = quantised(values, group, bits, rule, Isa::scalar);
                for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::neon}) {
                    if (has_isa(isa)) EXPECT(quantised(values, group, bits, rule, isa) == expected);
                }
            }
        }
    }
}

TEST("the error that quantising tells is that of the stored bytes, and a fit never leaves more than MLX's rule") {
    for (const unsigned bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
        for (unsigned seed = 0; seed < 200; ++seed) {
            const auto values = normal(64, seed);
            const auto mlx = quantised(values, 64, bits, Rule::mlx);
            const auto fit = quantised(values, 64, bits, Rule::fit);
            EXPECT(std::fabs(mlx.sums.squared_error - error_of(values, mlx, 64, bits)) < 1e-5 * (1 + mlx.sums.squared_error));
            EXPECT(std::fabs(fit.sums.squared_error - error_of(values, fit, 64, bits)) < 1e-5 * (1 + fit.sums.squared_error));
            EXPECT(fit.sums.squared_error <= mlx.sums.squared_error);
            EXPECT_EQ(fit.sums.range_error, mlx.sums.squared_error);
        }
    }
}

/// Columns of which some count much more.
std::vector<uint8_t> uneven(size_t columns) {
    std::mt19937 random(7);
    std::vector<uint8_t> weights(columns);
    for (auto& weight : weights) weight = static_cast<uint8_t>(1 + (random() % 8 == 0 ? 200 : random() % 12));
    return weights;
}

TEST("weights of columns lower the error by them, every instruction set writes the same, and the plain error is told") {
    const auto values = normal(6 * 40 * 64, 3);
    const auto weights = uneven(6 * 64);
    const Importance importance{weights.data(), 6, 0};
    for (const unsigned bits : {2u, 3u, 4u, 5u}) {
        const auto plain = quantised(values, 64, bits, Rule::fit);
        const auto weighed = quantised(values, 64, bits, Rule::fit, Isa::scalar, &importance);
        EXPECT(error_of(values, weighed, 64, bits, weights) < error_of(values, plain, 64, bits, weights));
        EXPECT(std::fabs(weighed.sums.squared_error / error_of(values, weighed, 64, bits) - 1) < 1e-5);
        EXPECT_EQ(weighed.sums.range_error, plain.sums.range_error);
        for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::neon}) {
            if (has_isa(isa)) EXPECT(quantised(values, 64, bits, Rule::fit, isa, &importance) == weighed);
        }
        const std::vector<uint8_t> even(6 * 64, 9);
        const Importance alike{even.data(), 6, 0};
        EXPECT(std::fabs(quantised(values, 64, bits, Rule::fit, best_isa(), &alike).sums.squared_error /
                             plain.sums.squared_error - 1) < 1e-3);
    }
}

TEST("codes of 4 and 8 bits become 3 and 5 as the values that they stand for, cut anywhere, weighed or not") {
    const auto values = normal(5 * 30 * 32, 11);
    const auto weights = uneven(5 * 32);
    constexpr size_t kGroups = 5 * 30;
    for (const auto& [from, to] : {std::pair{4u, 3u}, std::pair{8u, 3u}, std::pair{8u, 5u}}) {
        const auto wide = quantised(values, 32, from, Rule::fit);
        std::vector<float> stored(values.size());
        for (size_t i = 0; i < stored.size(); ++i) {
            const unsigned code = from == 8 ? wide.codes[i] : wide.codes[i / 2] >> (4 * (i % 2)) & 15;
            stored[i] = half_at(wide.scales, i / 32) * static_cast<float>(code) + half_at(wide.biases, i / 32);
        }
        for (const bool weighed : {false, true}) {
            const Importance whole{weights.data(), 5, 0};
            const auto expected = quantised(stored, 32, to, Rule::fit, best_isa(), weighed ? &whole : nullptr);
            Result cut{std::vector<uint8_t>(expected.codes.size()), std::vector<uint8_t>(kGroups * 2),
                       std::vector<uint8_t>(kGroups * 2), {}};
            for (size_t first = 0, count = 7; first < kGroups; first += count, count = std::min<size_t>(count + 40, kGroups - first)) {
                const Importance importance{weights.data(), 5, first % 5};
                cut.sums.add(requantise({&wide.codes[first * 4 * from], &wide.scales[2 * first], &wide.biases[2 * first],
                                         ParamType::bf16, from, 32, count},
                                        {&cut.codes[first * 4 * to], &cut.scales[2 * first], &cut.biases[2 * first], to},
                                        Method::search, best_isa(), weighed ? &importance : nullptr));
            }
            EXPECT(cut.codes == expected.codes && cut.scales == expected.scales && cut.biases == expected.biases);
            EXPECT(std::fabs(cut.sums.squared_error / expected.sums.squared_error - 1) < 1e-12);
            EXPECT_EQ(cut.sums.values, values.size());
        }
    }
}

TEST("a scale that is no number is counted at every width") {
    const auto values = normal(4 * 64, 2);
    auto wide = quantised(values, 64, 4, Rule::fit);
    wide.scales[3] = 0x7f;
    wide.scales[2] = 0xc0;
    Result narrow{std::vector<uint8_t>(4 * 24), std::vector<uint8_t>(8), std::vector<uint8_t>(8), {}};
    const auto sums = requantise({wide.codes.data(), wide.scales.data(), wide.biases.data(), ParamType::bf16, 4, 64, 4},
                                 {narrow.codes.data(), narrow.scales.data(), narrow.biases.data(), 3}, Method::search);
    EXPECT_EQ(sums.broken_groups, 1u);
}

TEST("halves are rounded away from zero, and a maximum below 0 counts as 0, as in MLX's Metal kernel") {
    // Range -15 to 0 at 4 bits: the scale is 1 and the bias -15, so that -3.5 is the half code 11.5.
    std::vector<float> values(64, -15);
    values[0] = 0;
    values[1] = -3.5f;
    const auto halves = quantised(values, 64, 4, Rule::mlx);
    EXPECT_EQ(half_at(halves.scales, 0), 1.0f);
    EXPECT_EQ(half_at(halves.biases, 0), -15.0f);
    EXPECT_EQ(int{halves.codes[0]}, 15 | 12 << 4);
    std::vector<float> negative(64, -15);
    negative[0] = -7;
    EXPECT_EQ(half_at(quantised(negative, 64, 4, Rule::mlx).scales, 0), 1.0f);
}

TEST("constant groups keep their value, and groups with no usable numbers are counted") {
    for (const float constant : {0.0f, 0.5f, -2.0f}) {
        const std::vector<float> values(64, constant);
        const auto result = quantised(values, 64, 4, Rule::fit);
        EXPECT(error_of(values, result, 64, 4) == 0);
    }
    auto values = normal(256, 1);
    values[70] = std::numeric_limits<float>::quiet_NaN();
    values[200] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(quantised(values, 64, 4, Rule::fit).sums.broken_groups, uint64_t{2});
}
