// The delta net over a batch: convolution, recurrence, gated norm, and the state it leaves.
#include <cmath>

#include "backend/checks/checker.h"

namespace flashmoe::checks {
namespace {

struct Shape {
    uint32_t key_heads, value_heads, key_dim, value_dim, conv_kernel, tokens;
};

constexpr Shape kShapes[] = {{2, 4, 32, 32, 4, 3}, {1, 3, 64, 48, 4, 1}, {2, 2, 128, 128, 4, 2},
                             {1, 2, 96, 40, 3, 9}, {1, 1, 256, 17, 2, 1}, {4, 4, 16, 16, 8, 5},
                             {1, 1, 32, 4, 5, 2},   {1, 1, 32, 4, 6, 7},    {1, 2, 16, 4, 7, 3}};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<double> copy(Span span, size_t count) { return {span.as<float>(), span.as<float>() + count}; }

void check_shape(Checker& checker, const Shape& s, bool tiled) {
    const size_t keys = size_t{s.key_heads} * s.key_dim, values = size_t{s.value_heads} * s.value_dim;
    const size_t channels = 2 * keys + values, before = s.conv_kernel - 1;
    const DeltaNet op{.qkv = checker.floats(s.tokens * channels),
                      .z = checker.floats(s.tokens * values),
                      .a = checker.floats(size_t{s.tokens} * s.value_heads),
                      .b = checker.floats(size_t{s.tokens} * s.value_heads),
                      .conv = checker.floats(s.conv_kernel * channels),
                      .a_log = checker.floats(s.value_heads),
                      .dt_bias = checker.floats(s.value_heads),
                      .norm = checker.floats(s.value_dim),
                      .history = checker.floats(before * channels),
                      .state = checker.floats(values * s.key_dim),
                      .out = checker.poisoned(s.tokens * values * sizeof(float)),
                      .key_heads = s.key_heads,
                      .value_heads = s.value_heads,
                      .key_dim = s.key_dim,
                      .value_dim = s.value_dim,
                      .conv_kernel = s.conv_kernel,
                      .qk_norm_eps = 1e-6f,
                      .norm_eps = 1e-6f,
                      .tokens = s.tokens,
                      .tiled_heads = tiled};
    // Inputs of the convolution, oldest first: history, then the batch.
    std::vector<double> line = copy(op.history, before * channels);
    const std::vector<double> batch = copy(op.qkv, s.tokens * channels);
    line.insert(line.end(), batch.begin(), batch.end());
    std::vector<double> state = copy(op.state, values * s.key_dim);
    checker.backend().delta_net(op);
    checker.backend().wait();

    const auto unit = [&](double* head, double factor) {
        double sum = 0;
        for (uint32_t i = 0; i < s.key_dim; ++i) sum += head[i] * head[i];
        for (uint32_t i = 0; i < s.key_dim; ++i) head[i] *= factor / std::sqrt(sum + 1e-6);
    };
    for (uint32_t t = 0; t < s.tokens; ++t) {
        std::vector<double> x(channels);
        for (size_t c = 0; c < channels; ++c) {
            double sum = 0;
            for (uint32_t i = 0; i < s.conv_kernel; ++i) sum += op.conv.as<float>()[i * channels + c] * line[(t + i) * channels + c];
            x[c] = sum * sigmoid(sum);
        }
        for (uint32_t h = 0; h < s.key_heads; ++h) {
            unit(&x[h * s.key_dim], 1 / std::sqrt(static_cast<double>(s.key_dim)));
            unit(&x[keys + h * s.key_dim], 1);
        }
        for (uint32_t h = 0; h < s.value_heads; ++h) {
            const size_t scalar = size_t{t} * s.value_heads + h;
            const uint32_t key_head = tiled ? h % s.key_heads : h / (s.value_heads / s.key_heads);
            const double* q = &x[key_head * s.key_dim];
            const double* k = q + keys;
            const double rate = std::exp(double{op.a_log.as<float>()[h]});
            const double decay = std::exp(-rate * std::log1p(std::exp(double{op.a.as<float>()[scalar]} + op.dt_bias.as<float>()[h])));
            const double beta = sigmoid(op.b.as<float>()[scalar]);
            std::vector<double> read(s.value_dim);
            double squares = 0;
            for (uint32_t r = 0; r < s.value_dim; ++r) {
                double* row = &state[(size_t{h} * s.value_dim + r) * s.key_dim];
                double recall = 0;
                for (uint32_t i = 0; i < s.key_dim; ++i) recall += (row[i] *= decay) * k[i];
                const double delta = beta * (x[2 * keys + h * s.value_dim + r] - recall);
                for (uint32_t i = 0; i < s.key_dim; ++i) read[r] += (row[i] += delta * k[i]) * q[i];
                squares += read[r] * read[r];
            }
            const double factor = 1 / std::sqrt(squares / s.value_dim + 1e-6);
            for (uint32_t r = 0; r < s.value_dim; ++r) {
                const double z = op.z.as<float>()[scalar * s.value_dim + r];
                const double wanted = read[r] * factor * op.norm.as<float>()[r] * z * sigmoid(z);
                checker.record("delta_net: out", 1e-5, std::fabs(op.out.as<float>()[scalar * s.value_dim + r] - wanted));
            }
        }
    }
    for (size_t i = 0; i < state.size(); ++i) checker.record("delta_net: state", 3e-6, std::fabs(op.state.as<float>()[i] - state[i]));
    for (size_t i = 0; i < before * channels; ++i) {
        const double wanted = line[s.tokens * channels + i];
        checker.record("delta_net: history", 0, op.history.as<float>()[i] == static_cast<float>(wanted) ? 0 : 1);
    }
    checker.clear();
}

} // namespace

void check_delta_net(Checker& checker) {
    for (const Shape& shape : kShapes) check_shape(checker, shape, false);
    if ((checker.backend().features() & bit(kTiledHeads)) != 0) {
        for (const Shape& shape : kShapes) check_shape(checker, shape, true);
    }
}

} // namespace flashmoe::checks
