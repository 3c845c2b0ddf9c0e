// Linear maps of plain elements. x is copied and padded with zeros to whole vectors.
namespace flashmoe::cpu {
namespace {

/// Vectors that a row sums before they join its total.
constexpr uint32_t kPlainRun = 8;
/// Rows that share a run of x while it is in the nearest cache, and tokens that share a widening of the weights.
constexpr uint32_t kPlainRows = 16, kPlainTokens = 4;

size_t plain_floats(const Matrix& matrix) { return (size_t{matrix.cols} + kLanes - 1) / kLanes * kLanes; }

void plain_prepare(const Matrix& matrix, const float* x, float* prepared) {
    std::memcpy(prepared, x, matrix.cols * sizeof(float));
    std::memset(prepared + matrix.cols, 0, (plain_floats(matrix) - matrix.cols) * sizeof(float));
}

template <ElementType kType, uint32_t kTokens>
FM_INLINE void add_vector(const std::byte* values, uint32_t c, uint32_t count, const float* x, size_t stride, F* sums) {
    const F weight = Lanes::params(kType, values + c * element_bytes(kType), count);
    FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) sums[t] = Lanes::fma(weight, Lanes::load(x + t * stride + c), sums[t]);
}

/// Adds kPlainRun vectors of a plain row, from column c0.
template <ElementType kType, uint32_t kTokens>
FM_INLINE void add_plain(const Matrix& matrix, uint32_t row, uint32_t c0, const float* x, size_t stride, F* total) {
    const std::byte* values = weight_row(matrix, row);
    const uint32_t last = std::min(matrix.cols, c0 + kPlainRun * kLanes);
    F sums[kTokens];
    FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) sums[t] = Lanes::zero();
    uint32_t c = c0;
    for (; c + kLanes <= last; c += kLanes) add_vector<kType, kTokens>(values, c, kLanes, x, stride, sums);
    if (c < last) add_vector<kType, kTokens>(values, c, last - c, x, stride, sums);
    FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) total[t] = Lanes::add(total[t], sums[t]);
}

/// kTokens tokens against rows [first, last), at most kPlainRows. A token sees the same operations in the same order
/// whatever kTokens is.
template <ElementType kType, uint32_t kTokens>
FM_TARGET void plain_tile(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, float* y,
                          size_t y_stride) {
    F totals[kPlainRows][kTokens];
    const uint32_t count = last - first;
    for (uint32_t i = 0; i < count; ++i) {
        FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) totals[i][t] = Lanes::zero();
    }
    for (uint32_t c = 0; c < matrix.cols; c += kPlainRun * kLanes) {
        for (uint32_t i = 0; i < count; ++i) add_plain<kType, kTokens>(matrix, first + i, c, x, stride, totals[i]);
    }
    for (uint32_t i = 0; i < count; ++i) {
        FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) y[t * y_stride + i] = Lanes::sum(totals[i][t]);
    }
}

template <ElementType kType>
void plain_rows_of(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, uint32_t tokens,
                   float* y, size_t y_stride) {
    // One token: weights stream from memory, one row after the other.
    const uint32_t block = tokens == 1 ? 1 : kPlainRows;
    for (uint32_t r = first; r < last; r += block) {
        const uint32_t end = std::min(last, r + block);
        float* out = y + (r - first);
        uint32_t t = 0;
        for (; t + kPlainTokens <= tokens; t += kPlainTokens) {
            plain_tile<kType, kPlainTokens>(matrix, r, end, x + t * stride, stride, out + t * y_stride, y_stride);
        }
        for (; t < tokens; ++t) plain_tile<kType, 1>(matrix, r, end, x + t * stride, stride, out + t * y_stride, y_stride);
    }
}

void plain_rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                uint32_t tokens, float* y, size_t y_stride) {
    const auto run = matrix.type == ElementType::bf16  ? plain_rows_of<ElementType::bf16>
                     : matrix.type == ElementType::f16 ? plain_rows_of<ElementType::f16>
                                                       : plain_rows_of<ElementType::f32>;
    run(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace
} // namespace flashmoe::cpu
