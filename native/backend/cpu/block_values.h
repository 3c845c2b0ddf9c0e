// Weights in blocks of GGUF as vectors, sixteen at a time.
#include "backend/cpu/block_kinds.h"

namespace flashmoe::cpu {
namespace {

/// Vectors of sixteen weights.
constexpr uint32_t kSixteen = 16 / kLanes;

/// A block's parameters; rooms for a whole sixteen, of which a kind may need less.
struct BlockParameters {
    alignas(64) float scales[16], leasts[16];
};

template <class Kind> FM_INLINE void sixteen_weights(const std::byte* block, const BlockParameters& parameters, uint32_t i, F* out) {
    Lanes::widen(Kind::codes(block, i / 2, i % 2 * 16), out);
    const uint32_t group = 16 * i / Kind::kGroup;
    const F scale = Lanes::set1(parameters.scales[group]);
    FM_UNROLL for (uint32_t v = 0; v < kSixteen; ++v) {
        out[v] = Kind::kLeast ? Lanes::fma(scale, out[v], Lanes::set1(parameters.leasts[group])) : Lanes::mul(scale, out[v]);
    }
}

template <class Kind> FM_TARGET void block_weights(const std::byte* block, size_t count, float* out) {
    for (; count > 0; --count, block += Kind::kBytes, out += Kind::kValues) {
        BlockParameters parameters;
        Kind::parameters(block, parameters.scales, parameters.leasts);
        FM_UNROLL for (uint32_t i = 0; i < Kind::kValues / 16; ++i) {
            F values[kSixteen];
            sixteen_weights<Kind>(block, parameters, i, values);
            FM_UNROLL for (uint32_t v = 0; v < kSixteen; ++v) Lanes::store(out + 16 * i + v * kLanes, values[v]);
        }
    }
}

/// kSome rows from `row` on, one token. Each row's operations are the same and in the same order whatever kSome is: sums of a
/// span, then the sum of spans.
template <class Kind, uint32_t kSome>
FM_INLINE void add_block_rows(const Matrix& matrix, uint32_t row, const float* x, float* y) {
    constexpr uint32_t kEach = kSpan / Kind::kValues;
    const size_t row_bytes = matrix.row_bytes();
    const uint32_t blocks = static_cast<uint32_t>(matrix.groups());
    const std::byte* start = weight_row(matrix, row);
    F total[kSome];
    FM_UNROLL for (uint32_t r = 0; r < kSome; ++r) total[r] = Lanes::zero();
    for (uint32_t first = 0; first < blocks; first += kEach) {
        F sums[kSome];
        FM_UNROLL for (uint32_t r = 0; r < kSome; ++r) sums[r] = Lanes::zero();
        for (uint32_t b = first; b < std::min(blocks, first + kEach); ++b) {
            const std::byte* block = start + size_t{b} * Kind::kBytes;
            const std::byte* ahead = block + kSome * row_bytes + size_t{kSome - 1} * b * Kind::kBytes + kAheadBytes;
            FM_UNROLL for (uint32_t line = 0; line < kSome * Kind::kBytes; line += 64) __builtin_prefetch(ahead + line);
            BlockParameters parameters[kSome];
            FM_UNROLL for (uint32_t r = 0; r < kSome; ++r) {
                Kind::parameters(block + r * row_bytes, parameters[r].scales, parameters[r].leasts);
            }
            FM_UNROLL for (uint32_t i = 0; i < Kind::kValues / 16; ++i) {
                FM_UNROLL for (uint32_t r = 0; r < kSome; ++r) {
                    F values[kSixteen];
                    sixteen_weights<Kind>(block + r * row_bytes, parameters[r], i, values);
                    FM_UNROLL for (uint32_t v = 0; v < kSixteen; ++v) {
                        sums[r] = Lanes::fma(values[v], Lanes::load(x + size_t{b} * Kind::kValues + 16 * i + v * kLanes), sums[r]);
                    }
                }
            }
        }
        FM_UNROLL for (uint32_t r = 0; r < kSome; ++r) total[r] = Lanes::add(total[r], sums[r]);
    }
    FM_UNROLL for (uint32_t r = 0; r < kSome; ++r) y[r] = Lanes::sum(total[r]);
}

template <class Kind> FM_TARGET void block_rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, float* y) {
    uint32_t r = first;
    for (; r + kRowsTogether <= last; r += kRowsTogether) add_block_rows<Kind, kRowsTogether>(matrix, r, x, y + (r - first));
    for (; r < last; ++r) add_block_rows<Kind, 1>(matrix, r, x, y + (r - first));
}

struct BlockLoops {
    void (*weights)(const std::byte* block, size_t count, float* out);
    void (*rows)(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, float* y);
};
template <class Kind> constexpr BlockLoops checked_loops(quant::Block block) {
    static_assert(kSpan % Kind::kValues == 0);
    return Kind::kValues == quant::block_values(block) && Kind::kBytes == quant::block_bytes(block)
               ? BlockLoops{block_weights<Kind>, block_rows<Kind>}
               : throw "a kind of block with other sizes";
}

/// By quant::Block.
constexpr BlockLoops kBlockLoops[] = {
   checked_loops<Nibbles<false, false>>(quant::Block::q4_0), checked_loops<Nibbles<false, true>>(quant::Block::q4_1),
   checked_loops<Nibbles<true, false>>(quant::Block::q5_0), checked_loops<Nibbles<true, true>>(quant::Block::q5_1),
   checked_loops<Eights>(quant::Block::q8_0),               checked_loops<Twos>(quant::Block::q2_k),
   checked_loops<Threes>(quant::Block::q3_k),               checked_loops<Fours<false>>(quant::Block::q4_k),
   checked_loops<Fours<true>>(quant::Block::q5_k),          checked_loops<Sixes>(quant::Block::q6_k)};

} // namespace
} // namespace flashmoe::cpu
