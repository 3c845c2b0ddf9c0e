// How fast one core requantises 4-bit codes in memory: bytes of codes and parameters read per second of CPU time.
// Weights are normal ones, quantised over the range of each group as published models are. Methods take turns, the best
// of ROUNDS passes counts. Usage: requantise [ROUNDS [ISA]], or make -C native speed ROUNDS=9  → one line of JSON an instruction set.
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
    }
    Codes view() const {
        const auto bytes = [](const auto& values) { return reinterpret_cast<const uint8_t*>(values.data()); };
        return {codes.data(), bytes(scales), bytes(biases), ParamType::bf16, 4, kGroupSize, kGroups};
    }
    double bytes() const { return static_cast<double>(codes.size() + 4 * kGroups); }
};

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 9;
    const Weights weights;
    std::vector<uint8_t> codes(kGroups * kGroupSize / 4), scales(2 * kGroups), biases(2 * kGroups);
    for (const Isa isa : {Isa::scalar, Isa::neon, Isa::avx2, Isa::avx512}) {
        if (!has_isa(isa) || (argc > 2 && std::string_view(argv[2]) != isa_name(isa))) continue;
        double best[] = {1e9, 1e9};
        ErrorSums sums;
        for (int round = 0; round < rounds; ++round) {
            for (const Method method : {Method::minmax, Method::search}) {
                const double start = cpu_seconds();
                sums = requantise(weights.view(), {codes.data(), scales.data(), biases.data()}, method, isa);
                double& seconds = best[method == Method::search];
                seconds = std::min(seconds, cpu_seconds() - start);
            }
        }
        std::printf("{\"isa\":\"%s\",\"search\":%.3g,\"minmax\":%.3g,\"error\":%.4f}\n", isa_name(isa),
                    weights.bytes() / best[1], weights.bytes() / best[0], std::sqrt(sums.squared_error / sums.range_error));
    }
}
