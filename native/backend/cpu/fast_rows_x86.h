// Integer row loops over 256-bit vectors. An instruction set's file defines FM_TARGET and, in an unnamed namespace, dots(),
// then includes this; nothing else may.
#include <algorithm>
#include <cstring>

namespace flashmoe::cpu {
namespace {

/// Groups of a row whose parameters are widened together.
constexpr uint32_t kGroupRun = 256;

FM_TARGET inline void widen(ElementType type, const std::byte* from, uint32_t count, float* to) {
    uint32_t i = 0;
    for (; i + 8 <= count && type != ElementType::f32; i += 8) {
        const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + size_t{i} * 2));
        const __m256 wide = type == ElementType::f16
                                ? _mm256_cvtph_ps(bits)
                                : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
        _mm256_storeu_ps(to + i, wide);
    }
    for (; i < count; ++i) {
        if (type == ElementType::f32) {
            std::memcpy(to + i, from + size_t{i} * 4, 4);
            continue;
        }
        uint16_t bits;
        std::memcpy(&bits, from + size_t{i} * 2, 2);
        to[i] = type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
    }
}

/// A chunk's codes, a byte each, in the order of fast_rows.h. `bytes`: of the row from here on.
template <uint32_t kBits> FM_TARGET inline void unpack(const std::byte* codes, size_t bytes, __m256i& low, __m256i& high) {
    constexpr size_t kBytes = kFastChunk * kBits / 8;
    alignas(32) std::byte rest[kBytes];
    if (bytes < kBytes) {
        std::memset(rest, 0, kBytes);
        std::memcpy(rest, codes, bytes);
        codes = rest;
    }
    if constexpr (kBits == 4) {
        const __m256i mask = _mm256_set1_epi8(15);
        const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
        low = _mm256_and_si256(words, mask);
        high = _mm256_and_si256(_mm256_srli_epi16(words, 4), mask);
    } else {
        const __m256i mask = _mm256_set1_epi8(3);
        const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
        const __m256i pair = _mm256_set_m128i(_mm_srli_epi16(words, 2), words);
        low = _mm256_and_si256(pair, mask);
        high = _mm256_and_si256(_mm256_srli_epi16(pair, 4), mask);
    }
}

