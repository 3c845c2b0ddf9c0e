// What calibration counts, against sums written out in double precision.
#include "blocks/expert_observer.h"

#include <cmath>
#include <random>

#include "backend/cpu/cpu_backend.h"
#include "core/memory.h"
#include "test/harness.h"

using namespace flashmoe;

namespace {

constexpr uint32_t kHidden = 64, kIntermediate = 32, kExperts = 3;

/// Gate, up and inputs as plain floats in one buffer.
struct Sample {
    cpu::CpuBackend backend{2, cpu::best_kernels()};
    PageMemory memory{1 << 20};
    Buffer buffer = backend.wrap(memory.data(), memory.size());
    size_t used = 0;
    std::mt19937 random{7};

    Span take(size_t floats) {
        const Span span{&buffer, used};
        std::normal_distribution<float> normal;
        for (size_t i = 0; i < floats; ++i) span.as<float>()[i] = normal(random);
        used += floats * sizeof(float);
        return span;
    }
    Matrix matrix(uint32_t rows, uint32_t cols) {
        return {.weight = take(size_t{rows} * cols), .scales = {}, .biases = {}, .rows = rows, .cols = cols, .bits = 0,
                .group = 0, .type = ElementType::f32};
    }
};

double product(const Matrix& matrix, uint32_t row, const float* x) {
    double sum = 0;
    for (uint32_t c = 0; c < matrix.cols; ++c) sum += double{matrix.weight.as<float>()[row * matrix.cols + c]} * x[c];
    return sum;
}

} // namespace

TEST("what experts see is added up by channel and by expert, weighted by the square of their share") {
    Sample sample;
    const Span x = sample.take(5 * kHidden);
    const Matrix gate = sample.matrix(kIntermediate, kHidden), up = sample.matrix(kIntermediate, kHidden);
    // Expert 2 gets tokens 4 and 1 in two works, expert 0 token 3.
    const uint32_t tokens[] = {4, 1, 3};
    const float weights[] = {0.5f, 0.25f, 2.0f};
    const uint32_t expert_of[] = {2, 2, 0};
    ExpertObserver observer(sample.backend, 4);
    for (uint32_t entry = 0; entry < 3; ++entry) {
        observer.see(1, kExperts, expert_of[entry], {gate, up, {}, entry, 1}, tokens, weights, x, 0);
    }

    std::vector<double> input(kHidden), inner(kExperts * kIntermediate);
    for (uint32_t entry = 0; entry < 3; ++entry) {
        const float* row = x.as<float>() + tokens[entry] * kHidden;
        const double square = double{weights[entry]} * weights[entry];
        for (uint32_t c = 0; c < kHidden; ++c) input[c] += square * row[c] * row[c];
        for (uint32_t c = 0; c < kIntermediate; ++c) {
            const double g = product(gate, c, row), value = g / (1 + std::exp(-g)) * product(up, c, row);
            inner[expert_of[entry] * kIntermediate + c] += square * value * value;
        }
    }
    const ChannelSquares& seen = observer.layer(1);
    EXPECT_EQ(seen.experts, kExperts);
    EXPECT(seen.tokens == (std::vector<uint64_t>{1, 0, 2}));
    for (size_t c = 0; c < input.size(); ++c) EXPECT(std::fabs(seen.input[c] - input[c]) <= 1e-6 * input[c]);
    for (size_t c = 0; c < inner.size(); ++c) EXPECT(std::fabs(seen.inner[c] - inner[c]) <= 1e-4 * inner[c] + 1e-9);
    EXPECT_EQ(observer.layer(0).experts, 0u);
}
