// Device time of operations at the shapes of real models, through the host code that ships. Bytes are what an
// operation must read and write once; weights rotate over more memory than the GPU's cache holds.
// Usage: metal-bench METAL_DIR
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "backend/metal/kernel_source.h"
#include "backend/metal/metal_backend.h"
#include "device/cuda_device.h"

using namespace flashmoe;

namespace {

double copy_rate = 0;

/// Device memory of random words as the backend sees it.
class Memory {
  public:
    explicit Memory(size_t bytes) : buffer_(resident_buffer((bytes + 255) / 256 * 256, seed++)), view_{nullptr, bytes, buffer_.get()} {}
    Memory(const Memory &) = delete;
    Span span(size_t offset = 0) const { return {&view_, offset}; }

  private:
    static inline uint32_t seed = 1;
    std::unique_ptr<gpu::Buffer> buffer_;
    Buffer view_;
};

struct Weights {
    Weights(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t copies)
        : codes(size_t{rows} * cols * bits / 8 * copies), scales(size_t{rows} * cols / 16 * copies), bytes(size_t{rows} * cols * bits / 8 + size_t{rows} * cols / 64 * 4), copies(copies) {
        shape = {.weight = {}, .scales = {}, .biases = {}, .rows = rows, .cols = cols, .bits = bits, .group = 64, .type = ElementType::bf16};
    }
    Matrix at(uint32_t index) const {
        Matrix matrix = shape;
        const size_t part = index % copies, groups = size_t{shape.rows} * shape.cols / 64;
        matrix.weight = codes.span(part * shape.rows * shape.row_bytes());
        matrix.scales = scales.span(part * groups * 2);
        matrix.biases = scales.span((part + copies) * groups * 2);
        return matrix;
    }
    Memory codes, scales;
    Matrix shape;
    size_t bytes;
    uint32_t copies;
};

uint32_t copies_of(size_t bytes) { return static_cast<uint32_t>(std::clamp<size_t>(1'200'000'000 / bytes, 2, 128)); }

class Bench {
  public:
    explicit Bench(const char *kernels) : backend(open_cuda_device(true), metal::kernel_source(kernels)) {}

    /// The same of one of the call's kernels, without the others.
    double time_only(const std::string &kernel, const std::string &name, double bytes, uint32_t calls, const std::function<void(uint32_t)> &call) {
        launch_only(kernel);
        const double us = time(name, bytes, calls, call);
        launch_only("");
        return us;
    }

    /// Microseconds of one call: median of seven rounds.
    double time(const std::string &name, double bytes, uint32_t calls, const std::function<void(uint32_t)> &call) {
        std::vector<double> rounds;
        for (int round = 0; round < 8; round++) {
            const double before = backend.counters().device_seconds;
            for (uint32_t i = 0; i < calls; i++) call(i);
            backend.wait();
            if (round > 0) rounds.push_back((backend.counters().device_seconds - before) / calls);
        }
        std::sort(rounds.begin(), rounds.end());
        const double seconds = rounds[rounds.size() / 2];
        const double spread = (rounds.back() - rounds.front()) / seconds;
        if (bytes == 0) printf("| %s | - | %.1f | - | - | %.1f |\n", name.c_str(), seconds * 1e6, 100 * spread);
        else printf("| %s | %.1f | %.1f | %.0f | %.0f | %.1f |\n", name.c_str(), bytes / 1e6, seconds * 1e6, bytes / seconds / 1e9,
                    100 * bytes / seconds / copy_rate, 100 * spread);
        fflush(stdout);
        return seconds * 1e6;
    }

    double linear(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t tokens = 1) {
        const size_t bytes = size_t{rows} * cols * bits / 8;
        const Weights weights(rows, cols, bits, copies_of(bytes));
        const Memory x(size_t{tokens} * cols * 4), y(size_t{tokens} * rows * 4);
        const std::string name = std::to_string(bits) + "-bit " + std::to_string(rows) + "x" + std::to_string(cols) + (tokens > 1 ? ", " + std::to_string(tokens) + " tokens" : "");
        return time(name, static_cast<double>(weights.bytes) + tokens * 4.0 * (cols + rows), std::max(20u, weights.copies), [&](uint32_t i) { backend.linear(weights.at(i), x.span(), y.span(), tokens); });
    }

    /// gate and up in one dispatch, down in another, joined by a third: each of the first two alone, then all.
    void experts(uint32_t hidden, uint32_t width, uint32_t count, uint32_t bits, uint32_t tokens = 1) {
        const size_t matrix = size_t{hidden} * width * bits / 8, scale = size_t{hidden} * width / 64 * 2;
        const size_t slot = 3 * matrix + 6 * scale;
        const uint32_t copies = std::min<uint32_t>(std::max<size_t>(2, 1'200'000'000 / (slot * count)), static_cast<uint32_t>(4'000'000'000 / (slot * count)));
        const Memory slots(slot * count * copies), x(size_t{tokens} * hidden * 4), y(size_t{tokens} * hidden * 4), results(size_t{count} * tokens * hidden * 4);
        std::vector<uint32_t> rows, places;
        std::vector<float> weights(size_t{count} * tokens, 0.1f);
        for (uint32_t i = 0; i < count * tokens; i++) {
            rows.push_back(i % tokens);
            places.push_back(i);
        }
        const double bytes = static_cast<double>(slot) * count + tokens * 4.0 * (2.0 * hidden + 2.0 * width * count);
        const std::string name = std::to_string(bits) + "-bit " + std::to_string(count) + " experts " + std::to_string(width) + "x" + std::to_string(hidden) + (tokens > 1 ? ", " + std::to_string(tokens) + " tokens each" : "");
        const auto call = [&](uint32_t i) {
            std::vector<ExpertWork> works;
            for (uint32_t e = 0; e < count; e++) {
                size_t at = (size_t{i % copies} * count + e) * slot;
                const auto take = [&](uint32_t r, uint32_t c) {
                    Matrix m{.weight = slots.span(at), .scales = slots.span(at + matrix), .biases = slots.span(at + matrix + scale), .rows = r, .cols = c, .bits = bits, .group = 64, .type = ElementType::bf16};
                    at += matrix + 2 * scale;
                    return m;
                };
                const Matrix gate = take(width, hidden), up = take(width, hidden), down = take(hidden, width);
                works.push_back({gate, up, down, e * tokens, tokens});
            }
            backend.experts({works.data(), count, rows.data(), weights.data(), x.span(), results.span(), 0, 0, tokens > 1});
            backend.add_experts({rows.data(), places.data(), static_cast<uint32_t>(places.size()), results.span(), y.span(), hidden});
        };
        const double third = static_cast<double>(slot) * count / 3, in = tokens * 4.0 * hidden, inner = tokens * 4.0 * width * count;
        time_only(tokens > 1 ? "fm_expert_tile_gate_up" : "fm_expert_gate_up", name + ": gate+up", 2 * third + in + inner, copies, call);
        time_only(tokens > 1 ? "fm_expert_tile_down" : "fm_expert_down", name + ": down", third + inner + in * count, copies, call);
        time(name + ": gate+up, down, combine", bytes, copies, call);
    }

    void delta_net(uint32_t key_heads, uint32_t value_heads, uint32_t dim) {
        const size_t channels = size_t{2 * key_heads + value_heads} * dim, values = size_t{value_heads} * dim;
        const uint32_t copies = 40;
        const Memory qkv(channels * 4), z(values * 4), ab(value_heads * 16), conv(channels * 16), norm(dim * 4);
        const Memory history(channels * 12), out(values * 4), state(values * dim * 4 * copies);
        const double bytes = 8.0 * values * dim + 4.0 * (channels * 12 + values * 4);
        const std::string name = "delta net, " + std::to_string(value_heads) + " heads of " + std::to_string(dim) + "x" + std::to_string(dim);
        const auto call = [&](uint32_t i) {
            backend.delta_net({.qkv = qkv.span(), .z = z.span(), .a = ab.span(), .b = ab.span(value_heads * 4), .conv = conv.span(), .a_log = ab.span(value_heads * 8), .dt_bias = ab.span(value_heads * 12), .norm = norm.span(), .history = history.span(), .state = state.span(i % copies * values * dim * 4), .out = out.span(), .key_heads = key_heads, .value_heads = value_heads, .key_dim = dim, .value_dim = dim, .conv_kernel = 4, .qk_norm_eps = 1e-6f, .norm_eps = 1e-6f, .tokens = 1});
        };
        time_only("fm_delta_step", name + ": step", 8.0 * values * dim, copies, call);
        time(name + ": conv, step, norm", bytes, copies, call);
    }

    void attention(uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t keys) {
        const size_t codes = size_t{keys} * kv_heads * dim * 2, scales = size_t{keys} * kv_heads * 4;
        const uint32_t copies = static_cast<uint32_t>(std::clamp<size_t>(400'000'000 / codes, 2, 24));
        const Memory q(heads * dim * 8), out(heads * dim * 4), k(codes * copies), v(codes * copies), ks(scales * copies), vs(scales * copies);
        const std::string name = "attention, " + std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads of " + std::to_string(dim) + ", " + std::to_string(keys) + " keys";
        const auto call = [&](uint32_t i) {
            const size_t n = i % copies;
            backend.gqa_attend({.q = q.span(), .q_stride = 2 * dim, .gated = true, .k_cache = {k.span(n * codes), ks.span(n * scales)}, .v_cache = {v.span(n * codes), vs.span(n * scales)}, .out = out.span(), .heads = heads, .kv_heads = kv_heads, .head_dim = dim, .scale = 0.0625f, .position = keys - 1, .tokens = 1});
        };
        time_only("fm_gqa_attend", name + ": splits", 2.0 * (codes + scales), copies, call);
        time(name + ": splits, merge", 2.0 * (codes + scales), copies, call);
    }

    void latent_attention(uint32_t heads, uint32_t keys) {
        constexpr uint32_t latent = 512, rope = 64, nope = 128, value = 128;
        const size_t codes = size_t{keys} * (latent + rope) * 2, scales = size_t{keys} * 8;
        const uint32_t copies = static_cast<uint32_t>(std::clamp<size_t>(400'000'000 / codes, 2, 24));
        const Memory q(heads * (nope + rope) * 4), out(heads * value * 4), cache(codes * copies), cs(scales * copies);
        const Weights kv_b(heads * (nope + value), latent, 4, copies);
        time("latent attention, " + std::to_string(heads) + " heads, " + std::to_string(keys) + " keys, with kv_b", static_cast<double>(codes + scales + kv_b.bytes), copies, [&](uint32_t i) {
            const size_t n = i % copies;
            backend.mla_attend({.q = q.span(), .cache = {cache.span(n * codes), cs.span(n * scales)}, .kv_b = kv_b.at(i), .embed_q = {}, .unembed_out = {}, .out = out.span(), .heads = heads, .latent_dim = latent, .nope_dim = nope, .rope_dim = rope, .value_dim = value, .scale = 0.07f, .position = keys - 1, .tokens = 1});
        });
    }

    /// A layer of the 397B, operation after operation: its mixer, router, shared and routed experts, norms. The mixer is
    /// a delta net, or attention over `keys` keys.
    double layer(uint32_t keys) {
        constexpr uint32_t hidden = 4096, width = 1024, experts = 10, copies = 6;
        const bool attends = keys != 0;
        const size_t matrix = size_t{hidden} * width / 2, scale = size_t{hidden} * width / 64 * 2, slot = 3 * matrix + 6 * scale;
        const Memory slots(slot * experts * copies), x(hidden * 4), y(hidden * 4), m(hidden * 4), norm(hidden * 4), inner(32768 * 4), other(32768 * 4), results(experts * hidden * 4);
        const Weights wide(attends ? 16384 : 12288, hidden, 4, copies), z(8192, hidden, 4, copies), small(64, hidden, 8, copies), kv(512, hidden, 4, copies);
        const Weights out(hidden, 8192, 4, copies), router(512, hidden, 8, copies), up(width, hidden, 4, copies), down(hidden, width, 4, copies), one(1, hidden, 8, copies);
        const Memory ab(65536), state(attends ? 64 : size_t{64} * 128 * 128 * 4), conv(12288 * 16), history(12288 * 12), gnorm(512);
        const Memory k(size_t{keys} * 1024 + 64), v(size_t{keys} * 1024 + 64), ks(size_t{keys} * 8 + 64), vs(size_t{keys} * 8 + 64), ids(4096), weights(4096);
        std::vector<uint32_t> rows(experts, 0), places;
        for (uint32_t e = 0; e < experts; e++) places.push_back(e);
        std::vector<float> shares(experts, 0.1f);
        double bytes = static_cast<double>(slot) * experts + wide.bytes + out.bytes + router.bytes + 2 * up.bytes + down.bytes;
        bytes += attends ? 2.0 * kv.bytes + 2.0 * keys * 1032 : z.bytes + 2.0 * small.bytes + 2.0 * 64 * 128 * 128 * 4;
        const std::string name = attends ? "attention layer, " + std::to_string(keys) + " keys" : "delta net layer";
        const auto call = [&](uint32_t i) {
            backend.begin_side_by_side();
            backend.linear(wide.at(i), m.span(), inner.span(), 1);
            backend.linear(attends ? kv.at(i) : z.at(i), m.span(), other.span(), 1);
            backend.linear(attends ? kv.at(i) : small.at(i), m.span(), other.span(32768), 1);
            if (!attends) backend.linear(small.at(i), m.span(), other.span(32768 + 1024), 1);
            backend.end_side_by_side();
            if (attends) {
                backend.gqa_attend({.q = inner.span(), .q_stride = 512, .gated = true, .k_cache = {k.span(), ks.span()}, .v_cache = {v.span(), vs.span()}, .out = other.span(), .heads = 32, .kv_heads = 2, .head_dim = 256, .scale = 0.0625f, .position = keys - 1, .tokens = 1});
            } else {
                backend.delta_net({.qkv = inner.span(), .z = other.span(), .a = ab.span(), .b = ab.span(256), .conv = conv.span(), .a_log = ab.span(512), .dt_bias = ab.span(768), .norm = gnorm.span(), .history = history.span(), .state = state.span(), .out = other.span(65536), .key_heads = 16, .value_heads = 64, .key_dim = 128, .value_dim = 128, .conv_kernel = 4, .qk_norm_eps = 1e-6f, .norm_eps = 1e-6f, .tokens = 1});
            }
            backend.linear(out.at(i), other.span(), y.span(), 1);
            backend.add_norm(x.span(), y.span(), norm.span(), m.span(), hidden, 1e-6f, 1);
            backend.linear(router.at(i), m.span(), inner.span(), 1);
            backend.route({.logits = inner.span(), .choice_bias = {}, .ids = ids.span(), .weights = weights.span(), .experts = 512, .top_k = experts, .groups = 1, .top_groups = 1, .sigmoid = false, .normalise = true, .scale = 1, .tokens = 1});
            backend.begin_side_by_side();
            backend.linear(one.at(i), m.span(), other.span(), 1);
            backend.linear(up.at(i), m.span(), inner.span(), 1);
            backend.linear(up.at(i + 1), m.span(), inner.span(4096), 1);
            backend.end_side_by_side();
            backend.swiglu(inner.span(), inner.span(4096), inner.span(), width);
            backend.linear(down.at(i), inner.span(), inner.span(8192), 1);
            backend.add_gated(y.span(), inner.span(8192), other.span(), hidden, 1);
            std::vector<ExpertWork> works;
            for (uint32_t e = 0; e < experts; e++) {
                size_t at = (size_t{i % copies} * experts + e) * slot;
                const auto take = [&](uint32_t r, uint32_t c) {
                    Matrix part{.weight = slots.span(at), .scales = slots.span(at + matrix), .biases = slots.span(at + matrix + scale), .rows = r, .cols = c, .bits = 4, .group = 64, .type = ElementType::bf16};
                    at += matrix + 2 * scale;
                    return part;
                };
                const Matrix gate = take(width, hidden), second = take(width, hidden), third = take(hidden, width);
                works.push_back({gate, second, third, e, 1});
            }
            backend.experts({works.data(), experts, rows.data(), shares.data(), m.span(), results.span(), 0});
            backend.add_experts({rows.data(), places.data(), experts, results.span(), y.span(), hidden});
            backend.add_norm(x.span(), y.span(), norm.span(), m.span(), hidden, 1e-6f, 1);
        };
        if (!attends) {
            for (const char* kernel : {"fm_matvec_q4", "fm_matvec_q8", "fm_delta", "fm_gated_norm", "fm_add_norm", "fm_route", "fm_swiglu", "fm_add_gated", "fm_expert", "fm_combine"}) {
                time_only(kernel, std::string(kernel) + "* of a delta net layer", 0, 24, call);
            }
        }
        return time(name + " of the 397B", bytes, 24, call);
    }

    metal::MetalBackend backend;
};

} // namespace

int main(int count, char **arguments) {
    if (count != 2) return 64;
    copy_rate = copy_bandwidth();
    printf("device copy: %.0f GB/s\n\n| operation | MB | us | GB/s | %% of copy | spread %% |\n|---|---|---|---|---|---|\n", copy_rate / 1e9);
    try {
        Bench bench(arguments[1]);
        const double head = bench.linear(248320, 4096, 4), delta = bench.layer(0), near = bench.layer(8192), far = bench.layer(32768);
        for (const auto &[keys, attends] : {std::pair(8192, near), std::pair(32768, far)}) {
            printf("\na token of the 397B at %d keys, all experts in memory: %.2f ms\n\n", keys, (45 * delta + 15 * attends + head) / 1000);
        }
        for (const uint32_t bits : {4u, 2u, 8u}) {
            bench.linear(4096, 4096, bits);
            bench.linear(12288, 4096, bits);
            bench.linear(4096, 8192, bits);
            if (bits == 2) bench.linear(248320, 4096, bits);
        }
        bench.linear(512, 4096, 8);
        bench.linear(4096, 4096, 4, 64);
        for (const uint32_t bits : {4u, 2u}) {
            bench.experts(4096, 1024, 10, bits);
            bench.experts(7168, 2048, 8, bits);
        }
        bench.experts(4096, 1024, 10, 4, 8);
        bench.delta_net(16, 64, 128);
        for (const uint32_t keys : {2048u, 8192u, 32768u}) bench.attention(32, 2, 256, keys);
        for (const uint32_t keys : {2048u, 8192u, 32768u}) bench.latent_attention(128, keys);
    } catch (const Error &error) {
        fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
