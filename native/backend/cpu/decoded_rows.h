// Linear maps of weights that become floats before they are multiplied: packed codes that have no loop of their own, and blocks
// of GGUF. x is a copy. One token widens blocks in registers, as weights come from memory; more tokens share a span of a few rows
// widened into the nearest cache.
#include "backend/cpu/decode.h"

namespace flashmoe::cpu {
namespace {

/// Columns that are summed before they join a row's total.
constexpr uint32_t kSpan = 256;
static_assert(kSpan <= kDecodedTile && kSpan % quant::kMostBlockValues == 0 && kSpan % kLanes == 0);

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/block_values.h"

namespace flashmoe::cpu {
namespace {

const BlockLoops& loops_of(const Matrix& matrix) { return kBlockLoops[static_cast<size_t>(matrix.block)]; }

/// At most a span of a row, from its beginning on.
void decode_span(const Matrix& matrix, uint32_t row, uint32_t first, uint32_t count, float* out) {
    if (matrix.codes != Codes::blocks) return decode(matrix, row, first, count, out);
    const size_t at = size_t{first / matrix.group} * quant::block_bytes(matrix.block);
    loops_of(matrix).weights(weight_row(matrix, row) + at, count / matrix.group, out);
}

struct WidenedSpan {
    alignas(64) float weights[kRows][kSpan];
};

/// totals[i][t] += the span's part for kSome rows and kOf tokens.
template <uint32_t kSome, uint32_t kOf>
FM_INLINE void add_span(const WidenedSpan& span, uint32_t row, uint32_t count, const float* x, size_t stride, F (*totals)[kTokens]) {
    F sums[kSome][kOf];
    FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) {
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) sums[i][t] = Lanes::zero();
    }
    for (uint32_t c = 0; c < count; c += kLanes) {
        F weights[kSome];
        FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) weights[i] = Lanes::load(span.weights[row + i] + c);
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) {
            const F value = Lanes::load(x + t * stride + c);
            FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) sums[i][t] = Lanes::fma(weights[i], value, sums[i][t]);
        }
    }
    FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) {
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) totals[row + i][t] = Lanes::add(totals[row + i][t], sums[i][t]);
    }
}

template <uint32_t kOf>
FM_TARGET void add_span_rows(const WidenedSpan& span, uint32_t rows, uint32_t count, const float* x, size_t stride, F (*totals)[kTokens]) {
    uint32_t i = 0;
    for (; i + kTileRows <= rows; i += kTileRows) add_span<kTileRows, kOf>(span, i, count, x, stride, totals);
    for (; i < rows; ++i) add_span<1, kOf>(span, i, count, x, stride, totals);
}

/// Rows [first, first + rows), at most kRows, against at most kTokens tokens.
FM_TARGET void decoded_tile(const Matrix& matrix, uint32_t first, uint32_t rows, const float* x, size_t stride, uint32_t tokens,
                            float* y, size_t y_stride) {
    F totals[kRows][kTokens];
    WidenedSpan span;
    for (uint32_t i = 0; i < rows; ++i) {
        for (uint32_t t = 0; t < tokens; ++t) totals[i][t] = Lanes::zero();
    }
    for (uint32_t c = 0; c < matrix.cols; c += kSpan) {
        const uint32_t count = std::min(kSpan, matrix.cols - c);
        for (uint32_t i = 0; i < rows; ++i) decode_span(matrix, first + i, c, count, span.weights[i]);
        uint32_t t = 0;
        for (; t + kTileTokens <= tokens; t += kTileTokens) {
            add_span_rows<kTileTokens>(span, rows, count, x + t * stride + c, stride, reinterpret_cast<F(*)[kTokens]>(&totals[0][t]));
        }
        for (; t < tokens; ++t) add_span_rows<1>(span, rows, count, x + t * stride + c, stride, reinterpret_cast<F(*)[kTokens]>(&totals[0][t]));
    }
    for (uint32_t i = 0; i < rows; ++i) {
        for (uint32_t t = 0; t < tokens; ++t) y[t * y_stride + i] = Lanes::sum(totals[i][t]);
    }
}

void decoded_rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                  uint32_t tokens, float* y, size_t y_stride) {
    if (tokens == 1 && matrix.codes == Codes::blocks) return loops_of(matrix).rows(matrix, first, last, prepared, y);
    for (uint32_t r = first; r < last; r += kRows) {
        for (uint32_t t = 0; t < tokens; t += kTokens) {
            decoded_tile(matrix, r, std::min(kRows, last - r), prepared + t * prepared_stride, prepared_stride, std::min(kTokens, tokens - t),
                         y + t * y_stride + (r - first), y_stride);
        }
    }
}

FM_TARGET void add_decoded_transposed(const Matrix& matrix, uint32_t first, uint32_t count, const float* x, float* y) {
    float values[kSpan];
    for (uint32_t r = 0; r < count; ++r) {
        const F factor = Lanes::set1(x[r]);
        for (uint32_t c = 0; c < matrix.cols; c += kSpan) {
            const uint32_t some = std::min(kSpan, matrix.cols - c);
            decode_span(matrix, first + r, c, some, values);
            for (uint32_t i = 0; i < some; i += kLanes) {
                Lanes::store(y + c + i, Lanes::fma(factor, Lanes::load(values + i), Lanes::load(y + c + i)));
            }
        }
    }
}

} // namespace
} // namespace flashmoe::cpu
