// Attention over the cache: rotary embedding, appending, and softmax in blocks of keys.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace flashmoe::cpu {
namespace {

// Keys are summed block by block and the blocks merged in order, whoever computes them: so a token's result is the
// same in prefill and decode, on one thread and on many.
constexpr uint32_t kBlock = 512;

/// A partial softmax: maximum, sum of exponentials, weighted values.
struct Partial {
    float* at;
    float& max() const { return at[0]; }
    float& sum() const { return at[1]; }
    float* values() const { return at + 2; }
};

void merge(Partial into, Partial from, uint32_t value_dim) {
    const float max = std::max(into.max(), from.max());
    const float a = std::exp(into.max() - max), b = std::exp(from.max() - max);
    into.max() = max;
    into.sum() = into.sum() * a + from.sum() * b;
    for (uint32_t i = 0; i < value_dim; ++i) into.values()[i] = into.values()[i] * a + from.values()[i] * b;
}

/// One more term of the softmax, without a value.
void add_sink(Partial partial, float sink, uint32_t value_dim) {
    const float max = std::max(partial.max(), sink);
    const float factor = std::exp(partial.max() - max);
    partial.max() = max;
    partial.sum() = partial.sum() * factor + std::exp(sink - max);
    for (uint32_t i = 0; i < value_dim; ++i) partial.values()[i] *= factor;
}

/// Eight sums, so that the compiler may take vectors.
float dot_exact(const float* a, const float* b, uint32_t n) {
    float sums[8] = {};
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (uint32_t j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
    }
    for (; i < n; ++i) sums[0] += a[i] * b[i];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

void finish(Partial partial, float* out, uint32_t value_dim) {
    const float factor = 1.0f / partial.sum();
    for (uint32_t i = 0; i < value_dim; ++i) out[i] = partial.values()[i] * factor;
}

} // namespace

void rotate(float* head, const RopeTable& rope, uint32_t token) {
    const uint32_t half = rope.dims / 2;
    const float* table = rope.cos_sin.as<float>() + size_t{token} * rope.dims;
    for (uint32_t i = 0; i < half; ++i) {
        float& a = head[rope.interleaved ? 2 * i : i];
        float& b = head[rope.interleaved ? 2 * i + 1 : i + half];
        const float x = a, y = b;
        a = x * table[2 * i] - y * table[2 * i + 1];
        b = y * table[2 * i] + x * table[2 * i + 1];
    }
}

float CpuBackend::key_dot(const KvCache& cache, size_t row, const float* q, uint32_t dim) const {
    if (cache.exact) return dot_exact(q, cache.codes.as<const float>() + row * dim, dim);
    return cache.scales.as<const float>()[row] * kernels_.dot_kv(q, cache.codes.as<const KvCode>() + row * dim, dim);
}

void CpuBackend::store(const KvCache& cache, size_t code, size_t scale, const float* values, uint32_t count) const {
    if (cache.exact) {
        std::memcpy(cache.codes.as<float>() + code, values, count * sizeof(float));
        return;
    }
    cache.scales.as<float>()[scale] = kernels_.store_kv(cache.codes.as<KvCode>() + code, values, count);
}

void CpuBackend::gqa_append(const GqaAppend& op) {
    pool_.split(op.tokens, 1, [&](uint32_t first, uint32_t last, uint32_t) {
        for (uint32_t t = first; t < last; ++t) {
            for (uint32_t h = 0; h < op.heads; ++h) {
                float* q = op.q.as<float>() + (size_t{t} * op.heads + h) * op.q_stride;
                if (op.q_norm) kernels_.rms_norm(q, op.q_norm.as<float>(), q, op.head_dim, op.eps);
                rotate(q, op.rope, t);
            }
            for (uint32_t h = 0; h < op.kv_heads; ++h) {
                const size_t from = (size_t{t} * op.kv_heads + h) * op.head_dim;
                float* k = op.k.as<float>() + from;
                if (op.k_norm) kernels_.rms_norm(k, op.k_norm.as<float>(), k, op.head_dim, op.eps);
                rotate(k, op.rope, t);
                const size_t to = (size_t{op.position} + t) * op.kv_heads + h;
                store(op.k_cache, to * op.head_dim, to, k, op.head_dim);
                store(op.v_cache, to * op.head_dim, to, op.v.as<float>() + from, op.head_dim);
            }
        }
    });
}

void CpuBackend::gqa_attend(const GqaAttend& op) {
    float* out = op.out.as<float>();
    attend({.q = op.q.as<float>(),
            .q_stride = op.q_stride,
            .k = op.k_cache,
            .v = op.v_cache,
            .row_codes = size_t{op.kv_heads} * op.head_dim,
            .row_scales = op.kv_heads,
            .head_stride = op.head_dim,
            .out = out,
            .heads = op.heads,
            .kv_heads = op.kv_heads,
            .key_dim = op.head_dim,
            .second_key_dim = 0,
            .value_dim = op.head_dim,
            .scale = op.scale,
            .position = op.position,
            .tokens = op.tokens,
            .sinks = op.sinks ? op.sinks.as<const float>() : nullptr,
            .window = op.window,
            .selection = op.selection});
    if (!op.gated) return;
    pool_.split(op.tokens * op.heads, 16, [&](uint32_t first, uint32_t last, uint32_t) {
        for (size_t i = first; i < last; ++i) {
            const float* gate = op.q.as<float>() + i * op.q_stride + op.head_dim;
            kernels_.multiply_sigmoid(out + i * op.head_dim, gate, op.head_dim);
        }
    });
}

CpuBackend::Keys CpuBackend::keys_of(const Attention& op, uint32_t token) {
    const uint32_t seen = op.position + token + 1;
    if (op.selection) {
        const uint32_t count = op.selection.counts.as<const uint32_t>()[token];
        if (count != 0) return {op.selection.positions.as<const uint32_t>() + size_t{token} * op.selection.most, 0, count};
    }
    return {nullptr, op.window != 0 && seen > op.window ? seen - op.window : 0, seen};
}

void CpuBackend::attend_block(const Attention& op, const Keys& keys, uint32_t token, uint32_t head, uint32_t block, float* at) const {
    const Partial partial{at};
    const uint32_t first = std::max(block * kBlock, keys.first);
    const uint32_t count = std::min((block + 1) * kBlock, keys.last) - first;
    const uint32_t kv_head = head / (op.heads / op.kv_heads);
    const float* q = op.q + (size_t{token} * op.heads + head) * op.q_stride;
    const size_t shift = kv_head * op.head_stride;
    const auto row = [&](uint32_t i) -> size_t { return keys.list != nullptr ? keys.list[first + i] : first + i; };
    float scores[kBlock];
    float max = -INFINITY;
    for (uint32_t i = 0; i < count; ++i) {
        const size_t key_row = row(i), at_key = key_row * op.row_codes + shift;
        float score;
        if (op.k.exact) {
            score = dot_exact(q, op.k.codes.as<const float>() + at_key, op.key_dim + op.second_key_dim);
        } else {
            const KvCode* key = op.k.codes.as<const KvCode>() + at_key;
            const float* scales = op.k.scales.as<const float>() + key_row * op.row_scales + kv_head;
            score = scales[0] * kernels_.dot_kv(q, key, op.key_dim);
            if (op.second_key_dim != 0) {
                score += scales[1] * kernels_.dot_kv(q + op.key_dim, key + op.key_dim, op.second_key_dim);
            }
        }
        scores[i] = op.scale * score;
        max = std::max(max, scores[i]);
    }
    std::memset(partial.values(), 0, op.value_dim * sizeof(float));
    partial.max() = max;
    partial.sum() = kernels_.softmax_terms(scores, max, count);
    for (uint32_t i = 0; i < count; ++i) {
        const size_t value_row = row(i), at_value = value_row * op.row_codes + shift;
        if (op.v.exact) {
            const float* value = op.v.codes.as<const float>() + at_value;
            for (uint32_t c = 0; c < op.value_dim; ++c) partial.values()[c] += scores[i] * value[c];
            continue;
        }
        const float scale = op.v.scales.as<const float>()[value_row * op.row_scales + kv_head];
        kernels_.add_kv(partial.values(), scores[i] * scale, op.v.codes.as<const KvCode>() + at_value, op.value_dim);
    }
}

void CpuBackend::attend(const Attention& op) {
    const size_t partial_floats = op.value_dim + 2;
    const auto complete = [&](Partial all, uint32_t item) {
        if (op.sinks != nullptr) add_sink(all, op.sinks[item % op.heads], op.value_dim);
        finish(all, op.out + size_t{item} * op.value_dim, op.value_dim);
    };
    if (op.tokens > 1 || op.position < kBlock) {
        // One item a query: two partials a worker, merged as blocks come.
        float* area = room(worker_room_, pool_.size() * 2 * partial_floats);
        pool_.split(op.tokens * op.heads, 1, [&](uint32_t from, uint32_t to, uint32_t worker) {
            const Partial all{area + worker * 2 * partial_floats}, one{all.at + partial_floats};
            for (uint32_t i = from; i < to; ++i) {
                const uint32_t token = i / op.heads, head = i % op.heads;
                const Keys keys = keys_of(op, token);
                const uint32_t start = keys.first / kBlock, blocks = (keys.last - 1) / kBlock + 1;
                attend_block(op, keys, token, head, start, all.at);
                for (uint32_t block = start + 1; block < blocks; ++block) {
                    attend_block(op, keys, token, head, block, one.at);
                    merge(all, one, op.value_dim);
                }
                complete(all, i);
            }
        });
        return;
    }
    // One token over many keys: items are (block, head), so that long contexts use every thread; the heads of a
    // block stand together because they share its keys.
    const Keys keys = keys_of(op, 0);
    const uint32_t start = keys.first / kBlock, blocks = (keys.last - 1) / kBlock + 1 - start;
    float* partials = room(partials_, size_t{op.heads} * blocks * partial_floats);
    const auto at = [&](uint32_t head, uint32_t block) {
        return partials + (size_t{head} * blocks + block) * partial_floats;
    };
    pool_.split(blocks * op.heads, std::min(op.heads / op.kv_heads, 8u), [&](uint32_t from, uint32_t to, uint32_t) {
        for (uint32_t i = from; i < to; ++i) {
            attend_block(op, keys, 0, i % op.heads, start + i / op.heads, at(i % op.heads, i / op.heads));
        }
    });
    pool_.split(op.heads, 4, [&](uint32_t from, uint32_t to, uint32_t) {
        for (uint32_t head = from; head < to; ++head) {
            for (uint32_t block = 1; block < blocks; ++block) merge({at(head, 0)}, {at(head, block)}, op.value_dim);
            complete({at(head, 0)}, head);
        }
    });
}

void CpuBackend::mla_append(const MlaAppend& op) {
    const uint32_t width = op.latent_dim + op.rope_dim;
    const uint32_t q_dim = op.nope_dim + op.rope_dim;
    pool_.split(op.tokens, 1, [&](uint32_t first, uint32_t last, uint32_t) {
        for (uint32_t t = first; t < last; ++t) {
            for (uint32_t h = 0; h < op.heads; ++h) {
                rotate(op.q.as<float>() + (size_t{t} * op.heads + h) * q_dim + op.nope_dim, op.rope, t);
            }
            float* c = op.c.as<float>() + size_t{t} * width;
            kernels_.rms_norm(c, op.norm.as<float>(), c, op.latent_dim, op.eps);
            rotate(c + op.latent_dim, op.rope, t);
            const size_t row = size_t{op.position} + t;
            store(op.cache, row * width, row * 2, c, op.latent_dim);
            store(op.cache, row * width + op.latent_dim, row * 2 + 1, c + op.latent_dim, op.rope_dim);
        }
    });
}

void CpuBackend::mla_attend(const MlaAttend& op) {
    const uint32_t width = op.latent_dim + op.rope_dim;
    const uint32_t pairs = op.tokens * op.heads;
    // [pairs, width] queries in latent space, then [pairs, latent] results, then a prepared x a worker.
    const size_t prepared = std::max(op.kv_b.rows != 0 ? kernels_.prepared_floats(op.kv_b) : 0,
                                     op.embed_q.rows != 0 ? std::max(kernels_.prepared_floats(op.embed_q),
                                                                     kernels_.prepared_floats(op.unembed_out))
                                                          : 0);
    float* queries = room(queries_, size_t{pairs} * (width + op.latent_dim) + pool_.size() * prepared);
    float* latents = queries + size_t{pairs} * width;
    float* worker_x = latents + size_t{pairs} * op.latent_dim;

    pool_.split(pairs, 1, [&](uint32_t from, uint32_t to, uint32_t worker) {
        float* x = worker_x + worker * prepared;
        for (uint32_t i = from; i < to; ++i) {
            const uint32_t head = i % op.heads;
            const float* q = op.q.as<float>() + size_t{i} * (op.nope_dim + op.rope_dim);
            float* query = queries + size_t{i} * width;
            if (op.kv_b.rows != 0) {
                std::memset(query, 0, op.latent_dim * sizeof(float));
                kernels_.add_transposed(op.kv_b, head * (op.nope_dim + op.value_dim), op.nope_dim, q, query);
            } else {
                kernels_.prepare(op.embed_q, q, x);
                kernels_.rows(op.embed_q, head * op.latent_dim, (head + 1) * op.latent_dim, x, prepared, 1, query, 0);
            }
            std::memcpy(query + op.latent_dim, q + op.nope_dim, op.rope_dim * sizeof(float));
        }
    });
    attend({.q = queries,
            .q_stride = width,
            .k = op.cache,
            .v = op.cache,
            .row_codes = width,
            .row_scales = 2,
            .head_stride = 0,
            .out = latents,
            .heads = op.heads,
            .kv_heads = 1,
            .key_dim = op.latent_dim,
            .second_key_dim = op.rope_dim,
            .value_dim = op.latent_dim,
            .scale = op.scale,
            .position = op.position,
            .tokens = op.tokens,
            .sinks = nullptr,
            .window = 0,
            .selection = op.selection});
    const Matrix& out = op.kv_b.rows != 0 ? op.kv_b : op.unembed_out;
    pool_.split(pairs, 1, [&](uint32_t from, uint32_t to, uint32_t worker) {
        float* x = worker_x + worker * prepared;
        for (uint32_t i = from; i < to; ++i) {
            const uint32_t head = i % op.heads;
            const uint32_t first = op.kv_b.rows != 0 ? head * (op.nope_dim + op.value_dim) + op.nope_dim : head * op.value_dim;
            kernels_.prepare(out, latents + size_t{i} * op.latent_dim, x);
            kernels_.rows(out, first, first + op.value_dim, x, prepared, 1, op.out.as<float>() + size_t{i} * op.value_dim, 0);
        }
    });
}

} // namespace flashmoe::cpu
