// How fast one core requantises 4-bit codes in memory: bytes of codes and parameters read per second of CPU time.
// Weights are normal ones, quantised over the range of each group as published models are. Methods take turns, the best
// of ROUNDS passes counts. Usage: requantise [ROUNDS [ISA [BITS]]], or make -C native speed ROUNDS=9 BITS=3  → one line of JSON an instruction set.
#include "core/half.h"
#include "quant/requantise.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string_view>
#include <vector>

using namespace flashmoe;
using namespace flashmoe::quant;

static constexpr unsigned kGroupSize = 64;
static constexpr size_t kGroups = size_t{1} << 20; // 36 MiB, more than a level-2 cache

static double cpu_seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Weights {
    std::vector<uint8_t> codes = std::vector<uint8_t>(kGroups * kGroupSize / 2);
    std::vector<uint16_t> scales, biases;
    std::vector<uint8_t> columns;

    Weights() {
        std::mt19937 random(1);
        std::normal_distribution<float> normal(0, 0.02f);
        float values[kGroupSize];
        for (size_t group = 0; group < kGroups; ++group) {
            for (float& value : values) value = normal(random);
            const auto [low, high] = std::minmax_element(values, values + kGroupSize);
            const float scale = (*high - *low) / 15;
            for (unsigned i = 0; i < kGroupSize; ++i) {
                const auto code = static_cast<unsigned>(std::lround((values[i] - *low) / scale));
                codes[(group * kGroupSize + i) / 2] |= static_cast<uint8_t>(code << (4 * (i % 2)));
            }
            scales.push_back(float_to_bf16(scale));
            biases.push_back(float_to_bf16(*low));
        }
        std::lognormal_distribution<double> size(0, 1.5);
        for (int i = 0; i < 4096; ++i) columns.push_back(static_cast<uint8_t>(std::clamp(size(random) * 12, 1.0, 255.0)));
    }
    Codes view() const {
        const auto bytes = [](const auto& values) { return reinterpret_cast<const uint8_t*>(values.data()); };
        return {codes.data(), bytes(scales), bytes(biases), ParamType::bf16, 4, kGroupSize, kGroups};
    }
    /// Of 4096 columns: as activations have it, most count little.
    Importance importance() const { return {columns.data(), columns.size() / kGroupSize, 0}; }
    double bytes() const { return static_cast<double>(codes.size() + 4 * kGroups); }
};

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 9;
    const unsigned bits = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 2;
    const Weights weights;
    std::vector<uint8_t> codes(kGroups * kGroupSize * bits / 8), scales(2 * kGroups), biases(2 * kGroups);
    for (const Isa isa : {Isa::scalar, Isa::neon, Isa::avx2, Isa::avx512}) {
        if (!has_isa(isa) || (argc > 2 && argv[2][0] != 0 && std::string_view(argv[2]) != isa_name(isa))) continue;
        double minmax = 1e9, search = 1e9, weighed = 1e9;
        ErrorSums sums;
        const Importance importance = weights.importance();
        const auto timed = [&](double& best, Method method, const Importance* columns) {
            const double start = cpu_seconds();
            const auto left = requantise(weights.view(), {codes.data(), scales.data(), biases.data(), bits}, method, isa, columns);
            best = std::min(best, cpu_seconds() - start);
            return left;
        };
        for (int round = 0; round < rounds; ++round) {
            timed(minmax, Method::minmax, nullptr);
            timed(weighed, Method::search, &importance);
            sums = timed(search, Method::search, nullptr);
        }
        const auto rate = [&](double seconds) { return weights.bytes() / seconds; };
        std::printf("{\"isa\":\"%s\",\"search\":%.3g,\"minmax\":%.3g,\"weighed\":%.3g,\"error\":%.4f}\n", isa_name(isa),
                    rate(search), rate(minmax), rate(weighed), std::sqrt(sums.squared_error / sums.range_error));
    }
}
