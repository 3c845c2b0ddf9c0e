// Grouped-query and latent attention: what goes to the cache, and what comes out of it.
#include <algorithm>
#include <cmath>

#include "backend/checks/checker.h"

namespace flashmoe::checks {
namespace {

constexpr double kCodeMax = 32767;

/// cos and sin of random angles, f32 [tokens, dims / 2, 2].
RopeTable random_rope(Checker& checker, uint32_t tokens, uint32_t dims, bool interleaved) {
    std::vector<float> table;
    for (uint32_t i = 0; i < tokens * dims / 2; ++i) {
        const double angle = checker.uniform() * 3.14159;
        table.push_back(static_cast<float>(std::cos(angle)));
        table.push_back(static_cast<float>(std::sin(angle)));
    }
    return {checker.floats(table), dims, interleaved};
}

void rotate(double* head, const RopeTable& rope, uint32_t token) {
    const float* table = rope.cos_sin.as<float>() + size_t{token} * rope.dims;
    const uint32_t half = rope.dims / 2;
    for (uint32_t i = 0; i < half; ++i) {
        double& a = head[rope.interleaved ? 2 * i : i];
        double& b = head[rope.interleaved ? 2 * i + 1 : i + half];
        const double x = a, y = b, c = table[2 * i], s = table[2 * i + 1];
        a = x * c - y * s;
        b = y * c + x * s;
    }
}

std::vector<double> normed(const float* x, const float* weight, uint32_t n, double eps) {
    std::vector<double> out(x, x + n);
    if (weight == nullptr) return out;
    const double factor = 1 / std::sqrt(dot(x, x, n).sum / n + eps);
    for (uint32_t i = 0; i < n; ++i) out[i] *= factor * weight[i];
    return out;
}

/// Codes within half a step, and a little for the rounding of what was stored.
void compare_codes(Checker& checker, const std::string& name, const std::vector<double>& wanted, const int16_t* codes,
                   float scale) {
    double largest = 1e-30;
    for (const double value : wanted) largest = std::max(largest, std::fabs(value));
    for (size_t i = 0; i < wanted.size(); ++i) {
        checker.record(name, 0.52 / kCodeMax, std::fabs(double{scale} * codes[i] - wanted[i]) / largest);
    }
}

/// A cache of random codes: `rows` rows of `parts` vectors with a scale each.
KvCache random_cache(Checker& checker, uint32_t rows, uint32_t width, uint32_t parts, bool empty) {
    const KvCache cache{checker.poisoned(size_t{rows} * width * sizeof(int16_t)),
                        checker.poisoned(size_t{rows} * parts * sizeof(float))};
    if (empty) return cache;
    for (size_t i = 0; i < size_t{rows} * width; ++i) {
        cache.codes.as<int16_t>()[i] = static_cast<int16_t>(checker.uniform() * kCodeMax);
    }
    for (size_t i = 0; i < size_t{rows} * parts; ++i) {
        cache.scales.as<float>()[i] = static_cast<float>((1.5 + checker.uniform()) / kCodeMax);
    }
    return cache;
}

struct GqaShape {
    uint32_t heads, kv_heads, head_dim, rope_dims, position, tokens;
    bool interleaved, normed, gated;
};

/// Partial and full rotation, odd groups of heads, head sizes off the power of two, and keys around a split's end.
constexpr GqaShape kGqa[] = {
    {4, 2, 32, 32, 0, 3, false, true, true},     {8, 1, 64, 16, 255, 2, false, true, false},
    {6, 2, 96, 96, 40, 1, true, false, false},   {5, 1, 128, 64, 256, 1, false, true, true},
    {16, 2, 256, 64, 700, 1, false, true, true}, {3, 3, 80, 40, 7, 9, true, true, false},
    {2, 2, 32, 32, 6400, 1, false, false, false}, {20, 1, 64, 64, 90, 2, false, false, true},
    {12, 1, 128, 128, 33, 1, false, true, false}, {16, 1, 256, 256, 47, 1, false, true, true},
    {2, 1, 256, 128, 8, 1, false, true, true},
};

void check_gqa_append(Checker& checker, const GqaShape& s) {
    const uint32_t q_stride = s.head_dim * (s.gated ? 2 : 1), rows = s.position + s.tokens;
    const Span q = checker.floats(size_t{s.tokens} * s.heads * q_stride);
    const Span k = checker.floats(size_t{s.tokens} * s.kv_heads * s.head_dim);
    const Span v = checker.floats(size_t{s.tokens} * s.kv_heads * s.head_dim);
    const std::vector<float> q0(q.as<float>(), q.as<float>() + size_t{s.tokens} * s.heads * q_stride);
    const std::vector<float> k0(k.as<float>(), k.as<float>() + size_t{s.tokens} * s.kv_heads * s.head_dim);
    const Span q_norm = s.normed ? checker.floats(s.head_dim) : Span{}, k_norm = s.normed ? checker.floats(s.head_dim) : Span{};
    const RopeTable rope = random_rope(checker, s.tokens, s.rope_dims, s.interleaved);
    const KvCache keys = random_cache(checker, rows, s.kv_heads * s.head_dim, s.kv_heads, true);
    const KvCache values = random_cache(checker, rows, s.kv_heads * s.head_dim, s.kv_heads, true);
    checker.backend().gqa_append({.q = q, .q_stride = q_stride, .k = k, .v = v, .q_norm = q_norm, .k_norm = k_norm,
                                  .eps = 1e-6f, .rope = rope, .k_cache = keys, .v_cache = values, .heads = s.heads,
                                  .kv_heads = s.kv_heads, .head_dim = s.head_dim, .position = s.position, .tokens = s.tokens});
    checker.backend().wait();
    for (uint32_t t = 0; t < s.tokens; ++t) {
        for (uint32_t h = 0; h < s.heads; ++h) {
            const size_t at = (size_t{t} * s.heads + h) * q_stride;
            auto wanted = normed(&q0[at], s.normed ? q_norm.as<float>() : nullptr, s.head_dim, 1e-6);
            rotate(wanted.data(), rope, t);
            for (uint32_t i = 0; i < q_stride; ++i) {
                const double value = i < s.head_dim ? wanted[i] : q0[at + i];
                checker.record("gqa_append: queries", 2e-6, std::fabs(q.as<float>()[at + i] - value) / (1 + std::fabs(value)));
            }
        }
        for (uint32_t h = 0; h < s.kv_heads; ++h) {
            const size_t from = (size_t{t} * s.kv_heads + h) * s.head_dim;
            const size_t to = (size_t{s.position} + t) * s.kv_heads + h;
            auto wanted = normed(&k0[from], s.normed ? k_norm.as<float>() : nullptr, s.head_dim, 1e-6);
            rotate(wanted.data(), rope, t);
            compare_codes(checker, "gqa_append: keys", wanted, keys.codes.as<int16_t>() + to * s.head_dim, keys.scales.as<float>()[to]);
            const float* value = v.as<float>() + from;
            compare_codes(checker, "gqa_append: values", {value, value + s.head_dim}, values.codes.as<int16_t>() + to * s.head_dim,
                          values.scales.as<float>()[to]);
        }
    }
    checker.clear();
}

/// softmax(scores) times value(key)[i], for keys [0, scores.size()).
template <typename Value> double weighted(const std::vector<double>& scores, Value&& value) {
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = 0, sum = 0;
    for (size_t n = 0; n < scores.size(); ++n) {
        const double weight = std::exp(scores[n] - largest);
        total += weight;
        sum += weight * value(n);
    }
    return sum / total;
}

void check_gqa_attend(Checker& checker, const GqaShape& s) {
    const uint32_t q_stride = s.head_dim * (s.gated ? 2 : 1), rows = s.position + s.tokens;
    const Span q = checker.floats(size_t{s.tokens} * s.heads * q_stride);
    const Span out = checker.poisoned(size_t{s.tokens} * s.heads * s.head_dim * sizeof(float));
    const KvCache keys = random_cache(checker, rows, s.kv_heads * s.head_dim, s.kv_heads, false);
    const KvCache values = random_cache(checker, rows, s.kv_heads * s.head_dim, s.kv_heads, false);
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
    checker.backend().gqa_attend({.q = q, .q_stride = q_stride, .gated = s.gated, .k_cache = keys, .v_cache = values, .out = out,
                                  .heads = s.heads, .kv_heads = s.kv_heads, .head_dim = s.head_dim, .scale = scale,
                                  .position = s.position, .tokens = s.tokens});
    checker.backend().wait();
    for (uint32_t t = 0; t < s.tokens; ++t) {
        for (uint32_t h = 0; h < s.heads; ++h) {
            const uint32_t kv = h / (s.heads / s.kv_heads);
            const float* query = q.as<float>() + (size_t{t} * s.heads + h) * q_stride;
            std::vector<double> scores(s.position + t + 1);
            for (size_t n = 0; n < scores.size(); ++n) {
                const size_t at = n * s.kv_heads + kv;
                scores[n] = double{scale} * keys.scales.as<float>()[at] * dot(query, keys.codes.as<int16_t>() + at * s.head_dim, s.head_dim).sum;
            }
            for (uint32_t i = 0; i < s.head_dim; ++i) {
                double wanted = weighted(scores, [&](size_t n) {
                    const size_t at = n * s.kv_heads + kv;
                    return double{values.scales.as<float>()[at]} * values.codes.as<int16_t>()[at * s.head_dim + i];
                });
                if (s.gated) wanted /= 1 + std::exp(-double{query[s.head_dim + i]});
                checker.record("gqa_attend", 3e-6, std::fabs(out.as<float>()[(size_t{t} * s.heads + h) * s.head_dim + i] - wanted));
            }
        }
    }
    checker.clear();
}

struct MlaShape {
    uint32_t heads, latent, nope, rope, value, position, tokens;
    bool interleaved, stacked;
    uint32_t bits, group;
    ElementType type;
};

constexpr MlaShape kMla[] = {
    {4, 64, 32, 16, 32, 0, 3, true, false, 0, 0, ElementType::bf16},
    {3, 128, 64, 64, 96, 255, 2, true, true, 4, 32, ElementType::bf16},
    {5, 512, 128, 64, 128, 300, 1, true, true, 8, 64, ElementType::f16},
    {2, 96, 32, 32, 64, 10, 5, false, false, 4, 32, ElementType::f16},
};

void check_mla_append(Checker& checker, const MlaShape& s) {
    const uint32_t rows = s.position + s.tokens, width = s.latent + s.rope, q_width = s.nope + s.rope;
    const Span q = checker.floats(size_t{s.tokens} * s.heads * q_width), c = checker.floats(size_t{s.tokens} * width);
    const std::vector<float> q0(q.as<float>(), q.as<float>() + size_t{s.tokens} * s.heads * q_width);
    const std::vector<float> c0(c.as<float>(), c.as<float>() + size_t{s.tokens} * width);
    const Span norm = checker.floats(s.latent);
    const RopeTable rope = random_rope(checker, s.tokens, s.rope, s.interleaved);
    const KvCache cache = random_cache(checker, rows, width, 2, true);
    checker.backend().mla_append({.q = q, .c = c, .norm = norm, .eps = 1e-6f, .rope = rope, .cache = cache, .heads = s.heads,
                                  .latent_dim = s.latent, .nope_dim = s.nope, .rope_dim = s.rope, .position = s.position,
                                  .tokens = s.tokens});
    checker.backend().wait();
    for (uint32_t t = 0; t < s.tokens; ++t) {
        for (uint32_t h = 0; h < s.heads; ++h) {
            const size_t at = (size_t{t} * s.heads + h) * q_width;
            std::vector<double> part(&q0[at] + s.nope, &q0[at] + q_width);
            rotate(part.data(), rope, t);
            for (uint32_t i = 0; i < q_width; ++i) {
                const double wanted = i < s.nope ? q0[at + i] : part[i - s.nope];
                checker.record("mla_append: queries", 1e-6, std::fabs(q.as<float>()[at + i] - wanted));
            }
        }
        const float* row = &c0[size_t{t} * width];
        std::vector<double> key(row + s.latent, row + width);
        rotate(key.data(), rope, t);
        const size_t to = size_t{s.position} + t;
        const int16_t* codes = cache.codes.as<int16_t>() + to * width;
        compare_codes(checker, "mla_append: latent", normed(row, norm.as<float>(), s.latent, 1e-6), codes, cache.scales.as<float>()[2 * to]);
        compare_codes(checker, "mla_append: rotated key", key, codes + s.latent, cache.scales.as<float>()[2 * to + 1]);
    }
    checker.clear();
}

void check_mla_attend(Checker& checker, const MlaShape& s) {
    const uint32_t rows = s.position + s.tokens, width = s.latent + s.rope, q_width = s.nope + s.rope;
    const Span q = checker.floats(size_t{s.tokens} * s.heads * q_width);
    const Span out = checker.poisoned(size_t{s.tokens} * s.heads * s.value * sizeof(float));
    const KvCache cache = random_cache(checker, rows, width, 2, false);
    RandomMatrix kv_b, embed_q, unembed;
    if (s.stacked) {
        embed_q = checker.matrix(s.heads * s.latent, s.nope, s.bits, s.group, s.type);
        unembed = checker.matrix(s.heads * s.value, s.latent, s.bits, s.group, s.type);
    } else {
        kv_b = checker.matrix(s.heads * (s.nope + s.value), s.latent, s.bits, s.group, s.type);
    }
    const float scale = 0.25f / std::sqrt(static_cast<float>(q_width));
    checker.backend().mla_attend({.q = q, .cache = cache, .kv_b = kv_b.matrix, .embed_q = embed_q.matrix,
                                  .unembed_out = unembed.matrix, .out = out, .heads = s.heads, .latent_dim = s.latent,
                                  .nope_dim = s.nope, .rope_dim = s.rope, .value_dim = s.value, .scale = scale,
                                  .position = s.position, .tokens = s.tokens});
    checker.backend().wait();
    for (uint32_t t = 0; t < s.tokens; ++t) {
        for (uint32_t h = 0; h < s.heads; ++h) {
            const float* query = q.as<float>() + (size_t{t} * s.heads + h) * q_width;
            const size_t first = size_t{h} * (s.nope + s.value);
            std::vector<double> latent(s.latent, 0.0), scores(s.position + t + 1), mixed(s.latent);
            for (uint32_t l = 0; l < s.latent; ++l) {
                for (uint32_t i = 0; i < s.nope; ++i) {
                    latent[l] += query[i] * (s.stacked ? embed_q.row(size_t{h} * s.latent + l)[i] : kv_b.row(first + i)[l]);
                }
            }
            const auto code = [&](size_t n, uint32_t i) { return double{cache.scales.as<float>()[2 * n + (i >= s.latent)]} * cache.codes.as<int16_t>()[n * width + i]; };
            for (size_t n = 0; n < scores.size(); ++n) {
                double sum = 0;
                for (uint32_t l = 0; l < s.latent; ++l) sum += latent[l] * code(n, l);
                for (uint32_t i = 0; i < s.rope; ++i) sum += query[s.nope + i] * code(n, s.latent + i);
                scores[n] = scale * sum;
            }
            for (uint32_t l = 0; l < s.latent; ++l) mixed[l] = weighted(scores, [&](size_t n) { return code(n, l); });
            for (uint32_t i = 0; i < s.value; ++i) {
                const double* row = s.stacked ? unembed.row(size_t{h} * s.value + i) : kv_b.row(first + s.nope + i);
                const Dot wanted = dot(row, mixed.data(), s.latent);
                const float got = out.as<float>()[(size_t{t} * s.heads + h) * s.value + i];
                checker.record("mla_attend", 2e-5, std::fabs(got - wanted.sum) / (0.1 + wanted.size));
            }
        }
    }
    checker.clear();
}

} // namespace

void check_attention(Checker& checker) {
    for (const GqaShape& shape : kGqa) {
        check_gqa_append(checker, shape);
        check_gqa_attend(checker, shape);
    }
}

void check_latent_attention(Checker& checker) {
    for (const MlaShape& shape : kMla) {
        check_mla_append(checker, shape);
        check_mla_attend(checker, shape);
    }
    // Every format of the two matrices a head has, in either arrangement.
    for (const uint32_t bits : {0u, 2u, 4u, 8u}) {
        for (const ElementType type : {ElementType::bf16, ElementType::f16, ElementType::f32}) {
            for (const bool stacked : {false, true}) {
                check_mla_attend(checker, {2, 96, 32, 16, 24, 5, 2, true, stacked, bits, 32, type});
            }
        }
    }
}

} // namespace flashmoe::checks
