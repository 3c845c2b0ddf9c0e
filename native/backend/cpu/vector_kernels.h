// The kernels once, over a vector type. An instruction set's file defines FM_TARGET (its target attribute) and a
// struct Lanes (its vectors) in an unnamed namespace, then includes this; nothing else may include it.
//
// Codes are widened where they lie: a register of words is shifted by whole codes, so lane l of step j holds code j of
// word l. x is therefore rearranged once a linear: [block of kLanes words][code j][lane l].
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "backend/cpu/kernels.h"

#define FM_INLINE FM_TARGET inline __attribute__((always_inline))
// Small arrays of vectors become registers only when the loops over them are unrolled.
#if defined(__clang__)
#define FM_UNROLL _Pragma("unroll")
#else
#define FM_UNROLL _Pragma("GCC unroll 16")
#endif

namespace flashmoe::cpu {
namespace {

using F = Lanes::F;
constexpr uint32_t kLanes = Lanes::kLanes;
/// Tokens that share one widening of the codes.
constexpr uint32_t kTile = Lanes::kTile;
/// Vectors that a plain row sums before they join its total.
constexpr uint32_t kPlainRun = 8;

constexpr uint32_t codes_per_word(uint32_t bits) { return 32 / bits; }

size_t padded_cols(const Matrix& matrix) {
    const size_t block = matrix.bits != 0 ? size_t{kLanes} * codes_per_word(matrix.bits) : kLanes;
    return (matrix.cols + block - 1) / block * block;
}

size_t prepared_floats(const Matrix& matrix) {
    return padded_cols(matrix) + (matrix.groups() + kLanes - 1) / kLanes * kLanes;
}

const std::byte* weight_row(const Matrix& matrix, uint32_t row) {
    return matrix.weight.as<const std::byte>() + row * matrix.row_bytes();
}

template <uint32_t kBits> void rearrange(const float* x, float* out, size_t cols, size_t padded) {
    constexpr uint32_t kCodes = codes_per_word(kBits);
    for (size_t block = 0; block < padded; block += size_t{kLanes} * kCodes) {
        for (uint32_t lane = 0; lane < kLanes; ++lane) {
            const size_t from = block + size_t{lane} * kCodes;
            for (uint32_t j = 0; j < kCodes; ++j) out[block + size_t{j} * kLanes + lane] = from < cols ? x[from + j] : 0.0f;
        }
    }
}

FM_TARGET void prepare(const Matrix& matrix, const float* x, float* prepared) {
    const size_t padded = padded_cols(matrix);
    switch (matrix.bits) {
    case 2: rearrange<2>(x, prepared, matrix.cols, padded); break;
    case 4: rearrange<4>(x, prepared, matrix.cols, padded); break;
    case 8: rearrange<8>(x, prepared, matrix.cols, padded); break;
    default:
        std::memcpy(prepared, x, matrix.cols * sizeof(float));
        std::memset(prepared + matrix.cols, 0, (padded - matrix.cols) * sizeof(float));
        return;
    }
    float* sums = prepared + padded;
    const size_t groups = matrix.groups();
    for (size_t g = 0; g < groups; ++g) {
        F sum = Lanes::zero();
        for (uint32_t j = 0; j < matrix.group; j += kLanes) sum = Lanes::add(sum, Lanes::load(x + g * matrix.group + j));
        sums[g] = Lanes::sum(sum);
    }
    for (size_t g = groups; g < prepared_floats(matrix) - padded; ++g) sums[g] = 0;
}

/// What a row loop needs of a matrix, fetched once.
struct RowShape {
    uint32_t groups, group_shift, words;
    size_t padded, param_bytes;
    explicit RowShape(const Matrix& matrix)
        : groups(static_cast<uint32_t>(matrix.groups())),
          group_shift(matrix.bits != 0 ? static_cast<uint32_t>(std::countr_zero(matrix.group)) : 0),
          words(matrix.cols * matrix.bits / 32), padded(padded_cols(matrix)), param_bytes(element_bytes(matrix.type)) {}
};

/// Adds kLanes groups of a quantised row, from group g0, to the totals of kTokens tokens.
template <uint32_t kBits, uint32_t kTokens>
FM_INLINE void add_groups(const Matrix& matrix, const RowShape& shape, uint32_t row, uint32_t g0, const float* x,
                          size_t stride, F* total) {
    constexpr uint32_t kCodes = codes_per_word(kBits);
    const uint32_t count = std::min(kLanes, shape.groups - g0);
    const size_t at = (size_t{row} * shape.groups + g0) * shape.param_bytes;
    const F scales = Lanes::params(matrix.type, matrix.scales.as<const std::byte>() + at, count);
    const F biases = Lanes::params(matrix.type, matrix.biases.as<const std::byte>() + at, count);
    FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) {
        total[t] = Lanes::fma(biases, Lanes::load(x + t * stride + shape.padded + g0), total[t]);
    }
    const std::byte* codes = weight_row(matrix, row);
    const uint32_t first = (g0 << shape.group_shift) / kCodes, last = ((g0 + count) << shape.group_shift) / kCodes;
    for (uint32_t w = first; w < last; w += kLanes) {
        const auto words = Lanes::load_words(codes + size_t{w} * 4, last - w);
        const float* block = x + size_t{w} * kCodes;
        F sums[kTokens];
        FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) sums[t] = Lanes::zero();
        FM_UNROLL for (uint32_t j = 0; j < kCodes; ++j) {
            const F code = Lanes::template code<kBits>(words, j);
            FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) {
                sums[t] = Lanes::fma(code, Lanes::load(block + t * stride + size_t{j} * kLanes), sums[t]);
            }
        }
        const F scale = Lanes::template spread<kBits>(scales, (w - first) * kCodes, shape.group_shift);
        FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) total[t] = Lanes::fma(scale, sums[t], total[t]);
    }
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

