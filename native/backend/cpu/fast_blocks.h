// Integer rows of GGUF blocks, of every instruction set: its file defines FM_TARGET, FM_INLINE, FM_UNROLL and, in an unnamed
// namespace, struct Lanes with thirty-two signed bytes, then includes this. fast_rows.h says what is computed.
#include <algorithm>
#include <cstring>

#include "backend/cpu/block_kinds.h"

namespace flashmoe::cpu {
namespace {

/// Tokens that share the codes of a span.
constexpr uint32_t kBlockTokens = 4;

/// A span's parameters, zeros behind its last block.
struct SpanParameters {
    alignas(32) float scales[kFastSpan / 16], leasts[kFastSpan / 16];
};

/// Of one row and token: two sums that take turns, and what least values come to.
struct Totals {
    Lanes::F sums[2], rest;
};

/// One row's span for kOf tokens. `blocks` are those of the span that the row has.
template <class Kind, uint32_t kOf>
FM_INLINE void add_span(const std::byte* block, uint32_t blocks, const FastBlockShape& shape, size_t span, const float* x, size_t stride,
                        Totals* totals) {
    constexpr uint32_t kEach = kFastSpan / Kind::kValues, kGroups = kFastSpan / Kind::kGroup;
    SpanParameters parameters;
    B codes[kFastSpan / 32];
    if constexpr (kEach == 1) {
        Kind::parameters(block, parameters.scales, parameters.leasts);
        FM_UNROLL for (uint32_t k = 0; k < kFastSpan / 32; ++k) codes[k] = Kind::codes(block, k, 0);
    } else {
        FM_UNROLL for (uint32_t k = 0; k < kEach; ++k) {
            const bool is_here = k < blocks;
            parameters.scales[k] = parameters.leasts[k] = 0;
            if (is_here) Kind::parameters(block + k * Kind::kBytes, parameters.scales + k, parameters.leasts + k);
            codes[k] = Kind::codes(block + (is_here ? k : 0) * Kind::kBytes, 0, 0);
        }
    }
    FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) {
        const float* of = x + t * stride;
        const auto* bytes = reinterpret_cast<const std::byte*>(of) + span * kFastSpan;
        const float *scales = of + shape.scales_at() + span * 8, *sums = of + shape.sums_at() + span * kGroups;
        Lanes::D products[kFastSpan / 32];
        Lanes::F factors[kGroups / 8];
        FM_UNROLL for (uint32_t k = 0; k < kFastSpan / 32; ++k) products[k] = Lanes::products(codes[k], Lanes::load_bytes(bytes + 32 * k));
        if constexpr (Kind::kGroup == 32) factors[0] = Lanes::load_eight(scales);
        else Lanes::twice(Lanes::load_eight(scales), factors[0], factors[1]);
        FM_UNROLL for (uint32_t h = 0; h < kGroups / 8; ++h) {
            factors[h] = Lanes::mul(Lanes::load_eight(parameters.scales + 8 * h), factors[h]);
            if (Kind::kLeast) totals[t].rest = Lanes::fma(Lanes::load_eight(parameters.leasts + 8 * h), Lanes::load_eight(sums + 8 * h), totals[t].rest);
        }
        if constexpr (Kind::kGroup == 32) {
            alignas(32) float each[8];
            // A block's single scale was written alone: a vector of them would have to wait for eight writes.
            FM_UNROLL for (uint32_t k = 0; k < 8 && kEach != 1; ++k) each[k] = parameters.scales[k] * scales[k];
            if (kEach == 1) Lanes::store_eight(each, factors[0]);
            FM_UNROLL for (uint32_t k = 0; k < 8; ++k) totals[t].sums[k % 2] = Lanes::fma(Lanes::numbers(products[k]), Lanes::every(each[k]), totals[t].sums[k % 2]);
        } else {
            FM_UNROLL for (uint32_t h = 0; h < 2; ++h) totals[t].sums[h] = Lanes::fma(Lanes::sums_of_16(products + 4 * h), factors[h], totals[t].sums[h]);
        }
    }
}

template <class Kind, uint32_t kOf>
FM_TARGET void span_rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, float* y, size_t y_stride) {
    constexpr uint32_t kEach = kFastSpan / Kind::kValues;
    constexpr size_t kAhead = 2048;
    const FastBlockShape shape(matrix);
    const auto blocks = static_cast<uint32_t>(matrix.groups());
    const std::byte* row = matrix.weight.as<const std::byte>() + first * matrix.row_bytes();
    for (uint32_t r = first; r < last; ++r, row += matrix.row_bytes()) {
        Totals totals[kOf];
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) totals[t] = {{Lanes::zero(), Lanes::zero()}, Lanes::zero()};
        for (uint32_t b = 0; b < blocks; b += kEach) {
            const std::byte* block = row + size_t{b} * Kind::kBytes;
            FM_UNROLL for (size_t line = 0; line < kEach * Kind::kBytes; line += 64) __builtin_prefetch(block + kAhead + line);
            add_span<Kind, kOf>(block, std::min(kEach, blocks - b), shape, b / kEach, x, stride, totals);
        }
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) y[t * y_stride + (r - first)] = Lanes::sum_eight(Lanes::add(Lanes::add(totals[t].sums[0], totals[t].sums[1]), totals[t].rest));
    }
}

template <class Kind>
void rows_of_kind(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, uint32_t tokens, float* y, size_t y_stride) {
    uint32_t t = 0;
    for (; t + kBlockTokens <= tokens; t += kBlockTokens) {
        span_rows<Kind, kBlockTokens>(matrix, first, last, x + t * stride, stride, y + t * y_stride, y_stride);
    }
    for (; t < tokens; ++t) span_rows<Kind, 1>(matrix, first, last, x + t * stride, stride, y + t * y_stride, y_stride);
}

/// By quant::Block; q8_0 stays exact.
constexpr FastRows kFastBlockRows[] = {rows_of_kind<Nibbles<false, false>>, rows_of_kind<Nibbles<false, true>>,
                                       rows_of_kind<Nibbles<true, false>>,  rows_of_kind<Nibbles<true, true>>,
                                       nullptr,                             rows_of_kind<Twos>,
                                       rows_of_kind<Threes>,                rows_of_kind<Fours<false>>,
                                       rows_of_kind<Fours<true>>,           rows_of_kind<Sixes>};

} // namespace
} // namespace flashmoe::cpu