FM_TARGET inline float sum_of(__m256 v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// kRows rows and kTokens tokens. A token's operations are the same and in the same order whatever these are.
template <uint32_t kBits, uint32_t kRows, uint32_t kTokens>
FM_TARGET void fast_tile(const Matrix& matrix, const FastShape& shape, uint32_t row, const float* x, size_t stride, float* y,
                         size_t y_stride) {
    __m256 totals[kRows][kTokens];
    float rests[kRows][kTokens];
    for (uint32_t i = 0; i < kRows; ++i) {
        for (uint32_t t = 0; t < kTokens; ++t) {
            totals[i][t] = _mm256_setzero_ps();
            rests[i][t] = 0;
        }
    }
    const std::byte* rows = matrix.weight.as<const std::byte>() + row * shape.row_bytes;
    const uint32_t shift = static_cast<uint32_t>(std::countr_zero(matrix.group));
    float scales[kRows][kGroupRun], biases[kGroupRun];
    for (uint32_t g0 = 0; g0 < shape.groups; g0 += kGroupRun) {
        const uint32_t groups = std::min(kGroupRun, shape.groups - g0);
        for (uint32_t i = 0; i < kRows; ++i) {
            const size_t at = (size_t{row + i} * shape.groups + g0) * shape.param_bytes;
            widen(matrix.type, matrix.scales.as<const std::byte>() + at, groups, scales[i]);
            widen(matrix.type, matrix.biases.as<const std::byte>() + at, groups, biases);
            for (uint32_t t = 0; t < kTokens; ++t) {
                const float* sums = x + t * stride + shape.sums_at() + g0;
                __m256 eight = _mm256_setzero_ps();
                uint32_t g = 0;
                for (; g + 8 <= groups; g += 8) eight = _mm256_fmadd_ps(_mm256_loadu_ps(biases + g), _mm256_loadu_ps(sums + g), eight);
                for (; g < groups; ++g) rests[i][t] += biases[g] * sums[g];
                rests[i][t] += sum_of(eight);
            }
        }
        const uint32_t last = std::min(shape.chunks, ((g0 + groups) << shift) / kFastChunk + (((g0 + groups) << shift) % kFastChunk != 0));
        for (uint32_t c = (g0 << shift) / kFastChunk; c < last; ++c) {
            const size_t byte = size_t{c} * kFastChunk * kBits / 8;
            __m256i low[kRows], high[kRows];
            __m256 scale[kRows];
            for (uint32_t i = 0; i < kRows; ++i) {
                unpack<kBits>(rows + i * shape.row_bytes + byte, shape.row_bytes - byte, low[i], high[i]);
                const uint32_t g = (c * kFastChunk >> shift) - g0;
                // Two groups of 32 in a chunk: lanes of 4-bit chunks are four of the first, four of the second.
                if (kBits == 4 && shift == 5) {
                    const float second = g + 1 < groups ? scales[i][g + 1] : 0.0f;
                    scale[i] = _mm256_set_m128(_mm_set1_ps(second), _mm_set1_ps(scales[i][g]));
                } else {
                    scale[i] = _mm256_set1_ps(scales[i][g]);
                }
                if (kTokens == 1) _mm_prefetch(reinterpret_cast<const char*>(rows + i * shape.row_bytes + byte + 2048), _MM_HINT_T0);
            }
            for (uint32_t t = 0; t < kTokens; ++t) {
                const auto* codes = reinterpret_cast<const __m256i*>(x + t * stride) + size_t{c} * 2;
                const __m256i first_half = _mm256_loadu_si256(codes), second_half = _mm256_loadu_si256(codes + 1);
                const __m256 lanes = _mm256_loadu_ps(x + t * stride + shape.lanes_at() + size_t{c} * kFastLanes);
                for (uint32_t i = 0; i < kRows; ++i) {
                    const __m256i sum = dots(low[i], first_half, high[i], second_half);
                    totals[i][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale[i], lanes), totals[i][t]);
                }
            }
        }
    }
    for (uint32_t i = 0; i < kRows; ++i) {
        for (uint32_t t = 0; t < kTokens; ++t) y[t * y_stride + i] = sum_of(totals[i][t]) + rests[i][t];
    }
}

template <uint32_t kBits, uint32_t kTokens>
void fast_rows_of(const Matrix& matrix, const FastShape& shape, uint32_t first, uint32_t last, const float* x, size_t stride,
                  float* y, size_t y_stride) {
    constexpr uint32_t kRows = 4;
    uint32_t r = first;
    for (; r + kRows <= last; r += kRows) fast_tile<kBits, kRows, kTokens>(matrix, shape, r, x, stride, y + (r - first), y_stride);
    for (; r < last; ++r) fast_tile<kBits, 1, kTokens>(matrix, shape, r, x, stride, y + (r - first), y_stride);
}

template <uint32_t kBits>
void fast_rows_of_bits(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, uint32_t tokens,
                       float* y, size_t y_stride) {
    const FastShape shape(matrix);
    // A few rows at a time stay in the nearest cache for all tokens.
    constexpr uint32_t kBlockRows = 8;
    const uint32_t block = tokens < 4 ? last - first : kBlockRows;
    for (uint32_t r = first; r < last; r += block) {
        const uint32_t end = std::min(last, r + block);
        uint32_t t = 0;
        float* out = y + (r - first);
        for (; t + 4 <= tokens; t += 4) fast_rows_of<kBits, 4>(matrix, shape, r, end, x + t * stride, stride, out + t * y_stride, y_stride);
        for (; t < tokens; ++t) fast_rows_of<kBits, 1>(matrix, shape, r, end, x + t * stride, stride, out + t * y_stride, y_stride);
    }
}

} // namespace
} // namespace flashmoe::cpu
