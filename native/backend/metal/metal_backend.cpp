#include "backend/metal/metal_backend.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "../../../metal/args.h"
#include "core/error.h"
#include "core/memory.h"

namespace flashmoe::metal {
namespace {

constexpr uint32_t kSimd = 32;
constexpr uint32_t kThreads = 256;
constexpr uint32_t kSimds = kThreads / kSimd;
/// Below it a product reads its weights once a token; from it on, tiles of tokens share them.
constexpr uint32_t kMatmulTokens = 8;
/// Keys a threadgroup walks through: short enough to fill the device at long contexts.
constexpr uint32_t kSplitKeys = 256;

uint32_t groups_of(size_t count, size_t size) { return static_cast<uint32_t>((count + size - 1) / size); }

const char* type_name(ElementType type) {
    return type == ElementType::bf16 ? "bf16" : type == ElementType::f16 ? "f16" : "f32";
}

std::string variant(const char* base, const Matrix& matrix) {
    std::string name = std::string(base) + "_";
    if (matrix.bits != 0) name += "q" + std::to_string(matrix.bits) + "_";
    return name + type_name(matrix.type);
}

gpu::Buffer& device_buffer(const Span& span) { return *static_cast<gpu::Buffer*>(span.buffer->device); }

/// Rows a simdgroup of fm_matvec and the expert kernels owns: their template argument.
uint32_t rows_per_simd(uint32_t bits) { return bits == 0 ? 1 : bits == 8 ? 2 : 4; }

} // namespace

MetalBackend::MetalBackend(std::unique_ptr<gpu::Device> device, const std::string& source) : device_(std::move(device)) {
    device_name_ = device_->facts().name;
    const std::string errors = device_->compile(source);
    if (!errors.empty()) fail(FM_ENGINE, "the Metal kernels do not compile on ", device_name_, ": ", errors);
}

MetalBackend::~MetalBackend() {
    if (command_ != nullptr) {
        command_->commit();
        command_->wait();
    }
}

Buffer MetalBackend::wrap(void* host, size_t bytes) {
    // A model without recurrent state has an empty buffer for it.
    if (bytes == 0) return {static_cast<std::byte*>(host), 0, nullptr};
    auto buffer = device_->wrap(host, round_up(bytes, kPage));
    if (buffer == nullptr) fail(FM_ENGINE, device_name_, " refuses a buffer of ", bytes, " bytes");
    return {static_cast<std::byte*>(host), bytes, buffer.release()};
}

void MetalBackend::unwrap(Buffer& buffer) {
    delete static_cast<gpu::Buffer*>(buffer.device);
    buffer = {};
}

gpu::Command& MetalBackend::command() {
    if (command_ == nullptr) command_ = device_->command();
    if (command_ == nullptr) fail(FM_ENGINE, device_name_, " gives no command buffer");
    return *command_;
}

void MetalBackend::begin(const std::string& name) {
    auto& [kernel, pipeline] = *pipelines_.try_emplace(name).first;
    if (pipeline == nullptr) {
        std::string problem;
        pipeline = device_->pipeline(kernel, problem);
        if (pipeline == nullptr) fail(FM_ENGINE, device_name_, ": kernel ", kernel, ": ", problem);
        if (pipeline->simd_width() != kSimd) fail(FM_ENGINE, device_name_, " has simdgroups of ", pipeline->simd_width(), " threads, not 32");
    }
    max_threads_ = pipeline->max_threads();
    kernel_ = &kernel;
    command().use(*pipeline);
}

void MetalBackend::bind(uint32_t index, Span span) { command().bind(index, device_buffer(span), span.offset); }
void MetalBackend::bind(uint32_t index, gpu::Buffer& buffer, size_t offset) { command().bind(index, buffer, offset); }
void MetalBackend::raw_bytes(uint32_t index, const void* value, size_t size) { command().bind_bytes(index, value, size); }

void MetalBackend::dispatch(gpu::Size3 groups, uint32_t threads) {
    if (threads > max_threads_) fail(FM_ENGINE, device_name_, ": ", *kernel_, " runs with at most ", max_threads_, " threads, not ", threads);
    command().dispatch(groups, {threads, 1, 1});
    // Each operation sees the results of the one before it.
    command().barrier();
    counters_.dispatches++;
}

gpu::Buffer& MetalBackend::room(Room& room, size_t bytes) {
    if (room.buffer == nullptr || room.buffer->size() < bytes) {
        // What was encoded may still read the smaller one.
        wait();
        room.buffer = device_->allocate(round_up(bytes, kPage));
        if (room.buffer == nullptr) fail(FM_ENGINE, device_name_, " refuses ", bytes, " bytes of working memory");
    }
    return *room.buffer;
}

void MetalBackend::wait() {
    if (command_ == nullptr) return;
    const auto start = std::chrono::steady_clock::now();
    auto command = std::move(command_);
    command->commit();
    const std::string error = command->wait();
    counters_.waits++;
    counters_.device_seconds += command->seconds();
    counters_.waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!error.empty()) fail(FM_ENGINE, device_name_, ": ", error);
}

