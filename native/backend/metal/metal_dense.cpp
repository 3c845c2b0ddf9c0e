// Embedding, linear maps, norms and sums as dispatches.
#include "backend/metal/metal_backend.h"

#include <algorithm>

#include "../../../metal/args.h"

namespace flashmoe::metal {

RowShare share_rows(uint32_t rows, uint32_t cols, uint32_t vectors) {
    constexpr size_t kEnough = 2048, kSlice = 1024;
    const uint32_t slices = groups_of(cols, kSlice);
    const uint32_t parts = slices >= FM_ROW_SIMDS ? FM_ROW_SIMDS : slices >= 2 ? 2 : 1;
    const size_t each = size_t{rows} * parts * vectors / kEnough / 4 * 4;
    const uint32_t rows_each = static_cast<uint32_t>(std::clamp<size_t>(each, 4, FM_MAX_ROWS_EACH));
    return {parts, rows_each, groups_of(rows, rows_each * (FM_ROW_SIMDS / parts))};
}

/// Below it a product reads its weights once a token; from it on, tiles of tokens share them.
constexpr uint32_t kMatmulTokens = 8;

void MetalBackend::embed(const Matrix& table, Span ids, Span y, uint32_t tokens) {
    recorder_.begin(kernels_.embed.of(table));
    bind_matrix(table);
    recorder_.bind(3, ids);
    recorder_.bind(4, y);
    recorder_.bytes(5, FmEmbedArgs{table.cols, table.group});
    recorder_.dispatch({groups_of(table.cols, kThreads), tokens, 1}, kThreads);
}

/// One threadgroup a token, as large as the device goes and the width asks for.
uint32_t MetalBackend::norm_threads(uint32_t width) const {
    return std::min(recorder_.most_threads(), groups_of(width, kSimd) * kSimd);
}

void MetalBackend::rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) {
    recorder_.begin(kernels_.rms_norm);
    recorder_.bind(0, x);
    recorder_.bind(1, weight);
    recorder_.bind(2, y);
    recorder_.bytes(3, FmNormArgs{width, eps});
    recorder_.dispatch({tokens, 1, 1}, norm_threads(width));
}

void MetalBackend::add_norm(Span y, Span x, Span weight, Span out, uint32_t width, float eps, uint32_t tokens) {
    recorder_.begin(kernels_.add_norm);
    recorder_.bind(0, y);
    recorder_.bind(1, x);
    recorder_.bind(2, weight);
    recorder_.bind(3, out);
    recorder_.bytes(4, FmNormArgs{width, eps});
    recorder_.dispatch({tokens, 1, 1}, norm_threads(width));
}

void MetalBackend::linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) {
    const RowShare share = share_rows(matrix.rows, matrix.cols, tokens);
    const FmLinearArgs args{matrix.rows, matrix.cols, matrix.group, tokens, matrix.cols, matrix.rows, share.parts, share.rows_each, FM_CODE_EXPONENT};
    const bool tiled = matrix.bits != 0 && tokens >= kMatmulTokens;
    recorder_.begin((tiled ? kernels_.matmul : kernels_.matvec).of(matrix));
    bind_matrix(matrix);
    recorder_.bind(3, x);
    recorder_.bind(4, y);
    recorder_.bytes(5, args);
    const gpu::Size3 tiles{groups_of(matrix.rows, FM_MATMUL_ROWS), groups_of(tokens, FM_MATMUL_TOKENS), 1};
    if (tiled) recorder_.dispatch(tiles, FM_MATMUL_THREADS);
    else if (matrix.bits == 0) recorder_.dispatch({groups_of(matrix.rows, kSimds), tokens, 1}, kThreads);
    else recorder_.dispatch({share.groups, tokens, 1}, FM_ROW_SIMDS * kSimd);
}

void MetalBackend::clear(Span y, size_t count) {
    recorder_.begin(kernels_.clear);
    recorder_.bind(0, y);
    recorder_.bytes(1, FmCountArgs{static_cast<uint32_t>(count)});
    recorder_.dispatch({groups_of(count, kThreads), 1, 1}, kThreads);
}

void MetalBackend::add(Span y, Span x, size_t count) {
    recorder_.begin(kernels_.add);
    recorder_.bind(0, y);
    recorder_.bind(1, x);
    recorder_.bytes(2, FmCountArgs{static_cast<uint32_t>(count)});
    recorder_.dispatch({groups_of(count, kThreads), 1, 1}, kThreads);
}

void MetalBackend::add_gated(Span y, Span x, Span gate, uint32_t width, uint32_t tokens) {
    recorder_.begin(kernels_.add_gated);
    recorder_.bind(0, y);
    recorder_.bind(1, x);
    recorder_.bind(2, gate ? gate : x);
    recorder_.bytes(3, FmGatedAddArgs{width, gate ? 1u : 0u});
    recorder_.dispatch({groups_of(width, kThreads), tokens, 1}, kThreads);
    gated_ = recorder_.counters().dispatches;
}

void MetalBackend::swiglu(Span gate, Span up, Span y, size_t count) {
    recorder_.begin(kernels_.swiglu);
    recorder_.bind(0, gate);
    recorder_.bind(1, up);
    recorder_.bind(2, y);
    recorder_.bytes(3, FmCountArgs{static_cast<uint32_t>(count)});
    recorder_.dispatch({groups_of(count, kThreads), 1, 1}, kThreads);
}

} // namespace flashmoe::metal
