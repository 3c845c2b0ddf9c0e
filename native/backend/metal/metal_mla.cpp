// Latent attention in absorbed form as dispatches.
#include "backend/metal/metal_backend.h"

#include "../../../metal/args.h"
#include "core/error.h"

namespace flashmoe::metal {

void MetalBackend::mla_append(const MlaAppend& op) {
    if (op.rope_dim > 128) fail(FM_ENGINE, "rope_dim ", op.rope_dim, ": the Metal latent attention goes to 128");
    recorder_.begin(kernels_.mla_append);
    recorder_.bind(0, op.q);
    recorder_.bind(1, op.c);
    recorder_.bind(2, op.norm);
    recorder_.bind(3, op.rope.cos_sin);
    recorder_.bind(4, op.cache.codes);
    recorder_.bind(5, op.cache.scales);
    recorder_.bytes(6, FmMlaAppendArgs{op.heads, op.latent_dim, op.nope_dim, op.rope_dim, op.rope.interleaved ? 1u : 0u, op.position,
                             op.eps});
    recorder_.dispatch({op.heads + 1, op.tokens, 1}, kSimd);
    appended_ = recorder_.counters().dispatches;
}

void MetalBackend::head_linear(FormatKernels& kernels, const Matrix& matrix, gpu::Buffer& x, size_t x_offset,
                               gpu::Buffer& y, size_t y_offset, uint32_t heads, uint32_t head_rows, uint32_t first_row, uint32_t rows,
                               uint32_t x_stride, uint32_t y_stride, uint32_t tokens) {
    const bool transposed = &kernels == &kernels_.head_matvec_transposed;
    recorder_.begin(kernels.of(matrix));
    bind_matrix(matrix);
    recorder_.bind(3, x, x_offset);
    recorder_.bind(4, y, y_offset);
    recorder_.bytes(5, FmHeadLinearArgs{heads, head_rows, first_row, rows, matrix.cols, matrix.group, x_stride, y_stride,
                                         FM_CODE_EXPONENT});
    if (matrix.bits == 0) {
        recorder_.dispatch({transposed ? groups_of(matrix.cols, kThreads) : groups_of(rows, kSimds), heads, tokens}, kThreads);
    } else if (transposed) {
        const uint32_t words = matrix.cols * matrix.bits / 32;
        recorder_.dispatch({groups_of(words, kSimd), heads, tokens}, FM_TRANSPOSED_SIMDS * kSimd);
    } else {
        recorder_.dispatch({groups_of(rows, 4 * FM_ROW_SIMDS), heads, tokens}, FM_ROW_SIMDS * kSimd);
    }
}

void MetalBackend::mla_attend(const MlaAttend& op) {
    constexpr uint32_t queries = 2, kEnough = 256;
    if (op.latent_dim > 512 || op.rope_dim > 64) {
        fail(FM_ENGINE, "latent ", op.latent_dim, " and rope ", op.rope_dim, ": the Metal latent attention goes to 512 and 64");
    }
    const uint32_t values = op.latent_dim <= 128 ? 4 : 16;
    if (op.latent_dim % values != 0 || op.rope_dim % 2 != 0 || (op.latent_dim + op.rope_dim) % 8 != 0) {
        fail(FM_ENGINE, "latent ", op.latent_dim, " and rope ", op.rope_dim, ": the Metal latent attention takes multiples of ", values, " and 8");
    }
    const size_t pairs = size_t{op.tokens} * op.heads;
    const uint32_t q_stride = op.nope_dim + op.rope_dim;
    const auto [splits, split_keys] = split(op.position + op.tokens, groups_of(op.heads, queries * FM_ATTEND_SIMDS) * op.tokens, kEnough);
    gpu::Buffer& query = room(queries_, pairs * op.latent_dim * sizeof(float));
    gpu::Buffer& latent = room(latents_, pairs * op.latent_dim * sizeof(float));
    gpu::Buffer& parts = room(parts_, pairs * splits * op.latent_dim * sizeof(float));
    gpu::Buffer& stats = room(stats_, pairs * splits * 2 * sizeof(float));
    gpu::Buffer& q = device_buffer(op.q);
    const bool whole = op.kv_b.rows != 0;
    const uint32_t head_rows = op.nope_dim + op.value_dim;
    // The append before changed the cache and the rotated part of the queries; this reads the other part.
    if (recorder_.counters().dispatches == appended_) recorder_.beside_last();
    if (whole) {
        head_linear(kernels_.head_matvec_transposed, op.kv_b, q, op.q.offset, query, 0, op.heads, head_rows, 0, op.nope_dim, q_stride,
                    op.latent_dim, op.tokens);
    } else {
        head_linear(kernels_.head_matvec, op.embed_q, q, op.q.offset, query, 0, op.heads, op.latent_dim, 0, op.latent_dim, q_stride,
                    op.latent_dim, op.tokens);
    }
    recorder_.begin(values == 4 ? kernels_.mla_attend_128 : kernels_.mla_attend_512);
    recorder_.bind(0, query);
    recorder_.bind(1, op.q);
    recorder_.bind(2, op.cache.codes);
    recorder_.bind(3, op.cache.scales);
    recorder_.bind(4, parts);
    recorder_.bind(5, stats);
    recorder_.bytes(6, FmMlaAttendArgs{op.heads, op.latent_dim, op.rope_dim, q_stride, op.nope_dim, op.position, splits, split_keys,
                             op.scale * kLog2E});
    recorder_.dispatch({groups_of(op.heads, queries * FM_ATTEND_SIMDS), splits, op.tokens}, FM_ATTEND_SIMDS * kSimd);
    merge(parts, stats, nullptr, latent, 0, op.heads, op.latent_dim, 0, false, splits, op.tokens);
    gpu::Buffer& out = device_buffer(op.out);
    if (whole) {
        head_linear(kernels_.head_matvec, op.kv_b, latent, 0, out, op.out.offset, op.heads, head_rows, op.nope_dim, op.value_dim,
                    op.latent_dim, op.value_dim, op.tokens);
    } else {
        head_linear(kernels_.head_matvec, op.unembed_out, latent, 0, out, op.out.offset, op.heads, op.value_dim, 0, op.value_dim,
                    op.latent_dim, op.value_dim, op.tokens);
    }
}

} // namespace flashmoe::metal
