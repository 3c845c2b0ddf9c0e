// Plain C++ kernels: the definition the others are tested against.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/decode.h"
#include "backend/cpu/kernels.h"
#include "core/half.h"

namespace flashmoe::cpu {
namespace {

float load(ElementType type, const std::byte* base, size_t index) {
    if (type == ElementType::f32) {
        float value;
        std::memcpy(&value, base + index * 4, 4);
        return value;
    }
    uint16_t bits;
    std::memcpy(&bits, base + index * 2, 2);
    return type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
}

/// Code j of a packed row: little-endian bytes, least significant code first.
uint32_t code(const std::byte* row, uint32_t bits, size_t j) {
    const size_t bit = j * bits;
    return (static_cast<uint32_t>(row[bit / 8]) >> (bit % 8)) & ((1u << bits) - 1);
}

const std::byte* weight_row(const Matrix& matrix, uint32_t row) {
    return matrix.weight.as<const std::byte>() + row * matrix.row_bytes();
}

/// What has a loop of its own here: plain elements and common codes.
bool is_decoded(const Matrix& matrix) { return matrix.bits != 0 && !matrix.is_common(); }

size_t prepared_floats(const Matrix& matrix) { return matrix.cols + (is_decoded(matrix) ? 0 : matrix.groups()); }

/// x, then the sum of each group.
void prepare(const Matrix& matrix, const float* x, float* prepared) {
    std::memcpy(prepared, x, matrix.cols * sizeof(float));
    if (is_decoded(matrix)) return;
    for (size_t g = 0; g < matrix.groups(); ++g) {
        float sum = 0;
        for (uint32_t j = 0; j < matrix.group; ++j) sum += x[g * matrix.group + j];
        prepared[matrix.cols + g] = sum;
    }
}

float quantised_row(const Matrix& matrix, uint32_t row, const float* x) {
    const std::byte* codes = weight_row(matrix, row);
    const std::byte* scales = matrix.scales.as<const std::byte>();
    const std::byte* biases = matrix.biases.as<const std::byte>();
    const float* sums = x + matrix.cols;
    float total = 0;
    for (size_t g = 0; g < matrix.groups(); ++g) {
        float dot = 0;
        for (size_t j = g * matrix.group; j < (g + 1) * matrix.group; ++j) {
            dot += static_cast<float>(code(codes, matrix.bits, j)) * x[j];
        }
        const size_t index = row * matrix.groups() + g;
        total += load(matrix.type, scales, index) * dot + load(matrix.type, biases, index) * sums[g];
    }
    return total;
}

float plain_row(const Matrix& matrix, uint32_t row, const float* x) {
    const std::byte* values = weight_row(matrix, row);
    // Runs of 64 keep the rounding of long rows near that of a group.
    float total = 0;
    for (uint32_t start = 0; start < matrix.cols; start += 64) {
        float dot = 0;
        for (uint32_t j = start; j < matrix.cols && j < start + 64; ++j) dot += load(matrix.type, values, j) * x[j];
        total += dot;
    }
    return total;
}

float decoded_row(const Matrix& matrix, uint32_t row, const float* x) {
    float values[kDecodedTile];
    float total = 0;
    for (uint32_t c = 0; c < matrix.cols; c += kDecodedTile) {
        const uint32_t count = std::min(kDecodedTile, matrix.cols - c);
        decode(matrix, row, c, count, values);
        float dot = 0;
        for (uint32_t j = 0; j < count; ++j) dot += values[j] * x[c + j];
        total += dot;
    }
    return total;
}

void rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
          uint32_t tokens, float* y, size_t y_stride) {
    const auto row = matrix.bits == 0 ? plain_row : is_decoded(matrix) ? decoded_row : quantised_row;
    for (uint32_t r = first; r < last; ++r) {
        for (uint32_t t = 0; t < tokens; ++t) {
            y[t * y_stride + (r - first)] = row(matrix, r, prepared + t * prepared_stride);
        }
    }
}

void row_values(const Matrix& matrix, uint32_t row, float* out) {
    if (is_decoded(matrix)) {
        for (uint32_t c = 0; c < matrix.cols; c += kDecodedTile) {
            decode(matrix, row, c, std::min(kDecodedTile, matrix.cols - c), out + c);
        }
        return;
    }
    const std::byte* values = weight_row(matrix, row);
    for (uint32_t j = 0; j < matrix.cols; ++j) {
        if (matrix.bits == 0) {
            out[j] = load(matrix.type, values, j);
            continue;
        }
        const size_t index = row * matrix.groups() + j / matrix.group;
        out[j] = load(matrix.type, matrix.scales.as<const std::byte>(), index) *
                     static_cast<float>(code(values, matrix.bits, j)) +
                 load(matrix.type, matrix.biases.as<const std::byte>(), index);
    }
}

void add_transposed(const Matrix& matrix, uint32_t first, uint32_t count, const float* x, float* y) {
    std::vector<float> decoded(is_decoded(matrix) ? matrix.cols : 0);
    for (uint32_t r = 0; r < count; ++r) {
        if (is_decoded(matrix)) {
            row_values(matrix, first + r, decoded.data());
            for (uint32_t j = 0; j < matrix.cols; ++j) y[j] += x[r] * decoded[j];
            continue;
        }
        const std::byte* values = weight_row(matrix, first + r);
        for (uint32_t j = 0; j < matrix.cols; ++j) {
            if (matrix.bits == 0) {
                y[j] += x[r] * load(matrix.type, values, j);
                continue;
            }
            const size_t index = (first + r) * matrix.groups() + j / matrix.group;
            y[j] += x[r] * (load(matrix.type, matrix.scales.as<const std::byte>(), index) *
                                static_cast<float>(code(values, matrix.bits, j)) +
                            load(matrix.type, matrix.biases.as<const std::byte>(), index));
        }
    }
}

float dot_kv(const float* q, const KvCode* k, uint32_t n) {
    float sum = 0;
    for (uint32_t i = 0; i < n; ++i) sum += q[i] * static_cast<float>(k[i]);
    return sum;
}

void add_kv(float* y, float weight, const KvCode* v, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) y[i] += weight * static_cast<float>(v[i]);
}

