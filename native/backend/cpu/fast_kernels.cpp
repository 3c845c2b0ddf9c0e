#include "backend/cpu/fast_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/fast_rows.h"
#include "core/half.h"

namespace flashmoe::cpu {
namespace {

float parameter(ElementType type, const std::byte* from) {
    uint16_t bits;
    float value;
    if (type == ElementType::f32) {
        std::memcpy(&value, from, sizeof value);
        return value;
    }
    std::memcpy(&bits, from, sizeof bits);
    return type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
}

/// 8-bit codes of up to 32 values, placed in their chunk; the scale. What is not finite makes the scale so.
float round_block(const float* x, uint32_t count, uint32_t bits, uint32_t first, int8_t* chunk) {
    float most = 0;
    bool finite = true;
    for (uint32_t i = 0; i < count; ++i) {
        finite &= std::isfinite(x[i]);
        most = std::max(most, std::fabs(x[i]));
    }
    if (!finite) return std::numeric_limits<float>::quiet_NaN();
    const float scale = most / 127, factor = most > 0 ? 127 / most : 0;
    for (uint32_t i = 0; i < count; ++i) chunk[fast_place_of(bits, first + i)] = static_cast<int8_t>(std::lrint(x[i] * factor));
    return scale;
}

void prepare_fast(const Matrix& matrix, const float* x, float* prepared) {
    const FastShape shape(matrix);
    std::memset(prepared, 0, shape.floats() * sizeof(float));
    auto* codes = reinterpret_cast<int8_t*>(prepared);
    float* lanes = prepared + shape.lanes_at();
    float* sums = prepared + shape.sums_at();
    for (uint32_t c = 0; c < matrix.cols; c += kFastBlock) {
        int8_t* chunk = codes + c / kFastChunk * kFastChunk;
        const uint32_t within = c % kFastChunk, count = std::min(kFastBlock, matrix.cols - c);
        const float scale = round_block(x + c, count, matrix.bits, within, chunk);
        int32_t sum = 0;
        for (uint32_t i = 0; i < count; ++i) sum += chunk[fast_place_of(matrix.bits, within + i)];
        sums[c / matrix.group] += scale * static_cast<float>(sum);
        for (uint32_t lane = 0; lane < kFastLanes; ++lane) {
            if (fast_block_of(matrix.bits, lane) == within / kFastBlock) lanes[c / kFastChunk * kFastLanes + lane] = scale;
        }
    }
}

/// The table that a fast one is made of: fast tables have plain functions, which find it by their own isa's slot.
template <int kSlot> struct Mixed {
    static inline const Kernels* exact = nullptr;
    static inline FastRows fast = nullptr;

    static size_t prepared_floats(const Matrix& matrix) {
        return is_fast(matrix) ? FastShape(matrix).floats() : exact->prepared_floats(matrix);
    }
    static void prepare(const Matrix& matrix, const float* x, float* prepared) {
        if (is_fast(matrix)) prepare_fast(matrix, x, prepared);
        else exact->prepare(matrix, x, prepared);
    }
    static void rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                     uint32_t tokens, float* y, size_t y_stride) {
        (is_fast(matrix) ? fast : exact->rows)(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
    }
    static Kernels table(const Kernels& of, FastRows rows_of) {
        exact = &of;
        fast = rows_of;
        Kernels made = of;
        made.prepared_floats = prepared_floats;
        made.prepare = prepare;
        made.rows = rows;
        return made;
    }
};

} // namespace

void fast_rows_scalar(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride) {
    const FastShape shape(matrix);
    const uint32_t mask = (1u << matrix.bits) - 1, per_byte = 8 / matrix.bits;
    for (uint32_t r = first; r < last; ++r) {
        const std::byte* row = matrix.weight.as<const std::byte>() + r * shape.row_bytes;
        const std::byte* scales = matrix.scales.as<const std::byte>() + size_t{r} * shape.groups * shape.param_bytes;
        const std::byte* biases = matrix.biases.as<const std::byte>() + size_t{r} * shape.groups * shape.param_bytes;
        for (uint32_t t = 0; t < tokens; ++t) {
            const float* x = prepared + t * prepared_stride;
            const auto* codes = reinterpret_cast<const int8_t*>(x);
            float total = 0;
            for (uint32_t g = 0; g < shape.groups; ++g) {
                total += parameter(matrix.type, biases + g * shape.param_bytes) * x[shape.sums_at() + g];
            }
            for (uint32_t c = 0; c < matrix.cols; c += kFastBlock) {
                const int8_t* chunk = codes + c / kFastChunk * kFastChunk;
                int32_t sum = 0;
                for (uint32_t i = c; i < std::min(matrix.cols, c + kFastBlock); ++i) {
                    const uint32_t code = std::to_integer<uint32_t>(row[i / per_byte]) >> (i % per_byte * matrix.bits) & mask;
                    sum += static_cast<int32_t>(code) * chunk[fast_place_of(matrix.bits, i % kFastChunk)];
                }
                uint32_t lane = 0;
                while (fast_block_of(matrix.bits, lane) != c % kFastChunk / kFastBlock) ++lane;
                const float scale = parameter(matrix.type, scales + c / matrix.group * shape.param_bytes);
                total += scale * x[shape.lanes_at() + c / kFastChunk * kFastLanes + lane] * static_cast<float>(sum);
            }
            y[t * y_stride + (r - first)] = total;
        }
    }
}

const Kernels& fast_kernels(const Kernels& exact) {
    if (std::strcmp(exact.isa, "scalar") == 0) {
        static const Kernels table = Mixed<0>::table(exact, fast_rows_scalar);
        return table;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (std::strcmp(exact.isa, "avx2") == 0) {
        static const Kernels table = Mixed<1>::table(exact, fast_rows_avx2);
        return table;
    }
    if (std::strcmp(exact.isa, "avx512") == 0) {
        static const Kernels table =
            Mixed<2>::table(exact, __builtin_cpu_supports("avx512vnni") ? fast_rows_vnni : fast_rows_avx2);
        return table;
    }
#endif
    // An instruction set without integer rows computes exactly.
    return exact;
}

} // namespace flashmoe::cpu
