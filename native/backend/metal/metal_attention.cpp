// Grouped-query attention as dispatches: cache write, splits of the keys, their merge.
#include "backend/metal/metal_backend.h"

#include <algorithm>

#include "../../../metal/args.h"
#include "core/error.h"

namespace flashmoe::metal {

KeySplit split(uint32_t keys, uint32_t others, uint32_t enough) {
    constexpr uint32_t kFewest = 32, kTile = 8;
    const uint32_t wanted = std::max(kFewest, groups_of(size_t{keys} * others, enough));
    const uint32_t each = groups_of(wanted, kTile) * kTile;
    return {groups_of(keys, each), each};
}

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
    recorder_.dispatch({groups_of(dim, kSimd), heads, tokens}, FM_MERGE_SIMDS * kSimd);
}

void MetalBackend::gqa_attend(const GqaAttend& op) {
    const uint32_t values = op.head_dim <= 64 ? 2 : op.head_dim <= 128 ? 4 : 8;
    if (op.head_dim > 256 || op.head_dim % values != 0) {
        fail(FM_ENGINE, "head_dim ", op.head_dim, ": the Metal attention takes up to 256, a multiple of ", values);
    }
    const uint32_t group = op.heads / op.kv_heads;
    const uint32_t queries = group <= FM_ATTEND_SIMDS ? 1 : group <= 2 * FM_ATTEND_SIMDS ? 2 : 4;
    const uint32_t chunks = groups_of(group, queries * FM_ATTEND_SIMDS);
    constexpr uint32_t kEnough = 384;
    const auto [splits, split_keys] = split(op.position + op.tokens, op.kv_heads * chunks * op.tokens, kEnough);
    const size_t places = size_t{op.tokens} * op.heads * splits;
    gpu::Buffer& parts = room(parts_, places * op.head_dim * sizeof(float));
    gpu::Buffer& stats = room(stats_, places * 2 * sizeof(float));
    recorder_.begin(kernels_.gqa_attend[values / 4][queries / 2]);
    recorder_.bind(0, op.q);
    recorder_.bind(1, op.k_cache.codes);
    recorder_.bind(2, op.k_cache.scales);
    recorder_.bind(3, op.v_cache.codes);
    recorder_.bind(4, op.v_cache.scales);
    recorder_.bind(5, parts);
    recorder_.bind(6, stats);
    recorder_.bytes(7, FmGqaAttendArgs{op.heads, op.kv_heads, op.head_dim, op.q_stride, op.position, splits, split_keys, chunks,
                                      op.scale * kLog2E});
    recorder_.dispatch({op.kv_heads * chunks, splits, op.tokens}, FM_ATTEND_SIMDS * kSimd);
    merge(parts, stats, &op.q, device_buffer(op.out), op.out.offset, op.heads, op.head_dim, op.q_stride, op.gated, splits,
          op.tokens);
}

} // namespace flashmoe::metal
