// Gated delta net: convolution, recurrence and gated norm of a batch, token after token.
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace flashmoe::cpu {
namespace {

constexpr uint32_t kMaxConvKernel = 16;

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

/// One channel through the causal convolution and silu, in place; its history slides along.
void convolve_channel(const DeltaNet& op, uint32_t channel, uint32_t channels) {
    const uint32_t past = op.conv_kernel - 1;
    const float* w = op.conv.as<float>() + size_t{channel} * op.conv_kernel;
    float* history = op.history.as<float>() + channel;
    float window[kMaxConvKernel];
    for (uint32_t i = 0; i < past; ++i) window[i] = history[size_t{i} * channels];
    for (uint32_t t = 0; t < op.tokens; ++t) {
        float& value = op.qkv.as<float>()[size_t{t} * channels + channel];
        window[past] = value;
        float sum = 0;
        for (uint32_t i = 0; i < op.conv_kernel; ++i) sum += w[i] * window[i];
        value = sum * sigmoid(sum);
        for (uint32_t i = 0; i < past; ++i) window[i] = window[i + 1];
    }
    for (uint32_t i = 0; i < past; ++i) history[size_t{i} * channels] = window[i];
}

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
    pool_.split(channels, 256, [&](uint32_t first, uint32_t last, uint32_t) {
        for (uint32_t c = first; c < last; ++c) convolve_channel(op, c, channels);
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
            const size_t key_head = (head / repeat) * size_t{op.key_dim};
            normalise(row + key_head, q, op.key_dim, op.qk_norm_eps, q_factor);
            normalise(row + keys + key_head, k, op.key_dim, op.qk_norm_eps, 1.0f);
            const size_t scalar = t * op.value_heads + head;
            const float decay = std::exp(rate * softplus(op.a.as<float>()[scalar] + op.dt_bias.as<float>()[head]));
            const float beta = sigmoid(op.b.as<float>()[scalar]);
            float* out = op.out.as<float>() + scalar * op.value_dim;
            const float* v = row + 2 * keys + size_t{head} * op.value_dim;
            kernels_.delta_rows(state, op.value_dim, op.key_dim, k, q, v, decay, beta, out);
            kernels_.rms_norm(out, op.norm.as<float>(), out, op.value_dim, op.norm_eps);
            kernels_.swiglu(op.z.as<float>() + scalar * op.value_dim, out, out, op.value_dim);
        }
    });
}

} // namespace flashmoe::cpu