void MetalBackend::trim() {
    for (Room* room : {&parts_, &stats_, &queries_, &latents_, &inner_, &results_}) room->buffer.reset();
}

void MetalBackend::bind_matrix(const Matrix& matrix) {
    bind(0, matrix.weight);
    if (matrix.bits == 0) return;
    bind(1, matrix.scales);
    bind(2, matrix.biases);
}

void MetalBackend::embed(const Matrix& table, Span ids, Span y, uint32_t tokens) {
    begin(variant("fm_embed", table));
    bind_matrix(table);
    bind(3, ids);
    bind(4, y);
    bytes(5, FmEmbedArgs{table.cols, table.group});
    dispatch({groups_of(table.cols, kThreads), tokens, 1}, kThreads);
}

void MetalBackend::rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) {
    begin("fm_rms_norm");
    bind(0, x);
    bind(1, weight);
    bind(2, y);
    bytes(3, FmNormArgs{width, eps});
    dispatch({tokens, 1, 1}, kThreads);
}

void MetalBackend::linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) {
    const FmLinearArgs args{matrix.rows, matrix.cols, matrix.group, tokens, matrix.cols, matrix.rows};
    const bool tiled = matrix.bits != 0 && tokens >= kMatmulTokens;
    begin(variant(tiled ? "fm_matmul" : "fm_matvec", matrix));
    bind_matrix(matrix);
    bind(3, x);
    bind(4, y);
    bytes(5, args);
    if (tiled) dispatch({groups_of(matrix.rows, 64), groups_of(tokens, 32), 1}, kThreads);
    else dispatch({groups_of(matrix.rows, kSimds * rows_per_simd(matrix.bits)), tokens, 1}, kThreads);
}

void MetalBackend::add(Span y, Span x, size_t count) {
    begin("fm_add");
    bind(0, y);
    bind(1, x);
    bytes(2, FmCountArgs{static_cast<uint32_t>(count)});
    dispatch({groups_of(count, kThreads), 1, 1}, kThreads);
}

void MetalBackend::add_gated(Span y, Span x, Span gate, uint32_t width, uint32_t tokens) {
    begin("fm_add_gated");
    bind(0, y);
    bind(1, x);
    bind(2, gate ? gate : x);
    bytes(3, FmGatedAddArgs{width, gate ? 1u : 0u});
    dispatch({groups_of(width, kThreads), tokens, 1}, kThreads);
}

void MetalBackend::swiglu(Span gate, Span up, Span y, size_t count) {
    begin("fm_swiglu");
    bind(0, gate);
    bind(1, up);
    bind(2, y);
    bytes(3, FmCountArgs{static_cast<uint32_t>(count)});
    dispatch({groups_of(count, kThreads), 1, 1}, kThreads);
}

void MetalBackend::gqa_append(const GqaAppend& op) {
    begin("fm_gqa_append");
    bind(0, op.q);
    bind(1, op.k);
    bind(2, op.v);
    bind(3, op.q_norm ? op.q_norm : op.q);
    bind(4, op.k_norm ? op.k_norm : op.k);
    bind(5, op.rope.cos_sin);
    bind(6, op.k_cache.codes);
    bind(7, op.k_cache.scales);
    bind(8, op.v_cache.codes);
    bind(9, op.v_cache.scales);
    bytes(10, FmGqaAppendArgs{op.heads, op.kv_heads, op.head_dim, op.q_stride, op.rope.dims, op.rope.interleaved ? 1u : 0u,
                              op.q_norm ? 1u : 0u, op.position, op.eps});
    dispatch({op.heads + 2 * op.kv_heads, op.tokens, 1}, kSimd);
}

