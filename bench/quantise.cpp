// What quantising normal values leaves of them: relative RMSE by width, groups of 64, our rule and MLX's.
// Usage: quantise [GROUPS]. `make -C native quantise-error` builds and runs it.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/random.h"
#include "quant/quantise.h"

using namespace flashmoe;

int main(int count, char** arguments) {
    constexpr unsigned kGroup = 64;
    const size_t groups = count > 1 ? strtoull(arguments[1], nullptr, 10) : 20'000;
    Random random(1);
    std::vector<float> values(groups * kGroup);
    // Box and Muller, 1958.
    for (float& value : values) {
        const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
        value = static_cast<float>(radius * std::cos(2 * M_PI * random.uniform()));
    }
    std::vector<uint8_t> codes(values.size()), scales(groups * 2), biases(groups * 2);
    std::printf("| bits | relative RMSE | MLX's rule |\n|---|---|---|\n");
    for (const unsigned bits : {8u, 6u, 5u, 4u, 3u, 2u}) {
        const auto error = [&](quant::Rule rule) {
            const quant::ErrorSums sums =
                quant::quantise({values.data(), kGroup, groups}, {codes.data(), scales.data(), biases.data(), bits}, rule);
            return std::sqrt(sums.squared_error / sums.sum_of_squares);
        };
        std::printf("| %u | %.4f | %.4f |\n", bits, error(quant::Rule::fit), error(quant::Rule::mlx));
    }
    return 0;
}
