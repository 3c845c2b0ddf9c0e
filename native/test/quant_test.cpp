#include "quant/requantise.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/half.h"
#include "pack/sha256.h"
#include "test/harness.h"

using namespace flashmoe;
using namespace flashmoe::quant;

namespace {

struct Sample {
    std::vector<uint8_t> codes, scales, biases;
    ParamType type = ParamType::bf16;
    unsigned bits = 4, group_size = 64;
    size_t groups = 0;
    /// Of the columns; none: all count alike.
    std::vector<uint8_t> weights{};

    double weight(size_t group, unsigned i) const {
        return weights.empty() ? 1 : weights[(group * group_size + i) % weights.size()];
    }
    /// From a group on.
    Importance importance(size_t first = 0) const {
        const size_t row_groups = weights.size() / group_size;
        return {weights.data(), row_groups, row_groups == 0 ? 0 : first % row_groups};
    }
    Codes view() const { return {codes.data(), scales.data(), biases.data(), type, bits, group_size, groups}; }
    unsigned code(size_t group, unsigned i) const {
        const size_t bit = (group * group_size + i) * bits;
        return (codes[bit / 8] >> (bit % 8)) & ((1u << bits) - 1);
    }
    float param(const std::vector<uint8_t>& bytes, size_t group) const {
        if (type == ParamType::f32) {
            float value;
            std::memcpy(&value, &bytes[4 * group], 4);
            return value;
        }
        uint16_t value;
        std::memcpy(&value, &bytes[2 * group], 2);
        return type == ParamType::bf16 ? bf16_to_float(value) : f16_to_float(value);
    }
    double value(size_t group, unsigned i) const {
        return param(scales, group) * static_cast<float>(code(group, i)) + param(biases, group);
    }
};

void push(std::vector<uint8_t>& to, ParamType type, float value) {
    const auto append = [&](const void* from, size_t size) {
        const auto* bytes = static_cast<const uint8_t*>(from);
        to.insert(to.end(), bytes, bytes + size);
    };
    if (type == ParamType::f32) return append(&value, 4);
    const uint16_t bits = type == ParamType::bf16 ? float_to_bf16(value) : float_to_f16(value);
    append(&bits, 2);
}

/// Normal weights quantised over their range; half of the scales are negative.
Sample sample(size_t groups, unsigned bits, unsigned group_size, ParamType type, unsigned seed) {
    Sample made{{}, {}, {}, type, bits, group_size, groups};
    made.codes.resize(groups * group_size * bits / 8);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.001f, 0.02f);
    const auto top = static_cast<float>((1u << bits) - 1);
    for (size_t group = 0; group < groups; ++group) {
        std::vector<float> values(group_size);
        for (float& value : values) value = normal(random);
        // Every fifth group has an outlier, which leaves few levels to the rest, every seventh two values only, every
        // eleventh one, and every thirteenth keeps to both ends of its range.
        if (group % 5 == 0) values[0] *= 8;
        if (group % 13 == 0) for (float& value : values) value += value > 0 ? 0.1f : -0.1f;
        if (group % 7 == 0) for (float& value : values) value = value > 0 ? 0.03f : -0.01f;
        if (group % 11 == 0) for (float& value : values) value = 0.02f;
        const auto [low, high] = std::minmax_element(values.begin(), values.end());
        const bool falling = random() % 2 == 0;
        const float scale = (falling ? -1.0f : 1.0f) * (*high - *low) / top, bias = falling ? *high : *low;
        push(made.scales, type, scale);
        push(made.biases, type, bias);
        for (unsigned i = 0; i < group_size; ++i) {
            const float code = scale == 0 ? 0 : std::clamp(std::nearbyint((values[i] - bias) / scale), 0.0f, top);
            const size_t bit = (group * group_size + i) * bits;
            made.codes[bit / 8] |= static_cast<uint8_t>(static_cast<unsigned>(code) << (bit % 8));
        }
    }
    return made;
}

struct Packed {
    std::vector<uint8_t> codes, scales, biases;
    ErrorSums sums;

    double value(const Sample& from, size_t group, unsigned i) const {
        const size_t index = group * from.group_size + i;
        uint16_t scale, bias;
        std::memcpy(&scale, &scales[2 * group], 2);
        std::memcpy(&bias, &biases[2 * group], 2);
        return double{bf16_to_float(scale)} * ((codes[index / 4] >> (2 * (index % 4))) & 3) + bf16_to_float(bias);
    }
    double error(const Sample& from, size_t group) const {
        double sum = 0;
        for (unsigned i = 0; i < from.group_size; ++i) sum += std::pow(from.value(group, i) - value(from, group, i), 2);
        return sum;
    }
    double weighted_error(const Sample& from, size_t group) const {
        double sum = 0;
        for (unsigned i = 0; i < from.group_size; ++i) {
            sum += from.weight(group, i) * std::pow(from.value(group, i) - value(from, group, i), 2);
        }
        return sum;
    }
};