void MetalBackend::merge(gpu::Buffer& parts, gpu::Buffer& stats, const Span* q, gpu::Buffer& out, size_t out_offset,
                         uint32_t heads, uint32_t dim, uint32_t q_stride, bool gated, uint32_t splits, uint32_t tokens) {
    begin("fm_gqa_merge");
    bind(0, parts);
    bind(1, stats);
    if (q != nullptr) bind(2, *q);
    else bind(2, parts);
    bind(3, out, out_offset);
    bytes(4, FmGqaMergeArgs{heads, dim, q_stride, gated ? 1u : 0u, splits});
    dispatch({heads, tokens, 1}, kSimd);
}

void MetalBackend::gqa_attend(const GqaAttend& op) {
    constexpr uint32_t queries = 4;
    if (op.head_dim > 256) fail(FM_ENGINE, "head_dim ", op.head_dim, ": the Metal attention goes to 256");
    const uint32_t group = op.heads / op.kv_heads;
    const uint32_t splits = groups_of(op.position + op.tokens, kSplitKeys);
    const size_t places = size_t{op.tokens} * op.heads * splits;
    gpu::Buffer& parts = room(parts_, places * op.head_dim * sizeof(float));
    gpu::Buffer& stats = room(stats_, places * 2 * sizeof(float));
    begin(op.head_dim <= 64 ? "fm_gqa_attend_64" : op.head_dim <= 128 ? "fm_gqa_attend_128" : "fm_gqa_attend_256");
    bind(0, op.q);
    bind(1, op.k_cache.codes);
    bind(2, op.k_cache.scales);
    bind(3, op.v_cache.codes);
    bind(4, op.v_cache.scales);
    bind(5, parts);
    bind(6, stats);
    bytes(7, FmGqaAttendArgs{op.heads, op.kv_heads, op.head_dim, op.q_stride, op.position, splits, kSplitKeys, op.scale});
    dispatch({op.kv_heads, splits, op.tokens}, groups_of(group, queries) * kSimd);
    merge(parts, stats, &op.q, device_buffer(op.out), op.out.offset, op.heads, op.head_dim, op.q_stride, op.gated, splits,
          op.tokens);
}

void MetalBackend::delta_net(const DeltaNet& op) {
    const uint32_t channels = 2 * op.key_heads * op.key_dim + op.value_heads * op.value_dim;
    if (op.conv_kernel < 2 || op.conv_kernel > 8) fail(FM_ENGINE, "a convolution over ", op.conv_kernel, " tokens");
    if (op.key_dim > 256) fail(FM_ENGINE, "key_dim ", op.key_dim, ": the Metal delta net goes to 256");
    const FmDeltaConvArgs conv{channels, op.conv_kernel, op.tokens, op.key_heads, op.key_dim, op.qk_norm_eps};
    const FmDeltaStepArgs step{op.key_heads, op.value_heads, op.key_dim, op.value_dim, op.tokens, op.norm_eps};
    begin("fm_delta_conv");
    bind(0, op.qkv);
    bind(1, op.conv);
    bind(2, op.history);
    bytes(3, conv);
    dispatch({groups_of(channels, kThreads), 1, 1}, kThreads);
    begin("fm_delta_unit");
    bind(0, op.qkv);
    bytes(1, conv);
    dispatch({2 * op.key_heads, op.tokens, 1}, kSimd);
    const uint32_t width = op.key_dim <= 32 ? 32 : op.key_dim <= 64 ? 64 : op.key_dim <= 128 ? 128 : 256;
    begin("fm_delta_step_" + std::to_string(width));
    bind(0, op.qkv);
    bind(1, op.a);
    bind(2, op.b);
    bind(3, op.a_log);
    bind(4, op.dt_bias);
    bind(5, op.state);
    bind(6, op.out);
    bytes(7, step);
    dispatch({groups_of(op.value_dim, 4 * 4), op.value_heads, 1}, 4 * kSimd);
    begin("fm_gated_norm");
    bind(0, op.out);
    bind(1, op.z);
    bind(2, op.norm);
    bytes(3, step);
    dispatch({op.value_heads, op.tokens, 1}, kSimd);
}

