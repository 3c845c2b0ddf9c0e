// Rate of the requantiser alone on one core: 4-bit input bytes a second of this thread's CPU time, in memory. Prints JSON.
#include "quant/requantise.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

using namespace flashmoe::quant;

namespace {

constexpr std::size_t kGroups = std::size_t{1} << 20;
constexpr unsigned kGroupSize = 64;
constexpr int kRuns = 5;

double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

} // namespace

int main() {
    std::mt19937_64 random(1);
    std::vector<std::uint8_t> codes(kGroups * kGroupSize / 2);
    for (auto& byte : codes) byte = static_cast<std::uint8_t>(random());
    std::vector<std::uint8_t> scales(kGroups * 2);
    std::vector<std::uint8_t> biases(kGroups * 2);
    for (std::size_t i = 0; i < kGroups; ++i) {
        const unsigned word = 0x3b80 | (random() & 0x7f);
        scales[2 * i] = biases[2 * i] = static_cast<std::uint8_t>(word);
        scales[2 * i + 1] = static_cast<std::uint8_t>(word >> 8);
        biases[2 * i + 1] = static_cast<std::uint8_t>(0x80 | word >> 8);
    }
    std::vector<std::uint8_t> narrow(kGroups * kGroupSize / 4);
    std::vector<std::uint8_t> new_scales(kGroups * 2);
    std::vector<std::uint8_t> new_biases(kGroups * 2);
    const double bytes = static_cast<double>(codes.size() + scales.size() + biases.size());
    std::printf("{\"isa\": \"%s\"", isa_name(best_isa()));
    for (const auto method : {Method::search, Method::minmax}) {
        double best = 0;
        for (int i = 0; i < kRuns; ++i) {
            const double before = cpu_seconds();
            requantise({codes.data(), scales.data(), biases.data(), ParamType::bf16, 4, kGroupSize, kGroups},
                       {narrow.data(), new_scales.data(), new_biases.data()}, method);
            best = std::max(best, bytes / (cpu_seconds() - before));
        }
        std::printf(", \"%s\": %.0f", method == Method::search ? "search" : "minmax", best);
    }
    std::printf("}\n");
}