/// A row of `row_groups` groups: most columns count little, some a lot, as activations have it.
std::vector<uint8_t> column_weights(size_t row_groups, unsigned group_size, unsigned seed) {
    std::mt19937 random(seed);
    std::lognormal_distribution<double> size(0, 1.5);
    std::vector<uint8_t> weights(row_groups * group_size);
    for (uint8_t& weight : weights) weight = static_cast<uint8_t>(std::clamp(size(random) * 12, 1.0, 255.0));
    return weights;
}

Packed pack_sample(const Sample& from, Method method, Isa isa) {
    // A guard byte behind each: nothing may be written past the end.
    Packed to{std::vector<uint8_t>(from.groups * from.group_size / 4 + 1, 0xa5),
              std::vector<uint8_t>(from.groups * 2 + 1, 0xa5), std::vector<uint8_t>(from.groups * 2 + 1, 0xa5), {}};
    const Importance importance = from.importance();
    to.sums = requantise(from.view(), {to.codes.data(), to.scales.data(), to.biases.data(), 2}, method, isa,
                         from.weights.empty() ? nullptr : &importance);
    for (auto* bytes : {&to.codes, &to.scales, &to.biases}) {
        EXPECT_EQ(int{bytes->back()}, 0xa5);
        bytes->pop_back();
    }
    return to;
}

std::vector<Isa> machine_isas() {
    std::vector<Isa> found;
    for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon}) {
        if (has_isa(isa)) found.push_back(isa);
    }
    return found;
}

/// Least squared error, by weights, of a 4-bit group over all ways to cut 16 levels into four runs, parameters unrounded.
double best_of_all_cuts(const Sample& from, size_t group) {
    std::array<double, 17> count{}, sum{};
    double total = 0, squares = 0, n = 0;
    for (unsigned i = 0; i < from.group_size; ++i) {
        const double value = from.value(group, i), weight = from.weight(group, i);
        n += weight;
        total += weight * value;
        squares += weight * value * value;
        for (unsigned t = 1; t <= from.code(group, i); ++t) {
            count[t] += weight;
            sum[t] += weight * value;
        }
    }
    double explained = 0;
    for (int a = 1; a <= 16; ++a) {
        for (int b = a; b <= 16; ++b) {
            for (int c = b; c <= 16; ++c) {
                const double q = count[a] + count[b] + count[c], q2 = count[a] + 3 * count[b] + 5 * count[c];
                const double joint = sum[a] + sum[b] + sum[c] - q * total / n, spread = q2 - q * q / n;
                if (spread > 0) explained = std::max(explained, joint * joint / spread);
            }
        }
    }
    return std::max(0.0, squares - total * total / n - explained);
}

} // namespace

TEST("every instruction set writes the same two-bit bytes, whatever the group size, parameters and count") {
    unsigned seed = 0;
    for (const unsigned group_size : {32u, 64u, 128u}) {
        for (const ParamType type : {ParamType::bf16, ParamType::f16, ParamType::f32}) {
            for (const size_t groups : {1u, 3u, 16u, 45u, 1000u}) {
                const Sample from = sample(groups, 4, group_size, type, ++seed);
                for (const Method method : {Method::search, Method::minmax}) {
                    const Packed plain = pack_sample(from, method, Isa::scalar);
                    for (const Isa isa : machine_isas()) {
                        const Packed other = pack_sample(from, method, isa);
                        if (other.codes != plain.codes || other.scales != plain.scales || other.biases != plain.biases) {
                            harness::fail_at(__FILE__, __LINE__, isa_name(isa), " differs at group size ", group_size);
                        }
                        EXPECT(std::fabs(other.sums.squared_error - plain.sums.squared_error) <=
                               1e-9 * plain.sums.squared_error);
                        EXPECT_EQ(other.sums.values, groups * group_size);
                    }
                }
            }
        }
    }
}

TEST("the search is within a thousandth of the best that any cut of the levels could do") {
    for (const unsigned group_size : {32u, 64u, 128u}) {
        const Sample from = sample(2000, 4, group_size, ParamType::bf16, 99);
        const Packed to = pack_sample(from, Method::search, best_isa());
        double best = 0;
        for (size_t group = 0; group < from.groups; ++group) best += best_of_all_cuts(from, group);
        EXPECT(to.sums.squared_error >= best * (1 - 1e-6));
        EXPECT(to.sums.squared_error <= best * 1.001);
    }
}

