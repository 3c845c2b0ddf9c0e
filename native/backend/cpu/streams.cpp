// Several residual streams: what blocks take of them and give back, and rows that are added to them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace flashmoe::cpu {
namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

/// Of a gate before its root is taken: below that the root would be as good as infinitely steep.
constexpr float kLeastGate = 1e-6f;

} // namespace

void CpuBackend::group_norm(Span x, Span weight, Span y, uint32_t groups, uint32_t width, float eps, uint32_t tokens) {
    pool_.split(tokens * groups, 4, [&](uint32_t first, uint32_t last, uint32_t) {
        for (size_t i = first; i < last; ++i) {
            const float* weights = weight.as<float>() + i % groups * width;
            kernels_.rms_norm(x.as<float>() + i * width, weights, y.as<float>() + i * width, width, eps);
        }
    });
}

void CpuBackend::silu(Span x, Span y, float factor, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const float value = factor * x.as<const float>()[i];
        y.as<float>()[i] = value * sigmoid(value);
    }
}

void CpuBackend::repeat_streams(Span x, Span y, uint32_t streams, uint32_t width, uint32_t tokens) {
    for (size_t i = 0; i < size_t{tokens} * streams; ++i) {
        std::memcpy(y.as<float>() + i * width, x.as<const float>() + i / streams * width, width * sizeof(float));
    }
}

void CpuBackend::mix_streams(const StreamMix& op) {
    pool_.split(op.tokens, 1, [&](uint32_t first, uint32_t last, uint32_t) {
        for (size_t t = first; t < last; ++t) {
            float* out = op.out.as<float>() + t * op.width;
            std::fill_n(out, op.width, 0.0f);
            for (uint32_t s = 0; s < op.streams; ++s) {
                const size_t at = (t * op.streams + s) * op.width;
                const float *gate = op.gate.as<const float>() + at, *normed = op.normed.as<const float>() + at;
                for (uint32_t i = 0; i < op.width; ++i) out[i] += sigmoid(gate[i]) * normed[i];
            }
            for (uint32_t i = 0; i < op.width; ++i) out[i] /= static_cast<float>(op.streams);
        }
    });
}

void CpuBackend::add_streams(Span y, Span x, Span logits, uint32_t streams, uint32_t width, uint32_t tokens) {
    pool_.split(tokens * streams, 4, [&](uint32_t first, uint32_t last, uint32_t) {
        for (size_t i = first; i < last; ++i) {
            const float factor = 2.0f * sigmoid(logits.as<const float>()[i] / static_cast<float>(streams));
            float* target = y.as<float>() + i * width;
            const float* source = x.as<const float>() + i / streams * width;
            for (uint32_t c = 0; c < width; ++c) target[c] += factor * source[c];
        }
    });
}

void CpuBackend::gate_streams(const StreamGate& op) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(op.width));
    pool_.split(op.tokens * op.streams, 1, [&](uint32_t first, uint32_t last, uint32_t) {
        for (size_t i = first; i < last; ++i) {
            const float *key = op.key.as<const float>() + i * op.width, *query = op.query.as<const float>() + i * op.width;
            float sum = 0;
            for (uint32_t c = 0; c < op.width; ++c) sum += key[c] * query[c];
            sum *= scale;
            const float root = std::sqrt(std::max(std::fabs(sum), kLeastGate));
            const float factor = sigmoid(sum > 0 ? root : sum < 0 ? -root : 0.0f);
            const float* value = op.value.as<const float>() + i / op.streams * op.width;
            float* out = op.out.as<float>() + i * op.width;
            for (uint32_t c = 0; c < op.width; ++c) out[c] = factor * value[c];
        }
    });
}

void CpuBackend::dilated_convolution(const DilatedConvolution& op) {
    const size_t channels = op.channels, kept = size_t{op.kernel - 1} * op.dilation;
    pool_.split(op.channels, 64, [&](uint32_t first, uint32_t last, uint32_t) {
        const float *normed = op.normed.as<const float>(), *weights = op.weights.as<const float>();
        float* history = op.history.as<float>();
        for (size_t t = 0; t < op.tokens; ++t) {
            for (size_t c = first; c < last; ++c) {
                float sum = 0;
                for (size_t k = 0; k < op.kernel; ++k) {
                    const size_t back = (op.kernel - 1 - k) * op.dilation;
                    const float x = back <= t ? normed[(t - back) * channels + c] : history[(kept + t - back) * channels + c];
                    sum += weights[k * channels + c] * x;
                }
                op.y.as<float>()[t * channels + c] += op.x.as<const float>()[t * channels + c] + sum * sigmoid(sum);
            }
        }
        for (size_t row = 0; row < kept; ++row) {
            const size_t from = row + op.tokens;
            const float* source = from < kept ? history + from * channels : normed + (from - kept) * channels;
            std::memmove(history + row * channels + first, source + first, (last - first) * sizeof(float));
        }
    });
}

} // namespace flashmoe::cpu
