// Choosing experts and computing them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace flashmoe::cpu {
namespace {

/// Index of the largest of n values; the lowest index on a tie.
uint32_t argmax(const float* values, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; ++i) {
        if (values[i] > values[best]) best = i;
    }
    return best;
}

/// Excludes all but the top_groups groups whose two largest scores have the largest sum.
void limit_groups(const Router& op, float* scores) {
    const uint32_t size = op.experts / op.groups;
    float* group_scores = scores + op.experts;
    for (uint32_t g = 0; g < op.groups; ++g) {
        float first = -INFINITY, second = -INFINITY;
        for (uint32_t i = g * size; i < (g + 1) * size; ++i) {
            if (scores[i] > first) second = first, first = scores[i];
            else if (scores[i] > second) second = scores[i];
        }
        group_scores[g] = size > 1 ? first + second : first;
    }
    for (uint32_t kept = 0; kept < op.top_groups; ++kept) group_scores[argmax(group_scores, op.groups)] = -INFINITY;
    // The kept groups are now the ones marked by -inf.
    for (uint32_t g = 0; g < op.groups; ++g) {
        if (group_scores[g] != -INFINITY) std::fill_n(scores + g * size, size, -INFINITY);
    }
}

/// `scores` has room for experts + groups floats.
void route_token(const Router& op, const float* logits, uint32_t* ids, float* weights, float* probabilities,
                 float* scores) {
    if (op.sigmoid) {
        for (uint32_t e = 0; e < op.experts; ++e) probabilities[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    } else {
        const float max = logits[argmax(logits, op.experts)];
        float sum = 0;
        for (uint32_t e = 0; e < op.experts; ++e) sum += probabilities[e] = std::exp(logits[e] - max);
        for (uint32_t e = 0; e < op.experts; ++e) probabilities[e] /= sum;
    }
    for (uint32_t e = 0; e < op.experts; ++e) {
        scores[e] = probabilities[e] + (op.choice_bias ? op.choice_bias.as<float>()[e] : 0.0f);
    }
    if (op.groups > 1) limit_groups(op, scores);
    for (uint32_t k = 0; k < op.top_k; ++k) {
        ids[k] = argmax(scores, op.experts);
        scores[ids[k]] = -INFINITY;
    }
    std::sort(ids, ids + op.top_k);
    float sum = 0;
    for (uint32_t k = 0; k < op.top_k; ++k) sum += weights[k] = probabilities[ids[k]];
    // 1e-20 as in the sigmoid families' reference; it only matters where every weight vanished.
    const float factor = op.scale / (op.normalise ? sum + 1e-20f : 1.0f);
    for (uint32_t k = 0; k < op.top_k; ++k) weights[k] *= factor;
}

} // namespace

void CpuBackend::route(const Router& op) {
    const size_t floats = 2 * size_t{op.experts} + op.groups;
    float* area = room(worker_room_, pool_.size() * floats);
    pool_.split(op.tokens, 4, [&](uint32_t first, uint32_t last, uint32_t worker) {
        float* probabilities = area + worker * floats;
        for (size_t t = first; t < last; ++t) {
            route_token(op, op.logits.as<float>() + t * op.experts, op.ids.as<uint32_t>() + t * op.top_k,
                        op.weights.as<float>() + t * op.top_k, probabilities, probabilities + op.experts);
        }
    });
}