/// One step of a row: kLanes groups, or a run of a plain row. `steps` of them make up the row.
template <uint32_t kBits, ElementType kType, uint32_t kTokens>
FM_INLINE void add_step(const Matrix& matrix, const RowShape& shape, uint32_t row, uint32_t step, const float* x,
                        size_t stride, F* total) {
    if constexpr (kBits != 0) add_groups<kBits, kTokens>(matrix, shape, row, step * kLanes, x, stride, total);
    else add_plain<kType, kTokens>(matrix, row, step * kLanes * kPlainRun, x, stride, total);
}

/// kTokens tokens against rows [first, last). A token sees the same operations in the same order whatever kTokens is.
template <uint32_t kBits, ElementType kType, uint32_t kTokens>
FM_TARGET void tile_rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, float* y,
                         size_t y_stride) {
    const RowShape shape(matrix);
    const uint32_t steps = kBits != 0 ? (shape.groups + kLanes - 1) / kLanes
                                      : (matrix.cols + kLanes * kPlainRun - 1) / (kLanes * kPlainRun);
    if constexpr (kTokens == 1) {
        // Weights stream from memory: one row after the other.
        for (uint32_t r = first; r < last; ++r) {
            F total[1] = {Lanes::zero()};
            for (uint32_t step = 0; step < steps; ++step) add_step<kBits, kType, 1>(matrix, shape, r, step, x, stride, total);
            y[r - first] = Lanes::sum(total[0]);
        }
        return;
    }
    // Step by step over a few rows: the step's part of every x stays in the nearest cache.
    constexpr uint32_t kRows = 16;
    float totals[kRows][kTokens][kLanes];
    for (uint32_t r0 = first; r0 < last; r0 += kRows) {
        const uint32_t count = std::min(kRows, last - r0);
        std::memset(totals, 0, sizeof totals);
        for (uint32_t step = 0; step < steps; ++step) {
            for (uint32_t i = 0; i < count; ++i) {
                F total[kTokens];
                FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) total[t] = Lanes::load(totals[i][t]);
                add_step<kBits, kType, kTokens>(matrix, shape, r0 + i, step, x, stride, total);
                FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) Lanes::store(totals[i][t], total[t]);
            }
        }
        for (uint32_t i = 0; i < count; ++i) {
            FM_UNROLL for (uint32_t t = 0; t < kTokens; ++t) y[t * y_stride + (r0 + i - first)] = Lanes::sum(Lanes::load(totals[i][t]));
        }
    }
}