void MetalBackend::mla_append(const MlaAppend& op) {
    if (op.rope_dim > 128) fail(FM_ENGINE, "rope_dim ", op.rope_dim, ": the Metal latent attention goes to 128");
    begin("fm_mla_append");
    bind(0, op.q);
    bind(1, op.c);
    bind(2, op.norm);
    bind(3, op.rope.cos_sin);
    bind(4, op.cache.codes);
    bind(5, op.cache.scales);
    bytes(6, FmMlaAppendArgs{op.heads, op.latent_dim, op.nope_dim, op.rope_dim, op.rope.interleaved ? 1u : 0u, op.position,
                             op.eps});
    dispatch({op.heads + 1, op.tokens, 1}, kSimd);
}

void MetalBackend::head_linear(const std::string& base, const Matrix& matrix, gpu::Buffer& x, size_t x_offset,
                               gpu::Buffer& y, size_t y_offset, uint32_t heads, uint32_t head_rows, uint32_t first_row, uint32_t rows,
                               uint32_t x_stride, uint32_t y_stride, uint32_t tokens) {
    const bool transposed = base == "fm_head_matvec_transposed";
    begin(variant(base.c_str(), matrix));
    bind_matrix(matrix);
    bind(3, x, x_offset);
    bind(4, y, y_offset);
    bytes(5, FmHeadLinearArgs{heads, head_rows, first_row, rows, matrix.cols, matrix.group, x_stride, y_stride});
    dispatch({groups_of(transposed ? matrix.cols : rows, transposed ? kThreads : kSimds), heads, tokens}, kThreads);
}

void MetalBackend::mla_attend(const MlaAttend& op) {
    constexpr uint32_t queries = 2;
    if (op.latent_dim > 512 || op.rope_dim > 64) {
        fail(FM_ENGINE, "latent ", op.latent_dim, " and rope ", op.rope_dim, ": the Metal latent attention goes to 512 and 64");
    }
    const size_t pairs = size_t{op.tokens} * op.heads;
    const uint32_t q_stride = op.nope_dim + op.rope_dim;
    const uint32_t splits = groups_of(op.position + op.tokens, kSplitKeys);
    gpu::Buffer& query = room(queries_, pairs * op.latent_dim * sizeof(float));
    gpu::Buffer& latent = room(latents_, pairs * op.latent_dim * sizeof(float));
    gpu::Buffer& parts = room(parts_, pairs * splits * op.latent_dim * sizeof(float));
    gpu::Buffer& stats = room(stats_, pairs * splits * 2 * sizeof(float));
    gpu::Buffer& q = device_buffer(op.q);
    const bool whole = op.kv_b.rows != 0;
    const uint32_t head_rows = op.nope_dim + op.value_dim;
    if (whole) {
        head_linear("fm_head_matvec_transposed", op.kv_b, q, op.q.offset, query, 0, op.heads, head_rows, 0, op.nope_dim, q_stride,
                    op.latent_dim, op.tokens);
    } else {
        head_linear("fm_head_matvec", op.embed_q, q, op.q.offset, query, 0, op.heads, op.latent_dim, 0, op.latent_dim, q_stride,
                    op.latent_dim, op.tokens);
    }
    begin(op.latent_dim <= 128 ? "fm_mla_attend_128" : "fm_mla_attend_512");
    bind(0, query);
    bind(1, op.q);
    bind(2, op.cache.codes);
    bind(3, op.cache.scales);
    bind(4, parts);
    bind(5, stats);
    bytes(6, FmMlaAttendArgs{op.heads, op.latent_dim, op.rope_dim, q_stride, op.nope_dim, op.position, splits, kSplitKeys,
                             op.scale});
    dispatch({groups_of(op.heads, queries * kSimds), splits, op.tokens}, kThreads);
    merge(parts, stats, nullptr, latent, 0, op.heads, op.latent_dim, 0, false, splits, op.tokens);
    gpu::Buffer& out = device_buffer(op.out);
    if (whole) {
        head_linear("fm_head_matvec", op.kv_b, latent, 0, out, op.out.offset, op.heads, head_rows, op.nope_dim, op.value_dim,
                    op.latent_dim, op.value_dim, op.tokens);
    } else {
        head_linear("fm_head_matvec", op.unembed_out, latent, 0, out, op.out.offset, op.heads, op.value_dim, 0, op.value_dim,
                    op.latent_dim, op.value_dim, op.tokens);
    }
}