void CpuBackend::experts(const ExpertBatch& op) {
    const Matrix& shape = op.works[0].gate;
    const uint32_t hidden = shape.cols, intermediate = shape.rows;
    // All works of a batch are of one layer, so of one format.
    const size_t x_stride = std::max(kernels_.prepared_floats(shape), kernels_.prepared_floats(op.works[0].up));
    const size_t h_stride = kernels_.prepared_floats(op.works[0].down);
    const bool same = shape.codes == op.works[0].up.codes && shape.bits == op.works[0].up.bits && shape.group == op.works[0].up.group &&
                      shape.type == op.works[0].up.type && shape.block == op.works[0].up.block;
    uint32_t starts[kMaxExpertWorks + 1] = {0};
    for (uint32_t w = 0; w < op.count; ++w) starts[w + 1] = starts[w] + op.works[w].count;
    const uint32_t entries = starts[op.count];
    float* prepared = room(prepared_, entries * (2 * x_stride + h_stride));
    float* prepared_up = same ? prepared : prepared + entries * x_stride;
    float* prepared_down = prepared + 2 * entries * x_stride;
    float* inner = room(inner_, entries * 2 * size_t{intermediate});
    float* up_values = inner + size_t{entries} * intermediate;

    const auto for_each_entry = [&](uint32_t least, auto&& task) {
        pool_.split(entries, least, [&](uint32_t from, uint32_t to, uint32_t) {
            uint32_t w = 0;
            for (uint32_t i = from; i < to; ++i) {
                while (i >= starts[w + 1]) ++w;
                task(op.works[w], size_t{i}, op.works[w].first + (i - starts[w]));
            }
        });
    };
    // While decoding, all works are of one token: its x is prepared once.
    bool one_token = true;
    for (uint32_t w = 0; w < op.count; ++w) {
        one_token &= op.works[w].count == 1 && op.tokens[op.works[w].first] == op.tokens[op.works[0].first];
    }
    for_each_entry(8, [&](const ExpertWork& work, size_t i, uint32_t entry) {
        if (one_token && i > 0) return;
        const float* x = op.x.as<float>() + size_t{op.tokens[entry]} * hidden;
        kernels_.prepare(work.gate, x, prepared + i * x_stride);
        if (!same) kernels_.prepare(work.up, x, prepared_up + i * x_stride);
    });
    const auto blocks_of = [&](uint32_t rows) { return std::max(1u, std::min(rows / 16, 4 * pool_.size() / op.count + 1)); };
    const auto for_each_block = [&](uint32_t rows, auto&& task) {
        const uint32_t blocks = blocks_of(rows), step = (rows + blocks - 1) / blocks;
        pool_.run(op.count * blocks, [&](uint32_t index, uint32_t) {
            const uint32_t first = index % blocks * step;
            if (first < rows) task(index / blocks, first, std::min(rows, first + step));
        });
    };
    for_each_block(intermediate, [&](uint32_t w, uint32_t first, uint32_t last) {
        const ExpertWork& work = op.works[w];
        const size_t start = starts[w];
        float* gate = inner + start * intermediate + first;
        float* up = up_values + start * intermediate + first;
        const size_t x = one_token ? 0 : start * x_stride;
        kernels_.rows(work.gate, first, last, prepared + x, x_stride, work.count, gate, intermediate);
        kernels_.rows(work.up, first, last, prepared_up + x, x_stride, work.count, up, intermediate);
        add_bias(work.gate, first, last, work.count, gate, intermediate);
        add_bias(work.up, first, last, work.count, up, intermediate);
        for (size_t t = 0; t < work.count; ++t) {
            float* g = gate + t * intermediate;
            if (op.clamp != 0) clamped_unit(g, up + t * intermediate, g, last - first, op.clamp);
            else kernels_.swiglu(g, up + t * intermediate, g, last - first);
        }
    });
    for_each_entry(8, [&](const ExpertWork& work, size_t i, uint32_t) {
        kernels_.prepare(work.down, inner + i * intermediate, prepared_down + i * h_stride);
    });
    for_each_block(hidden, [&](uint32_t w, uint32_t first, uint32_t last) {
        const ExpertWork& work = op.works[w];
        float* out = op.results.as<float>() + (size_t{op.first_row} + starts[w]) * hidden + first;
        kernels_.rows(work.down, first, last, prepared_down + size_t{starts[w]} * h_stride, h_stride, work.count, out, hidden);
        add_bias(work.down, first, last, work.count, out, hidden);
        for (uint32_t i = 0; i < work.count; ++i) {
            const float weight = op.weights[work.first + i];
            for (uint32_t c = 0; c < last - first; ++c) out[size_t{i} * hidden + c] *= weight;
        }
    });
}

void CpuBackend::add_experts(const ExpertSum& op) {
    // Columns are split, entries are not.
    pool_.split(op.width, 256, [&](uint32_t first, uint32_t last, uint32_t) {
        for (uint32_t i = 0; i < op.count; ++i) {
            float* y = op.y.as<float>() + size_t{op.tokens[i]} * op.width;
            const float* result = op.results.as<float>() + size_t{op.rows[i]} * op.width;
            for (uint32_t c = first; c < last; ++c) y[c] += result[c];
        }
    });
}

} // namespace flashmoe::cpu
