// Grouped-query attention as dispatches: cache write, splits of the keys, their merge.
#include "backend/metal/metal_backend.h"

#include "../../../metal/args.h"
#include "core/error.h"

namespace flashmoe::metal {

void MetalBackend::gqa_append(const GqaAppend& op) {
    recorder_.begin(kernels_.gqa_append);
    recorder_.bind(0, op.q);
    recorder_.bind(1, op.k);
    recorder_.bind(2, op.v);
    recorder_.bind(3, op.q_norm ? op.q_norm : op.q);
    recorder_.bind(4, op.k_norm ? op.k_norm : op.k);
    recorder_.bind(5, op.rope.cos_sin);
    recorder_.bind(6, op.k_cache.codes);
    recorder_.bind(7, op.k_cache.scales);
    recorder_.bind(8, op.v_cache.codes);
    recorder_.bind(9, op.v_cache.scales);
    recorder_.bytes(10, FmGqaAppendArgs{op.heads, op.kv_heads, op.head_dim, op.q_stride, op.rope.dims, op.rope.interleaved ? 1u : 0u,
                              op.q_norm ? 1u : 0u, op.position, op.eps});
    recorder_.dispatch({op.heads + 2 * op.kv_heads, op.tokens, 1}, kSimd);
}

void MetalBackend::merge(gpu::Buffer& parts, gpu::Buffer& stats, const Span* q, gpu::Buffer& out, size_t out_offset,
                         uint32_t heads, uint32_t dim, uint32_t q_stride, bool gated, uint32_t splits, uint32_t tokens) {
    recorder_.begin(kernels_.gqa_merge);
    recorder_.bind(0, parts);
    recorder_.bind(1, stats);
    if (q != nullptr) recorder_.bind(2, *q);
    else recorder_.bind(2, parts);
    recorder_.bind(3, out, out_offset);
    recorder_.bytes(4, FmGqaMergeArgs{heads, dim, q_stride, gated ? 1u : 0u, splits});
    recorder_.dispatch({heads, tokens, 1}, kSimd);
}

void MetalBackend::gqa_attend(const GqaAttend& op) {
    constexpr uint32_t queries = 4;
    if (op.head_dim > 256) fail(FM_ENGINE, "head_dim ", op.head_dim, ": the Metal attention goes to 256");
    const uint32_t group = op.heads / op.kv_heads;
    const uint32_t splits = groups_of(op.position + op.tokens, kSplitKeys);
    const size_t places = size_t{op.tokens} * op.heads * splits;
    gpu::Buffer& parts = room(parts_, places * op.head_dim * sizeof(float));
    gpu::Buffer& stats = room(stats_, places * 2 * sizeof(float));
    recorder_.begin(op.head_dim <= 64    ? kernels_.gqa_attend_64
          : op.head_dim <= 128 ? kernels_.gqa_attend_128
                               : kernels_.gqa_attend_256);
    recorder_.bind(0, op.q);
    recorder_.bind(1, op.k_cache.codes);
    recorder_.bind(2, op.k_cache.scales);
    recorder_.bind(3, op.v_cache.codes);
    recorder_.bind(4, op.v_cache.scales);
    recorder_.bind(5, parts);
    recorder_.bind(6, stats);
    recorder_.bytes(7, FmGqaAttendArgs{op.heads, op.kv_heads, op.head_dim, op.q_stride, op.position, splits, kSplitKeys, op.scale});
    recorder_.dispatch({op.kv_heads, splits, op.tokens}, groups_of(group, queries) * kSimd);
    merge(parts, stats, &op.q, device_buffer(op.out), op.out.offset, op.heads, op.head_dim, op.q_stride, op.gated, splits,
          op.tokens);
}

} // namespace flashmoe::metal