void MetalBackend::route(const Router& op) {
    if (op.experts > 1024 || op.top_k > kSimd || op.groups > 32) {
        fail(FM_ENGINE, op.experts, " experts, ", op.top_k, " a token: the Metal router goes to 1024 and 32");
    }
    begin("fm_route");
    bind(0, op.logits);
    bind(1, op.choice_bias ? op.choice_bias : op.logits);
    bind(2, op.ids);
    bind(3, op.weights);
    bytes(4, FmRouterArgs{op.experts, op.top_k, op.groups, op.top_groups, op.sigmoid ? 1u : 0u, op.normalise ? 1u : 0u,
                          op.choice_bias ? 1u : 0u, op.scale});
    dispatch({op.tokens, 1, 1}, kSimd);
}

void MetalBackend::experts(const ExpertBatch& op) {
    if (op.count == 0) return;
    const Matrix& gate = op.works[0].gate;
    const Matrix& down = op.works[0].down;
    const Buffer* slots = gate.weight.buffer;
    FmExpertWork works[kMaxExpertWorks];
    uint32_t tokens[kMaxExpertEntries];
    float weights[kMaxExpertEntries];
    uint32_t entries = 0, last_token = 0;
    const auto place = [&](const Span& span) {
        if (!span) return 0u; // unquantised: no scales
        // One buffer holds all slots; 32-bit byte offsets reach 4 GiB.
        if (span.buffer != slots || span.offset > UINT32_MAX) fail(FM_ENGINE, "expert slots lie in more than one buffer");
        return static_cast<uint32_t>(span.offset);
    };
    for (uint32_t w = 0; w < op.count; ++w) {
        const ExpertWork& work = op.works[w];
        works[w] = {place(work.gate.weight), place(work.gate.scales), place(work.gate.biases),
                    place(work.up.weight),   place(work.up.scales),   place(work.up.biases),
                    place(work.down.weight), place(work.down.scales), place(work.down.biases),
                    entries,                 work.count};
        for (uint32_t i = 0; i < work.count; ++i, ++entries) {
            tokens[entries] = op.tokens[work.first + i];
            weights[entries] = op.weights[work.first + i];
            last_token = std::max(last_token, tokens[entries]);
        }
    }
    gpu::Buffer& inner = room(inner_, size_t{entries} * gate.rows * sizeof(float));
    gpu::Buffer& results = room(results_, size_t{entries} * down.rows * sizeof(float));

    begin(variant("fm_expert_gate_up", gate));
    bind(0, *static_cast<gpu::Buffer*>(slots->device));
    raw_bytes(1, works, op.count * sizeof *works);
    raw_bytes(2, tokens, entries * sizeof *tokens);
    bind(3, op.x);
    bind(4, inner);
    bytes(5, FmExpertArgs{gate.cols, gate.rows, gate.group, op.count});
    dispatch({groups_of(gate.rows, kSimds * rows_per_simd(gate.bits)), entries, 1}, kThreads);

    begin(variant("fm_expert_down", down));
    bind(0, *static_cast<gpu::Buffer*>(slots->device));
    raw_bytes(1, works, op.count * sizeof *works);
    raw_bytes(2, weights, entries * sizeof *weights);
    bind(3, inner);
    bind(4, results);
    bytes(5, FmExpertArgs{down.rows, down.cols, down.group, op.count});
    dispatch({groups_of(down.rows, kSimds * rows_per_simd(down.bits)), entries, 1}, kThreads);

    begin("fm_combine");
    bind(0, results);
    raw_bytes(1, tokens, entries * sizeof *tokens);
    bind(2, op.y);
    bytes(3, FmCombineArgs{down.rows, entries});
    dispatch({groups_of(down.rows, kThreads), last_token + 1, 1}, kThreads);
}

} // namespace flashmoe::metal
