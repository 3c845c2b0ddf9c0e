// The innermost loops, as a table of functions: one table an instruction set, chosen at run time. The scalar table
// is complete and is the truth; the others replace what pays. All accumulate in f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/backend.h"

namespace flashmoe::cpu {

using KvCode = int16_t;

constexpr uint32_t kMaxConvKernel = 16;

/// Causal depthwise convolution and silu, in place. values [tokens, channels], weights [kernel, channels],
/// history [kernel - 1, channels], which slides along.
struct Convolution {
    float* values;
    const float* weights;
    float* history;
    size_t channels;
    uint32_t tokens, kernel;
};

struct Kernels {
    const char* isa;

    /// x is rearranged once a linear for the row loops: its layout is each table's own. Floats it takes.
    size_t (*prepared_floats)(const Matrix& matrix);
    void (*prepare)(const Matrix& matrix, const float* x, float* prepared);
    /// y[t * y_stride + (r - first)] = W[r] . x[t] for r in [first, last). The result for a token doesn't depend on
    /// how many tokens go together.
    void (*rows)(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                 uint32_t tokens, float* y, size_t y_stride);
    /// out[cols] = W[row].
    void (*row_values)(const Matrix& matrix, uint32_t row, float* out);
    /// y[cols] += sum over r < count of x[r] * W[first + r].
    void (*add_transposed)(const Matrix& matrix, uint32_t first, uint32_t count, const float* x, float* y);

    /// On codes: the caller multiplies with the scale.
    float (*dot_kv)(const float* q, const KvCode* k, uint32_t n);
    /// y += weight * v; the scale is in the weight.
    void (*add_kv)(float* y, float weight, const KvCode* v, uint32_t n);
    /// Codes of n values, the largest becoming +-32767. Returns the scale.
    float (*store_kv)(KvCode* target, const float* values, uint32_t n);

    /// y = x / sqrt(mean(x^2) + eps) * weight; weight null = 1.
    void (*rms_norm)(const float* x, const float* weight, float* y, uint32_t n, float eps);
    /// y = silu(gate) * up.
    void (*swiglu)(const float* gate, const float* up, float* y, size_t n);
    /// y *= sigmoid(gate).
    void (*multiply_sigmoid)(float* y, const float* gate, uint32_t n);
    /// x = e^(x - max). Returns the sum, added up in order.
    float (*softmax_terms)(float* x, float max, uint32_t n);
    /// Channels [first, last).
    void (*convolve)(const Convolution& op, uint32_t first, uint32_t last);
    /// For each of `rows` rows s of the state: s *= decay; u = s.k; s += beta * (v - u) * k; out = s.q.
    void (*delta_rows)(float* state, uint32_t rows, uint32_t key_dim, const float* k, const float* q, const float* v,
                       float decay, float beta, float* out);
};

/// y[t * y_stride + (r - first)] += the matrix's bias for r in [first, last), where it has one.
void add_bias(const Matrix& matrix, uint32_t first, uint32_t last, uint32_t tokens, float* y, size_t y_stride);
/// As Backend::clamped_swiglu.
void clamped_unit(const float* gate, const float* up, float* y, size_t n, float limit);

const Kernels& scalar_kernels();
/// The best table this machine can run.
const Kernels& best_kernels();
/// Every table this machine can run, scalar first.
std::vector<const Kernels*> available_kernels();

} // namespace flashmoe::cpu
