// Gated delta net: convolution, recurrence and gated norm of a batch, token after token.
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace flashmoe::cpu {
namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

/// y = x / |x| * factor, with eps under the root.
void normalise(const float* x, float* y, uint32_t n, float eps, float factor) {
    float sum = 0;
    for (uint32_t i = 0; i < n; ++i) sum += x[i] * x[i];
    const float scale = factor / std::sqrt(sum + eps);
    for (uint32_t i = 0; i < n; ++i) y[i] = x[i] * scale;
}

} // namespace

void CpuBackend::delta_net(const DeltaNet& op) {
    const uint32_t keys = op.key_heads * op.key_dim, values = op.value_heads * op.value_dim;
    const uint32_t channels = 2 * keys + values;
    const Convolution convolution{.values = op.qkv.as<float>(),
                                  .weights = op.conv.as<float>(),
                                  .history = op.history.as<float>(),
                                  .channels = channels,
                                  .tokens = op.tokens,
                                  .kernel = op.conv_kernel};
    pool_.split(channels, 256, [&](uint32_t first, uint32_t last, uint32_t) {
        kernels_.convolve(convolution, first, last);
    });

    float* area = room(worker_room_, pool_.size() * 2 * size_t{op.key_dim});
    const uint32_t repeat = op.value_heads / op.key_heads;
    const float q_factor = 1.0f / std::sqrt(static_cast<float>(op.key_dim));
    pool_.run(op.value_heads, [&](uint32_t head, uint32_t worker) {
        float* q = area + worker * 2 * size_t{op.key_dim};
        float* k = q + op.key_dim;
        float* state = op.state.as<float>() + size_t{head} * op.value_dim * op.key_dim;
        const float rate = -std::exp(op.a_log.as<float>()[head]);
        for (size_t t = 0; t < op.tokens; ++t) {
            const float* row = op.qkv.as<float>() + t * channels;
            const size_t key_head = (op.tiled_heads ? head % op.key_heads : head / repeat) * size_t{op.key_dim};
            normalise(row + key_head, q, op.key_dim, op.qk_norm_eps, q_factor);
            normalise(row + keys + key_head, k, op.key_dim, op.qk_norm_eps, 1.0f);
            const size_t scalar = t * op.value_heads + head;
            const float decay = std::exp(rate * softplus(op.a.as<float>()[scalar] + op.dt_bias.as<float>()[head]));
            const float beta = sigmoid(op.b.as<float>()[scalar]);
            float* out = op.out.as<float>() + scalar * op.value_dim;
            const float* v = row + 2 * keys + size_t{head} * op.value_dim;
            kernels_.delta_rows(state, op.value_dim, op.key_dim, k, q, v, decay, beta, out);
            kernels_.rms_norm(out, op.norm.as<float>(), out, op.value_dim, op.norm_eps);
            const float* z = op.z.as<float>() + scalar * op.value_dim;
            if (op.sigmoid_gate) kernels_.multiply_sigmoid(out, z, op.value_dim);
            else kernels_.swiglu(z, out, out, op.value_dim);
        }
    });
}

} // namespace flashmoe::cpu
