#include "backend/cpu/fast_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "backend/cpu/fast_rows.h"
#include "core/half.h"

namespace flashmoe::cpu {
namespace {

void prepare_blocks(const FastBlockShape& shape, const float* x, float* prepared, RoundBlock round) {
    std::fill_n(prepared, shape.floats(), 0.0f);
    auto* codes = reinterpret_cast<int8_t*>(prepared);
    float* scales = prepared + shape.scales_at();
    float* sums = prepared + shape.sums_at();
    const uint32_t per_block = kFastBlock / shape.group;
    for (uint32_t block = 0; block < shape.blocks; ++block) {
        int8_t* of = codes + size_t{block} * kFastBlock;
        int32_t all = 0;
        scales[block] = round(x + size_t{block} * kFastBlock, 0, of, all);
        for (uint32_t g = 0; shape.has_least && g < per_block; ++g) {
            int32_t sum = 0;
            for (uint32_t i = 0; i < shape.group; ++i) sum += of[g * shape.group + i];
            sums[size_t{block} * per_block + g] = scales[block] * static_cast<float>(sum);
        }
    }
}

/// The table that a fast one is made of: tables have plain functions, which find it by their own isa's slot.
template <int kSlot> struct Mixed {
    static inline const Kernels* exact = nullptr;
    static inline FastRows fast = nullptr, fast_blocks = nullptr;
    static inline RoundBlock round = nullptr;

    static size_t prepared_floats(const Matrix& matrix) {
        if (!is_fast(matrix)) return exact->prepared_floats(matrix);
        return matrix.codes == Codes::blocks ? FastBlockShape(matrix).floats() : FastShape(matrix).floats();
    }
    static void prepare(const Matrix& matrix, const float* x, float* prepared) {
        if (!is_fast(matrix)) return exact->prepare(matrix, x, prepared);
        if (matrix.codes == Codes::blocks) return prepare_blocks(FastBlockShape(matrix), x, prepared, round);
        const FastShape shape(matrix);
        auto* codes = reinterpret_cast<int8_t*>(prepared);
        float* scales = prepared + shape.scales_at();
        float* sums = prepared + shape.sums_at();
        std::fill_n(sums, shape.groups, 0.0f);
        for (uint32_t block = 0; block < shape.blocks; ++block) {
            int32_t sum = 0;
            scales[block] = round(x + size_t{block} * kFastBlock, matrix.bits, codes + size_t{block} * kFastBlock, sum);
            sums[shape.group_of(block)] += scales[block] * static_cast<float>(sum);
        }
    }
    static void rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                     uint32_t tokens, float* y, size_t y_stride) {
        (!is_fast(matrix) ? exact->rows : matrix.codes == Codes::blocks ? fast_blocks : fast)(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
    }
    static Kernels table(const Kernels& of, FastRows rows_of, FastRows blocks_of, RoundBlock round_of) {
        exact = &of;
        fast = rows_of;
        fast_blocks = blocks_of;
        round = round_of;
        Kernels made = of;
        made.prepared_floats = prepared_floats;
        made.prepare = prepare;
        made.rows = rows;
        return made;
    }
};

} // namespace

FastShape::FastShape(const Matrix& matrix)
    : blocks(matrix.cols / kFastBlock), chunks((matrix.cols + kFastChunk - 1) / kFastChunk),
      groups(static_cast<uint32_t>(matrix.groups())), group_shift(static_cast<uint32_t>(std::countr_zero(matrix.group))),
      row_bytes(matrix.row_bytes()), param_bytes(element_bytes(matrix.type)) {}

FastBlockShape::FastBlockShape(const Matrix& matrix)
    : blocks(matrix.cols / kFastBlock), spans((matrix.cols + kFastSpan - 1) / kFastSpan),
      group(matrix.block == quant::Block::q2_k || matrix.block == quant::Block::q3_k || matrix.block == quant::Block::q6_k ? 16 : 32),
      has_least(quant::kind_of(matrix.block).halves == 2) {}

void widen_parameters(ElementType type, const std::byte* from, uint32_t count, float* to) {
    if (type == ElementType::f32) {
        std::memcpy(to, from, size_t{count} * sizeof(float));
        return;
    }
    for (uint32_t i = 0; i < count; ++i) {
        uint16_t bits;
        std::memcpy(&bits, from + size_t{i} * sizeof bits, sizeof bits);
        to[i] = type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
    }
}

float round_block_scalar(const float* x, uint32_t bits, int8_t* codes, int32_t& sum) {
    float most = 0;
    bool finite = true;
    for (uint32_t i = 0; i < kFastBlock; ++i) {
        finite &= std::isfinite(x[i]);
        most = std::max(most, std::fabs(x[i]));
    }
    const float factor = finite && most > 0 ? 127 / most : 0;
    sum = 0;
    for (uint32_t i = 0; i < kFastBlock; ++i) {
        const auto code = static_cast<int8_t>(finite ? std::lrint(x[i] * factor) : 0);
        codes[fast_place_of(bits, i)] = code;
        sum += code;
    }
    return finite ? most / 127 : std::numeric_limits<float>::quiet_NaN();
}

void fast_rows_scalar(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                      uint32_t tokens, float* y, size_t y_stride) {
    const FastShape shape(matrix);
    const uint32_t mask = (1u << matrix.bits) - 1, per_byte = 8 / matrix.bits;
    for (uint32_t r = first; r < last; ++r) {
        const std::byte* row = matrix.weight.as<const std::byte>() + r * shape.row_bytes;
        const size_t parameters = size_t{r} * shape.groups * shape.param_bytes;
        const std::byte* scales = matrix.scales.as<const std::byte>() + parameters;
        const std::byte* biases = matrix.biases.as<const std::byte>() + parameters;
        for (uint32_t t = 0; t < tokens; ++t) {
            const float* x = prepared + t * prepared_stride;
            const auto* codes = reinterpret_cast<const int8_t*>(x);
            float total = 0, rest = 0;
            for (uint32_t g = 0; g < shape.groups; ++g) {
                float bias;
                widen_parameters(matrix.type, biases + g * shape.param_bytes, 1, &bias);
                rest = std::fma(bias, x[shape.sums_at() + g], rest);
            }
            for (uint32_t block = 0; block < shape.blocks; ++block) {
                int32_t sum = 0;
                for (uint32_t i = 0; i < kFastBlock; ++i) {
                    const uint32_t c = block * kFastBlock + i;
                    const uint32_t code = std::to_integer<uint32_t>(row[c / per_byte]) >> (c % per_byte * matrix.bits) & mask;
                    sum += static_cast<int32_t>(code) * codes[block * kFastBlock + fast_place_of(matrix.bits, i)];
                }
                float scale;
                widen_parameters(matrix.type, scales + shape.group_of(block) * shape.param_bytes, 1, &scale);
                total = std::fma(static_cast<float>(sum), scale * x[shape.scales_at() + block], total);
            }
            y[t * y_stride + (r - first)] = total + rest;
        }
    }
}

const Kernels& fast_kernels(const Kernels& exact) {
    if (std::strcmp(exact.isa, "scalar") == 0) {
        static const Kernels table = Mixed<0>::table(exact, fast_rows_scalar, fast_blocks_scalar, round_block_scalar);
        return table;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (std::strcmp(exact.isa, "avx2") == 0) {
        static const Kernels table = Mixed<1>::table(exact, fast_rows_avx2, fast_blocks_avx2, round_block_avx2);
        return table;
    }
    if (std::strcmp(exact.isa, "avx512") == 0) {
        const bool has_vnni = __builtin_cpu_supports("avx512vnni") != 0;
        static const Kernels table = Mixed<2>::table(exact, has_vnni ? fast_rows_vnni : fast_rows_avx2,
                                                     has_vnni ? fast_blocks_vnni : fast_blocks_avx2, round_block_avx2);
        return table;
    }
#elif defined(__aarch64__)
#if defined(__linux__)
    constexpr unsigned long kDotProducts = 1ul << 20; // HWCAP_ASIMDDP
    const bool has_dots = (getauxval(AT_HWCAP) & kDotProducts) != 0;
#else
    constexpr bool has_dots = true; // Every Apple silicon.
#endif
    if (has_dots && std::strcmp(exact.isa, "neon") == 0) {
        static const Kernels table = Mixed<1>::table(exact, fast_rows_neon, fast_blocks_neon, round_block_neon);
        return table;
    }
#endif
    // An instruction set without integer rows computes exactly.
    return exact;
}

} // namespace flashmoe::cpu