/// kType is the element type of a plain matrix; quantised ones pass u32.
template <uint32_t kBits, ElementType kType>
void rows_of(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, uint32_t tokens, float* y,
             size_t y_stride) {
    uint32_t t = 0;
    for (; t + kTile <= tokens; t += kTile) {
        tile_rows<kBits, kType, kTile>(matrix, first, last, x + t * stride, stride, y + t * y_stride, y_stride);
    }
    for (; t + 2 <= tokens; t += 2) {
        tile_rows<kBits, kType, 2>(matrix, first, last, x + t * stride, stride, y + t * y_stride, y_stride);
    }
    if (t < tokens) tile_rows<kBits, kType, 1>(matrix, first, last, x + t * stride, stride, y + t * y_stride, y_stride);
}

void rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
          uint32_t tokens, float* y, size_t y_stride) {
    const auto run = matrix.bits == 2                    ? rows_of<2, ElementType::u32>
                     : matrix.bits == 4                  ? rows_of<4, ElementType::u32>
                     : matrix.bits == 8                  ? rows_of<8, ElementType::u32>
                     : matrix.type == ElementType::bf16 ? rows_of<0, ElementType::bf16>
                     : matrix.type == ElementType::f16  ? rows_of<0, ElementType::f16>
                                                         : rows_of<0, ElementType::f32>;
    run(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

/// Columns a step of add_transposed works on, so that its sums fit the stack.
constexpr uint32_t kTransposedCols = 2048;

/// Columns [c0, c0 + count) of y += x^T W; count a multiple of the group.
template <uint32_t kBits>
FM_TARGET void transposed_part(const Matrix& matrix, uint32_t first, uint32_t rows, const float* x, float* y, uint32_t c0,
                               uint32_t count) {
    constexpr uint32_t kCodes = codes_per_word(kBits);
    const RowShape shape(matrix);
    float sums[kTransposedCols], biases[kTransposedCols / 32];
    const uint32_t g0 = c0 >> shape.group_shift, groups = count >> shape.group_shift;
    std::memset(sums, 0, sizeof sums);
    std::memset(biases, 0, sizeof biases);
    for (uint32_t r = 0; r < rows; ++r) {
        const F factor = Lanes::set1(x[r]);
        const std::byte* codes = weight_row(matrix, first + r);
        for (uint32_t g = 0; g < groups; g += kLanes) {
            const uint32_t some = std::min(kLanes, groups - g);
            const size_t at = (size_t{first + r} * shape.groups + g0 + g) * shape.param_bytes;
            const F scales = Lanes::mul(factor, Lanes::params(matrix.type, matrix.scales.as<const std::byte>() + at, some));
            const F offsets = Lanes::params(matrix.type, matrix.biases.as<const std::byte>() + at, some);
            Lanes::store(biases + g, Lanes::fma(factor, offsets, Lanes::load(biases + g)));
            const uint32_t from = (g << shape.group_shift) / kCodes, to = ((g + some) << shape.group_shift) / kCodes;
            for (uint32_t w = from; w < to; w += kLanes) {
                const auto words = Lanes::load_words(codes + (size_t{c0} / kCodes + w) * 4, to - w);
                const F scale = Lanes::template spread<kBits>(scales, (w - from) * kCodes, shape.group_shift);
                float* block = sums + size_t{w} * kCodes;
                for (uint32_t j = 0; j < kCodes; ++j) {
                    float* sum = block + size_t{j} * kLanes;
                    Lanes::store(sum, Lanes::fma(Lanes::template code<kBits>(words, j), scale, Lanes::load(sum)));
                }
            }
        }
    }
    for (uint32_t c = 0; c < count; ++c) {
        const uint32_t word = c / kCodes;
        const uint32_t at = word / kLanes * kLanes * kCodes + c % kCodes * kLanes + word % kLanes;
        y[c0 + c] += sums[at] + biases[c >> shape.group_shift];
    }
}

FM_TARGET void add_transposed_plain(const Matrix& matrix, uint32_t first, uint32_t count, const float* x, float* y) {
    const size_t bytes = element_bytes(matrix.type);
    for (uint32_t r = 0; r < count; ++r) {
        const std::byte* values = weight_row(matrix, first + r);
        const F factor = Lanes::set1(x[r]);
        for (uint32_t c = 0; c < matrix.cols; c += kLanes) {
            const uint32_t some = std::min(kLanes, matrix.cols - c);
            const F value = Lanes::params(matrix.type, values + c * bytes, some);
            Lanes::store_some(y + c, Lanes::fma(factor, value, Lanes::load_some(y + c, some)), some);
        }
    }
}

void add_transposed(const Matrix& matrix, uint32_t first, uint32_t count, const float* x, float* y) {
    if (matrix.bits == 0) return add_transposed_plain(matrix, first, count, x, y);
    const auto part = matrix.bits == 2 ? transposed_part<2> : matrix.bits == 4 ? transposed_part<4> : transposed_part<8>;
    for (uint32_t c = 0; c < matrix.cols; c += kTransposedCols) {
        part(matrix, first, count, x, y, c, std::min(kTransposedCols, matrix.cols - c));
    }
}

FM_TARGET float dot_kv(const float* q, const KvCode* k, uint32_t n) {
    F a = Lanes::zero(), b = Lanes::zero();
    uint32_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
        a = Lanes::fma(Lanes::load(q + i), Lanes::codes(k + i), a);
        b = Lanes::fma(Lanes::load(q + i + kLanes), Lanes::codes(k + i + kLanes), b);
    }
    for (; i + kLanes <= n; i += kLanes) a = Lanes::fma(Lanes::load(q + i), Lanes::codes(k + i), a);
    float rest = 0;
    for (; i < n; ++i) rest += q[i] * static_cast<float>(k[i]);
    return Lanes::sum(Lanes::add(a, b)) + rest;
}

FM_TARGET void add_kv(float* y, float weight, const KvCode* v, uint32_t n) {
    const F factor = Lanes::set1(weight);
    uint32_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        Lanes::store(y + i, Lanes::fma(factor, Lanes::codes(v + i), Lanes::load(y + i)));
    }
    for (; i < n; ++i) y[i] += weight * static_cast<float>(v[i]);
}

