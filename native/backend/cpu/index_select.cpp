// The lightning indexer: scores of every key that a token may see, and the best of them.
#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"

namespace flashmoe::cpu {
namespace {

void layer_norm(float* x, const float* weight, const float* bias, uint32_t n, float eps) {
    float mean = 0, squares = 0;
    for (uint32_t i = 0; i < n; ++i) mean += x[i];
    mean /= static_cast<float>(n);
    for (uint32_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const float factor = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
    for (uint32_t i = 0; i < n; ++i) x[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}

constexpr uint32_t kKeysTogether = 256;

} // namespace

void choose_largest(const float* scores, uint32_t count, uint32_t top, uint32_t* order) {
    for (uint32_t i = 0; i < count; ++i) order[i] = i;
    std::nth_element(order, order + top - 1, order + count, [&](uint32_t a, uint32_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    std::sort(order, order + top);
}

void CpuBackend::index_select(const IndexSelect& op) {
    pool_.split(op.tokens, 1, [&](uint32_t first, uint32_t last, uint32_t) {
        for (uint32_t t = first; t < last; ++t) {
            for (uint32_t h = 0; h < op.heads; ++h) rotate(op.q.as<float>() + (size_t{t} * op.heads + h) * op.dim, op.rope, t);
            float* k = op.k.as<float>() + size_t{t} * op.dim;
            layer_norm(k, op.norm.as<const float>(), op.norm_bias.as<const float>(), op.dim, op.eps);
            rotate(k, op.rope, t);
            const size_t row = size_t{op.position} + t;
            store(op.cache, row * op.dim, row, k, op.dim);
        }
    });
    const size_t keys = size_t{op.position} + op.tokens;
    uint32_t* counts = op.selection.counts.as<uint32_t>();
    if (keys <= op.top) {
        std::fill_n(counts, op.tokens, 0u);
        return;
    }

    // [tokens, keys] scores, then an order of all keys a worker.
    float* scores = room(queries_, op.tokens * keys + pool_.size() * keys);
    const auto chunks = static_cast<uint32_t>((keys + kKeysTogether - 1) / kKeysTogether);
    pool_.split(op.tokens * chunks, 1, [&](uint32_t from, uint32_t to, uint32_t) {
        for (uint32_t i = from; i < to; ++i) {
            const uint32_t t = i / chunks, first = i % chunks * kKeysTogether;
            const uint32_t last = std::min(first + kKeysTogether, op.position + t + 1);
            const float* q = op.q.as<const float>() + size_t{t} * op.heads * op.dim;
            const float* weights = op.weights.as<const float>() + size_t{t} * op.heads;
            for (uint32_t j = first; j < last; ++j) {
                float score = 0;
                for (uint32_t h = 0; h < op.heads; ++h) {
                    score += weights[h] * std::max(0.0f, key_dot(op.cache, j, q + size_t{h} * op.dim, op.dim));
                }
                // What is no number is worst, so that the order stays one.
                scores[t * keys + j] = std::isnan(score) ? -INFINITY : score;
            }
        }
    });
    auto* orders = reinterpret_cast<uint32_t*>(scores + op.tokens * keys);
    pool_.split(op.tokens, 1, [&](uint32_t from, uint32_t to, uint32_t worker) {
        for (uint32_t t = from; t < to; ++t) {
            const uint32_t seen = op.position + t + 1;
            counts[t] = seen > op.top ? op.top : 0;
            if (counts[t] == 0) continue;
            uint32_t* order = orders + worker * keys;
            choose_largest(scores + t * keys, seen, op.top, order);
            std::copy_n(order, op.top, op.selection.positions.as<uint32_t>() + size_t{t} * op.selection.most);
        }
    });
}

} // namespace flashmoe::cpu