float store_kv(KvCode* target, const float* values, uint32_t n) {
    float most = 0, poison = 0;
    for (uint32_t i = 0; i < n; ++i) {
        most = std::fmax(most, std::fabs(values[i]));
        poison += values[i] * 0.0f;
    }
    // Integers hold no NaN and no infinity: the scale carries them on. Below 1e-30 the inverse would overflow.
    const bool sound = poison == 0.0f && most >= 1e-30f;
    const float factor = sound ? 32767.0f / most : 0.0f;
    for (uint32_t i = 0; i < n; ++i) target[i] = sound ? static_cast<KvCode>(std::lrint(values[i] * factor)) : KvCode{0};
    return sound ? most / 32767.0f : poison;
}

void rms_norm(const float* x, const float* weight, float* y, uint32_t n, float eps) {
    float sum = 0;
    for (uint32_t i = 0; i < n; ++i) sum += x[i] * x[i];
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
    for (uint32_t i = 0; i < n; ++i) y[i] = x[i] * factor * (weight != nullptr ? weight[i] : 1.0f);
}

void swiglu(const float* gate, const float* up, float* y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void multiply_sigmoid(float* y, const float* gate, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) y[i] /= 1.0f + std::exp(-gate[i]);
}

float softmax_terms(float* x, float max, uint32_t n) {
    float sum = 0;
    for (uint32_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - max);
    return sum;
}

void convolve(const Convolution& op, uint32_t first, uint32_t last) {
    const uint32_t past = op.kernel - 1;
    for (uint32_t c = first; c < last; ++c) {
        float window[kMaxConvKernel];
        for (uint32_t i = 0; i < past; ++i) window[i] = op.history[i * op.channels + c];
        for (uint32_t t = 0; t < op.tokens; ++t) {
            float& value = op.values[t * op.channels + c];
            window[past] = value;
            float sum = 0;
            for (uint32_t i = 0; i < op.kernel; ++i) sum += op.weights[i * op.channels + c] * window[i];
            value = sum / (1.0f + std::exp(-sum));
            for (uint32_t i = 0; i < past; ++i) window[i] = window[i + 1];
        }
        for (uint32_t i = 0; i < past; ++i) op.history[i * op.channels + c] = window[i];
    }
}

void delta_rows(float* state, uint32_t rows, uint32_t key_dim, const float* k, const float* q, const float* v,
                float decay, float beta, float* out) {
    for (uint32_t r = 0; r < rows; ++r) {
        float* s = state + size_t{r} * key_dim;
        float recall = 0;
        for (uint32_t i = 0; i < key_dim; ++i) {
            s[i] *= decay;
            recall += s[i] * k[i];
        }
        const float delta = beta * (v[r] - recall);
        float sum = 0;
        for (uint32_t i = 0; i < key_dim; ++i) {
            s[i] += delta * k[i];
            sum += s[i] * q[i];
        }
        out[r] = sum;
    }
}

} // namespace

void add_bias(const Matrix& matrix, uint32_t first, uint32_t last, uint32_t tokens, float* y, size_t y_stride) {
    if (!matrix.has_bias) return;
    for (uint32_t r = first; r < last; ++r) {
        const float bias = load(matrix.bias_type, matrix.bias.as<const std::byte>(), r);
        for (uint32_t t = 0; t < tokens; ++t) y[t * y_stride + (r - first)] += bias;
    }
}

void clamped_unit(const float* gate, const float* up, float* y, size_t n, float limit) {
    for (size_t i = 0; i < n; ++i) {
        const float g = std::min(gate[i], limit), u = std::clamp(up[i], -limit, limit);
        y[i] = (u + 1.0f) * g / (1.0f + std::exp(-1.702f * g));
    }
}

const Kernels& scalar_kernels() {
    static const Kernels table{.isa = "scalar",
                               .prepared_floats = prepared_floats,
                               .prepare = prepare,
                               .rows = rows,
                               .row_values = row_values,
                               .add_transposed = add_transposed,
                               .dot_kv = dot_kv,
                               .add_kv = add_kv,
                               .store_kv = store_kv,
                               .rms_norm = rms_norm,
                               .swiglu = swiglu,
                               .multiply_sigmoid = multiply_sigmoid,
                               .softmax_terms = softmax_terms,
                               .convolve = convolve,
                               .delta_rows = delta_rows};
    return table;
}

} // namespace flashmoe::cpu