TEST("no group is worse than with the grid over its range, and the reported error is that of the bytes") {
    for (const unsigned bits : {4u, 8u}) {
        const Sample from = sample(500, bits, 64, ParamType::bf16, 5);
        const Packed search = pack_sample(from, Method::search, best_isa()), range = pack_sample(from, Method::minmax, best_isa());
        double error = 0;
        for (size_t group = 0; group < from.groups; ++group) {
            EXPECT(search.error(from, group) <= range.error(from, group) * (1 + 1e-5) + 1e-12);
            error += search.error(from, group);
        }
        EXPECT(std::fabs(search.sums.squared_error / error - 1) < 1e-5);
        EXPECT(std::sqrt(search.sums.squared_error) < 0.75 * std::sqrt(range.sums.squared_error));
    }
}

TEST("with weights every instruction set writes the same bytes, too") {
    unsigned seed = 500;
    for (const unsigned group_size : {32u, 64u, 128u}) {
        for (const size_t groups : {1u, 45u, 1000u}) {
            Sample from = sample(groups, 4, group_size, ParamType::bf16, ++seed);
            from.weights = column_weights(3, group_size, seed);
            const Packed plain = pack_sample(from, Method::search, Isa::scalar);
            for (const Isa isa : machine_isas()) {
                const Packed other = pack_sample(from, Method::search, isa);
                EXPECT(other.codes == plain.codes && other.scales == plain.scales && other.biases == plain.biases);
            }
        }
    }
}

TEST("columns that count alike change nothing") {
    for (const unsigned bits : {4u, 8u}) {
        Sample from = sample(300, bits, 64, ParamType::bf16, 61);
        const Packed plain = pack_sample(from, Method::search, best_isa());
        from.weights.assign(128, 1);
        const Packed alike = pack_sample(from, Method::search, best_isa());
        EXPECT(alike.codes == plain.codes && alike.scales == plain.scales && alike.biases == plain.biases);
        EXPECT_EQ(alike.sums.squared_error, plain.sums.squared_error);
    }
}

TEST("the weighted search is within a thousandth of the best that any cut of the levels could do") {
    for (const unsigned group_size : {32u, 64u, 128u}) {
        Sample from = sample(2000, 4, group_size, ParamType::bf16, 98);
        from.weights = column_weights(5, group_size, 98);
        const Packed to = pack_sample(from, Method::search, best_isa());
        double best = 0, error = 0;
        for (size_t group = 0; group < from.groups; ++group) {
            best += best_of_all_cuts(from, group);
            error += to.weighted_error(from, group);
        }
        EXPECT(error >= best * (1 - 1e-6));
        EXPECT(error <= best * 1.001);
    }
}

TEST("weights lower the weighted error and the reported one stays the plain one of the bytes") {
    for (const unsigned bits : {4u, 8u}) {
        Sample from = sample(500, bits, 64, ParamType::bf16, 6);
        const Packed plain = pack_sample(from, Method::search, best_isa());
        from.weights = column_weights(4, 64, 6);
        const Packed weighted = pack_sample(from, Method::search, best_isa());
        double error = 0, by_weight = 0, by_weight_before = 0;
        for (size_t group = 0; group < from.groups; ++group) {
            error += weighted.error(from, group);
            by_weight += weighted.weighted_error(from, group);
            by_weight_before += plain.weighted_error(from, group);
        }
        EXPECT(by_weight < 0.9 * by_weight_before);
        EXPECT(std::fabs(weighted.sums.squared_error / error - 1) < 1e-5);
        EXPECT(weighted.sums.squared_error > plain.sums.squared_error);
        EXPECT_EQ(weighted.sums.range_error, plain.sums.range_error);
    }
}

TEST("a weighted matrix cut in the middle of its rows gives the bytes of the whole") {
    Sample from = sample(7 * 40, 4, 64, ParamType::bf16, 32);
    from.weights = column_weights(7, 64, 32);
    const Packed whole = pack_sample(from, Method::search, best_isa());
    Packed cut{std::vector<uint8_t>(whole.codes.size()), std::vector<uint8_t>(whole.scales.size()),
               std::vector<uint8_t>(whole.biases.size()), {}};
    for (size_t first = 0, count = 5; first < from.groups; first += count, count = std::min(count + 9, from.groups - first)) {
        const Importance importance = from.importance(first);
        requantise({&from.codes[first * 32], &from.scales[2 * first], &from.biases[2 * first], from.type, 4, 64, count},
                   {&cut.codes[first * 16], &cut.scales[2 * first], &cut.biases[2 * first], 2}, Method::search, best_isa(),
                   &importance);
    }
    EXPECT(cut.codes == whole.codes && cut.scales == whole.scales && cut.biases == whole.biases);
}

