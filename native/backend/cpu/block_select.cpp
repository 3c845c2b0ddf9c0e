// The block indexer: keys gathered into blocks, scores of the whole blocks that a token may see, and the best of them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace flashmoe::cpu {
namespace {

constexpr uint32_t kBlocksTogether = 256;

/// Rotates as a head at `position`, wherever that is.
void rotate_at(float* head, const BlockSelect& op, uint32_t position) {
    std::vector<float> table(op.rope.dims);
    for (uint32_t i = 0; i < op.rope.dims / 2; ++i) {
        // In double, as tables of a step are made.
        const double angle = static_cast<double>(position) * op.inv_freq[i];
        table[2 * i] = static_cast<float>(std::cos(angle) * op.magnitude);
        table[2 * i + 1] = static_cast<float>(std::sin(angle) * op.magnitude);
    }
    const Buffer buffer{reinterpret_cast<std::byte*>(table.data()), table.size() * sizeof(float), nullptr};
    rotate(head, {Span{&buffer, 0}, op.rope.dims, op.rope.interleaved}, 0);
}

} // namespace

void CpuBackend::block_select(const BlockSelect& op) {
    const size_t stride = size_t{op.heads + 1} * op.dim;
    float* plane = op.plane.as<float>();
    for (uint32_t t = 0; t < op.tokens; ++t) {
        const uint32_t position = op.position + t, within = position % op.ratio;
        const float* key = op.qk.as<const float>() + t * stride + size_t{op.heads} * op.dim;
        float* row = plane + size_t{position} * op.dim;
        const float* before = row - op.dim;
        for (uint32_t i = 0; i < op.dim; ++i) row[i] = within == 0 ? key[i] : before[i] + key[i];
        if (within + 1 != op.ratio) continue;
        for (uint32_t i = 0; i < op.dim; ++i) row[i] /= static_cast<float>(op.ratio);
        kernels_.rms_norm(row, op.k_norm.as<float>(), row, op.dim, op.eps);
        rotate_at(row, op, position - within);
    }

    uint32_t* counts = op.selection.counts.as<uint32_t>();
    const uint32_t kept = op.budget / op.ratio;
    const size_t blocks = (size_t{op.position} + op.tokens) / op.ratio;
    if (blocks <= kept) {
        std::fill_n(counts, op.tokens, 0u);
        return;
    }
    pool_.split(op.tokens * op.heads, 4, [&](uint32_t first, uint32_t last, uint32_t) {
        for (uint32_t i = first; i < last; ++i) {
            const uint32_t t = i / op.heads;
            float* q = op.qk.as<float>() + t * stride + size_t{i % op.heads} * op.dim;
            kernels_.rms_norm(q, op.q_norm.as<float>(), q, op.dim, op.eps);
            rotate(q, op.rope, t);
        }
    });

    // [tokens, blocks] scores, then an order of all blocks a worker.
    float* scores = room(queries_, op.tokens * blocks + pool_.size() * blocks);
    const auto chunks = static_cast<uint32_t>((blocks + kBlocksTogether - 1) / kBlocksTogether);
    const KvCache keys{op.plane, {}, true};
    pool_.split(op.tokens * chunks, 1, [&](uint32_t from, uint32_t to, uint32_t) {
        for (uint32_t i = from; i < to; ++i) {
            const uint32_t t = i / chunks, first = i % chunks * kBlocksTogether;
            const uint32_t last = std::min(first + kBlocksTogether, (op.position + t + 1) / op.ratio);
            const float* q = op.qk.as<const float>() + t * stride;
            for (uint32_t b = first; b < last; ++b) {
                float score = 0;
                const size_t row = size_t{b} * op.ratio + op.ratio - 1;
                for (uint32_t h = 0; h < op.heads; ++h) score += std::max(0.0f, key_dot(keys, row, q + size_t{h} * op.dim, op.dim));
                // What is no number is worst, so that the order stays one.
                scores[t * blocks + b] = std::isnan(score) ? -INFINITY : score;
            }
        }
    });
    auto* orders = reinterpret_cast<uint32_t*>(scores + op.tokens * blocks);
    pool_.split(op.tokens, 1, [&](uint32_t from, uint32_t to, uint32_t worker) {
        for (uint32_t t = from; t < to; ++t) {
            const uint32_t seen = op.position + t + 1, whole = seen / op.ratio;
            counts[t] = 0;
            if (whole <= kept) continue;
            uint32_t* order = orders + worker * blocks;
            choose_largest(scores + t * blocks, whole, kept, order);
            uint32_t* positions = op.selection.positions.as<uint32_t>() + size_t{t} * op.selection.most;
            for (uint32_t b = 0; b < kept; ++b) {
                for (uint32_t i = 0; i < op.ratio; ++i) positions[counts[t]++] = order[b] * op.ratio + i;
            }
            for (uint32_t p = whole * op.ratio; p < seen; ++p) positions[counts[t]++] = p;
        }
    });
}

} // namespace flashmoe::cpu