FM_TARGET void rms_norm(const float* x, const float* weight, float* y, uint32_t n, float eps) {
    F squares = Lanes::zero();
    uint32_t i = 0;
    for (; i < n; i += kLanes) {
        const F value = Lanes::load_some(x + i, std::min(kLanes, n - i));
        squares = Lanes::fma(value, value, squares);
    }
    const F factor = Lanes::set1(1.0f / std::sqrt(Lanes::sum(squares) / static_cast<float>(n) + eps));
    for (i = 0; i < n; i += kLanes) {
        const uint32_t some = std::min(kLanes, n - i);
        const F value = Lanes::mul(Lanes::load_some(x + i, some), factor);
        Lanes::store_some(y + i, weight != nullptr ? Lanes::mul(value, Lanes::load_some(weight + i, some)) : value, some);
    }
}

/// e^x by 2^n * e^r with |r| <= ln(2)/2 and the series to the sixth power: some 1e-7 relative. Arguments are held to
/// +-87, where f32 still has a normal result; NaN stays NaN.
FM_INLINE F exponential(F x) {
    const F held = Lanes::clamp(x, -87.0f, 87.0f);
    const F n = Lanes::round(Lanes::mul(held, Lanes::set1(1.44269504f)));
    // ln 2 in two parts, so that the product's rounding doesn't show.
    F r = Lanes::fma(n, Lanes::set1(-0.693359375f), held);
    r = Lanes::fma(n, Lanes::set1(2.12194440e-4f), r);
    F p = Lanes::set1(1.0f / 720);
    for (const float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = Lanes::fma(p, r, Lanes::set1(c));
    return Lanes::scale_by_power(p, n);
}

FM_INLINE F sigmoid(F x) {
    const F one = Lanes::set1(1.0f);
    return Lanes::div(one, Lanes::add(one, exponential(Lanes::mul(x, Lanes::set1(-1.0f)))));
}

FM_TARGET void swiglu(const float* gate, const float* up, float* y, size_t n) {
    for (size_t i = 0; i < n; i += kLanes) {
        const auto some = static_cast<uint32_t>(std::min<size_t>(kLanes, n - i));
        const F g = Lanes::load_some(gate + i, some);
        Lanes::store_some(y + i, Lanes::mul(Lanes::mul(g, sigmoid(g)), Lanes::load_some(up + i, some)), some);
    }
}

FM_TARGET void multiply_sigmoid(float* y, const float* gate, uint32_t n) {
    for (uint32_t i = 0; i < n; i += kLanes) {
        const uint32_t some = std::min(kLanes, n - i);
        Lanes::store_some(y + i, Lanes::mul(Lanes::load_some(y + i, some), sigmoid(Lanes::load_some(gate + i, some))), some);
    }
}

FM_TARGET float softmax_terms(float* x, float max, uint32_t n) {
    const F shift = Lanes::set1(-max);
    float sum = 0;
    for (uint32_t i = 0; i < n; i += kLanes) {
        const uint32_t some = std::min(kLanes, n - i);
        Lanes::store_some(x + i, exponential(Lanes::add(Lanes::load_some(x + i, some), shift)), some);
        for (uint32_t j = 0; j < some; ++j) sum += x[i + j];
    }
    return sum;
}

FM_TARGET void convolve(const Convolution& op, uint32_t first, uint32_t last) {
    const uint32_t past = op.kernel - 1;
    for (uint32_t c = first; c < last; c += kLanes) {
        const uint32_t some = std::min(kLanes, last - c);
        F window[kMaxConvKernel], weight[kMaxConvKernel];
        for (uint32_t i = 0; i < op.kernel; ++i) weight[i] = Lanes::load_some(op.weights + i * op.channels + c, some);
        for (uint32_t i = 0; i < past; ++i) window[i] = Lanes::load_some(op.history + i * op.channels + c, some);
        for (uint32_t t = 0; t < op.tokens; ++t) {
            float* value = op.values + t * op.channels + c;
            window[past] = Lanes::load_some(value, some);
            F sum = Lanes::mul(weight[0], window[0]);
            for (uint32_t i = 1; i < op.kernel; ++i) sum = Lanes::fma(weight[i], window[i], sum);
            Lanes::store_some(value, Lanes::mul(sum, sigmoid(sum)), some);
            for (uint32_t i = 0; i < past; ++i) window[i] = window[i + 1];
        }
        for (uint32_t i = 0; i < past; ++i) Lanes::store_some(op.history + i * op.channels + c, window[i], some);
    }
}

FM_TARGET void delta_rows(float* state, uint32_t rows, uint32_t key_dim, const float* k, const float* q, const float* v,
                          float decay, float beta, float* out) {
    if (key_dim % kLanes != 0) {
        scalar_kernels().delta_rows(state, rows, key_dim, k, q, v, decay, beta, out);
        return;
    }
    const F shrink = Lanes::set1(decay);
    for (uint32_t r = 0; r < rows; ++r) {
        float* s = state + size_t{r} * key_dim;
        F recall = Lanes::zero();
        for (uint32_t i = 0; i < key_dim; i += kLanes) {
            const F kept = Lanes::mul(Lanes::load(s + i), shrink);
            Lanes::store(s + i, kept);
            recall = Lanes::fma(kept, Lanes::load(k + i), recall);
        }
        const F delta = Lanes::set1(beta * (v[r] - Lanes::sum(recall)));
        F sum = Lanes::zero();
        for (uint32_t i = 0; i < key_dim; i += kLanes) {
            const F next = Lanes::fma(delta, Lanes::load(k + i), Lanes::load(s + i));
            Lanes::store(s + i, next);
            sum = Lanes::fma(next, Lanes::load(q + i), sum);
        }
        out[r] = Lanes::sum(sum);
    }
}

/// The scalar table with everything above in its place; `isa` names it.
Kernels vector_table(const char* isa) {
    Kernels table = scalar_kernels();
    table.isa = isa;
    table.prepared_floats = prepared_floats;
    table.prepare = prepare;
    table.rows = rows;
    table.add_transposed = add_transposed;
    table.dot_kv = dot_kv;
    table.add_kv = add_kv;
    table.rms_norm = rms_norm;
    table.swiglu = swiglu;
    table.multiply_sigmoid = multiply_sigmoid;
    table.softmax_terms = softmax_terms;
    table.convolve = convolve;
    table.delta_rows = delta_rows;
    return table;
}

} // namespace
} // namespace flashmoe::cpu