TEST("a matrix cut into slices of rows gives the bytes and the sums of the whole") {
    constexpr size_t kColumns = 256, kRows = 37;
    const Sample from = sample(kRows * kColumns / 64, 4, 64, ParamType::f16, 31);
    const Packed whole = pack_sample(from, Method::search, best_isa());
    Packed sliced{std::vector<uint8_t>(whole.codes.size()), std::vector<uint8_t>(whole.scales.size()),
                  std::vector<uint8_t>(whole.biases.size()), {}};
    const size_t row_groups = kColumns / 64;
    for (size_t row = 0, rows = 1; row < kRows; row += rows, rows = std::min(rows + 3, kRows - row)) {
        const size_t first = row * row_groups;
        const Codes slice{&from.codes[first * 32], &from.scales[2 * first], &from.biases[2 * first],
                          from.type, 4, 64, rows * row_groups};
        sliced.sums.add(requantise(slice, {&sliced.codes[first * 16], &sliced.scales[2 * first], &sliced.biases[2 * first], 2},
                                   Method::search));
    }
    EXPECT(sliced.codes == whole.codes && sliced.scales == whole.scales && sliced.biases == whole.biases);
    EXPECT_EQ(sliced.sums.values, kRows * kColumns);
    EXPECT(std::fabs(sliced.sums.squared_error / whole.sums.squared_error - 1) < 1e-12);
    EXPECT(std::fabs(sliced.sums.sum_of_squares / whole.sums.sum_of_squares - 1) < 1e-12);
}

TEST("the range method's error is reported beside that of the search") {
    for (const unsigned bits : {4u, 8u}) {
        const Sample from = sample(300, bits, 64, ParamType::bf16, 8);
        const ErrorSums search = pack_sample(from, Method::search, best_isa()).sums;
        const ErrorSums range = pack_sample(from, Method::minmax, best_isa()).sums;
        EXPECT_EQ(search.range_error, range.squared_error);
        EXPECT_EQ(range.range_error, range.squared_error);
    }
}

TEST("a group of equal values becomes one point and codes of zero") {
    for (const Isa isa : machine_isas()) {
        Sample from = sample(16, 4, 64, ParamType::bf16, 1);
        from.codes.assign(from.codes.size(), 0x77);
        const Packed to = pack_sample(from, Method::search, isa);
        for (size_t group = 0; group < from.groups; ++group) {
            uint16_t scale;
            std::memcpy(&scale, &to.scales[2 * group], 2);
            EXPECT_EQ(bf16_to_float(scale), 0.0f);
            EXPECT_EQ(to.value(from, group, 0), double{bf16_to_float(float_to_bf16(static_cast<float>(from.value(group, 0))))});
        }
        for (const uint8_t byte : to.codes) EXPECT_EQ(int{byte}, 0);
    }
}

TEST("parameters that are no numbers are counted") {
    for (const unsigned bits : {4u, 8u}) {
        for (const Isa isa : machine_isas()) {
            Sample from = sample(40, bits, 64, ParamType::bf16, 2);
            for (const auto& [group, value] : {std::pair{3, std::numeric_limits<float>::quiet_NaN()},
                                              {17, std::numeric_limits<float>::infinity()}, {39, -1e35f}}) {
                const uint16_t stored = float_to_bf16(value);
                std::memcpy(&(group == 17 ? from.biases : from.scales)[2 * static_cast<size_t>(group)], &stored, 2);
            }
            EXPECT_EQ(pack_sample(from, Method::search, isa).sums.broken_groups, 3u);
        }
    }
}

TEST("two machines requantise the same codes to the same bytes") {
    Sample from{{}, {}, {}, ParamType::bf16, 4, 64, 3000};
    uint32_t state = 12345;
    const auto next = [&] { return (state = state * 1664525 + 1013904223) >> 16; };
    for (size_t group = 0; group < from.groups; ++group) {
        // Sums of two dice make the middle codes common, as in real weights.
        for (int i = 0; i < 32; ++i) {
            const unsigned low = (next() % 8) + (next() % 9), high = (next() % 8) + (next() % 9);
            from.codes.push_back(static_cast<uint8_t>(low | high << 4));
        }
        push(from.scales, from.type, (static_cast<float>(next() % 2000) - 1000.0f) / 65536.0f);
        push(from.biases, from.type, (static_cast<float>(next() % 2000) - 1000.0f) / 8192.0f);
    }
    const auto hash_of = [&] {
        const Packed to = pack_sample(from, Method::search, best_isa());
        pack::Sha256 hash;
        for (const auto* bytes : {&to.codes, &to.scales, &to.biases}) hash.update(bytes->data(), bytes->size());
        return hash.hex();
    };
    EXPECT_EQ(hash_of(), "4eadbff1d09fdecf9fe6f6bba870b83afc8785f15dc2f9ec58da917448071f57");
    for (int column = 0; column < 192; ++column) from.weights.push_back(static_cast<uint8_t>(1 + next() % 255));
    EXPECT_EQ(hash_of(), "7d22356cb8ba63d159eb918d2ba825c4b913a74073a65575aad8002287954704");
}
