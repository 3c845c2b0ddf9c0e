// Norms, linears and elementwise operations. Attention, delta net, router and experts have their own files.
#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>

namespace flashmoe::cpu {
namespace {

// Below this many multiplications a second thread costs more than it brings.
constexpr size_t kLeastWork = 1 << 14;

} // namespace

CpuBackend::CpuBackend(uint32_t threads, const Kernels& kernels) : kernels_(kernels), pool_(std::max(threads, 1u)) {}

float* CpuBackend::room(std::vector<float>& storage, size_t floats) {
    constexpr size_t kLine = 64 / sizeof(float);
    if (storage.size() < floats + kLine) storage.resize(floats + kLine);
    const auto address = reinterpret_cast<uintptr_t>(storage.data());
    return reinterpret_cast<float*>((address + 63) / 64 * 64);
}

void CpuBackend::trim() {
    for (std::vector<float>* storage : {&prepared_, &inner_, &partials_, &worker_room_, &queries_}) *storage = {};
}

void CpuBackend::embed(const Matrix& table, Span ids, Span y, uint32_t tokens) {
    const int32_t* id = ids.as<int32_t>();
    float* out = y.as<float>();
    for (uint32_t t = 0; t < tokens; ++t) {
        kernels_.row_values(table, static_cast<uint32_t>(id[t]), out + size_t{t} * table.cols);
    }
}

void CpuBackend::rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) {
    pool_.split(tokens, 4, [&](uint32_t first, uint32_t last, uint32_t) {
        for (size_t t = first; t < last; ++t) {
            kernels_.rms_norm(x.as<float>() + t * width, weight.as<float>(), y.as<float>() + t * width, width, eps);
        }
    });
}

void CpuBackend::linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) {
    const size_t stride = kernels_.prepared_floats(matrix);
    float* prepared = room(prepared_, stride * tokens);
    pool_.split(tokens, 4, [&](uint32_t first, uint32_t last, uint32_t) {
        for (size_t t = first; t < last; ++t) {
            kernels_.prepare(matrix, x.as<float>() + t * matrix.cols, prepared + t * stride);
        }
    });
    const auto least = static_cast<uint32_t>(kLeastWork / (size_t{matrix.cols} * tokens) + 1);
    pool_.split(matrix.rows, least, [&](uint32_t first, uint32_t last, uint32_t) {
        kernels_.rows(matrix, first, last, prepared, stride, tokens, y.as<float>() + first, matrix.rows);
        add_bias(matrix, first, last, tokens, y.as<float>() + first, matrix.rows);
    });
}

void CpuBackend::clamped_swiglu(Span gate, Span up, Span y, size_t count, float limit) {
    pool_.split(static_cast<uint32_t>(count), kLeastWork / 8, [&](uint32_t first, uint32_t last, uint32_t) {
        clamped_unit(gate.as<float>() + first, up.as<float>() + first, y.as<float>() + first, last - first, limit);
    });
}

void CpuBackend::permute(Span x, Span index, Span y, uint32_t from, uint32_t to, uint32_t tokens) {
    const uint32_t* source = index.as<const uint32_t>();
    for (size_t t = 0; t < tokens; ++t) {
        const float* row = x.as<const float>() + t * from;
        float* out = y.as<float>() + t * to;
        for (uint32_t i = 0; i < to; ++i) out[i] = row[source[i]];
    }
}

void CpuBackend::add(Span y, Span x, size_t count) {
    float* target = y.as<float>();
    const float* source = x.as<float>();
    for (size_t i = 0; i < count; ++i) target[i] += source[i];
}

void CpuBackend::add_gated(Span y, Span x, Span gate, uint32_t width, uint32_t tokens) {
    for (size_t t = 0; t < tokens; ++t) {
        float* target = y.as<float>() + t * width;
        const float* source = x.as<float>() + t * width;
        const float factor = gate ? 1.0f / (1.0f + std::exp(-gate.as<float>()[t])) : 1.0f;
        for (uint32_t i = 0; i < width; ++i) target[i] += factor * source[i];
    }
}

void CpuBackend::swiglu(Span gate, Span up, Span y, size_t count) {
    pool_.split(static_cast<uint32_t>(count), kLeastWork / 8, [&](uint32_t first, uint32_t last, uint32_t) {
        kernels_.swiglu(gate.as<float>() + first, up.as<float>() + first, y.as<float>() + first, last - first);
    });
}

} // namespace flashmoe::cpu
