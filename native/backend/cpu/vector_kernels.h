// Every kernel once, over a vector type; vector_base.h says how.
#include "backend/cpu/vector_base.h"
#include "backend/cpu/plain_rows.h"
#include "backend/cpu/quantised_rows.h"
#include "backend/cpu/decoded_rows.h"

namespace flashmoe::cpu {
namespace {

size_t prepared_floats(const Matrix& matrix) {
    return matrix.bits != 0 && matrix.is_common() ? quantised_floats(matrix) : plain_floats(matrix);
}

void prepare(const Matrix& matrix, const float* x, float* prepared) {
    (matrix.bits != 0 && matrix.is_common() ? quantised_prepare : plain_prepare)(matrix, x, prepared);
}

void rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
          uint32_t tokens, float* y, size_t y_stride) {
    const auto run = matrix.bits == 0 ? plain_rows : matrix.is_common() ? quantised_rows : decoded_rows;
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
    if (!matrix.is_common()) return add_decoded_transposed(matrix, first, count, x, y);
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
