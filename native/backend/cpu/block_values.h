// Weights in blocks of GGUF as vectors, sixteen at a time: w = scale * code + least. Codes are signed bytes before they become
// floats, since what is done to bytes is done to sixteen at once. quant/blocks.cpp says plainly what is read where.
namespace flashmoe::cpu {
namespace {

using B = Lanes::B;
/// Vectors of sixteen weights.
constexpr uint32_t kSixteen = 16 / kLanes;

FM_INLINE void store_sixteen(B codes, float factor, float* to) {
    F values[kSixteen];
    Lanes::widen(codes, values);
    FM_UNROLL for (uint32_t v = 0; v < kSixteen; ++v) Lanes::store(to + v * kLanes, Lanes::mul(values[v], Lanes::set1(factor)));
}

FM_INLINE uint32_t word_at(const std::byte* from) {
    uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

FM_INLINE B low_nibbles(B bytes) { return Lanes::shifted_right(bytes, 0, 15); }
FM_INLINE B high_nibbles(B bytes) { return Lanes::shifted_right(bytes, 4, 15); }

/// q4_0 to q5_1. A kind has groups of kGroup weights that share a scale (and a least value), and sixteens of codes in order.
template <bool kFive, bool kHasLeast> struct Nibbles {
    static constexpr uint32_t kValues = 32, kGroup = 32, kBytes = 18 + (kHasLeast ? 2 : 0) + (kFive ? 4 : 0);
    static constexpr bool kLeast = kHasLeast;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float* leasts) {
        scales[0] = Lanes::half(block);
        if (kLeast) leasts[0] = Lanes::half(block + 2);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t i) {
        const B bytes = Lanes::load_bytes(block + kBytes - 16);
        const B nibbles = i == 0 ? low_nibbles(bytes) : high_nibbles(bytes);
        if (!kFive) return kLeast ? nibbles : Lanes::minus(nibbles, 8);
        const auto bits = static_cast<uint16_t>(word_at(block + kBytes - 20) >> (16 * i));
        const B all = Lanes::either(nibbles, Lanes::flags(bits, 16));
        return kLeast ? all : Lanes::minus(all, 16);
    }
};

struct Eights {
    static constexpr uint32_t kValues = 32, kGroup = 32, kBytes = 34;
    static constexpr bool kLeast = false;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float*) { scales[0] = Lanes::half(block); }
    FM_INLINE static B codes(const std::byte* block, uint32_t i) { return Lanes::load_bytes(block + 2 + 16 * i); }
};

/// Two bits of sixteen `i` of 256, of 32 bytes for 128 weights.
FM_INLINE B two_bits(const std::byte* codes, uint32_t i) {
    return Lanes::shifted_right(Lanes::load_bytes(codes + i / 8 * 32 + i % 2 * 16), i % 8 / 2 * 2, 3);
}

struct Twos {
    static constexpr uint32_t kValues = 256, kGroup = 16, kBytes = 84;
    static constexpr bool kLeast = true;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float* leasts) {
        const B both = Lanes::load_bytes(block);
        store_sixteen(low_nibbles(both), Lanes::half(block + 80), scales);
        store_sixteen(high_nibbles(both), -Lanes::half(block + 82), leasts);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t i) { return two_bits(block + 16, i); }
};

struct Threes {
    static constexpr uint32_t kValues = 256, kGroup = 16, kBytes = 110;
    static constexpr bool kLeast = false;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float*) {
        const uint32_t a = word_at(block + 96), b = word_at(block + 100), high = word_at(block + 104);
        constexpr uint32_t kLow = 0x0f0f0f0f, kTwo = 0x30303030;
        const B codes = Lanes::four_words((a & kLow) | (high << 4 & kTwo), (b & kLow) | (high << 2 & kTwo),
                                          (a >> 4 & kLow) | (high & kTwo), (b >> 4 & kLow) | (high >> 2 & kTwo));
        store_sixteen(Lanes::minus(codes, 32), Lanes::half(block + 108), scales);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t i) {
        const B third = Lanes::shifted_right(Lanes::load_bytes(block + i % 2 * 16), i / 2, 1);
        return Lanes::minus(Lanes::either(two_bits(block + 32, i), Lanes::shifted_left(third, 2, 4)), 4);
    }
};

/// q4_k and q5_k.
template <bool kFive> struct Fours {
    static constexpr uint32_t kValues = 256, kGroup = 32, kBytes = kFive ? 176 : 144;
    static constexpr bool kLeast = true;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float* leasts) {
        const uint32_t a = word_at(block + 4), b = word_at(block + 8), c = word_at(block + 12);
        constexpr uint32_t kSix = 0x3f3f3f3f, kLow = 0x0f0f0f0f, kTwo = 0x30303030;
        const B first = Lanes::four_words(a & kSix, (c & kLow) | (a >> 2 & kTwo), 0, 0);
        const B second = Lanes::four_words(b & kSix, (c >> 4 & kLow) | (b >> 2 & kTwo), 0, 0);
        store_sixteen(first, Lanes::half(block), scales);
        store_sixteen(second, -Lanes::half(block + 2), leasts);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t i) {
        const B bytes = Lanes::load_bytes(block + (kFive ? 48 : 16) + i / 4 * 32 + i % 2 * 16);
        const B nibbles = i % 4 < 2 ? low_nibbles(bytes) : high_nibbles(bytes);
        if (!kFive) return nibbles;
        const B fifth = Lanes::shifted_right(Lanes::load_bytes(block + 16 + i % 2 * 16), i / 2, 1);
        return Lanes::either(nibbles, Lanes::shifted_left(fifth, 4, 16));
    }
};

struct Sixes {
    static constexpr uint32_t kValues = 256, kGroup = 16, kBytes = 210;
    static constexpr bool kLeast = false;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float*) {
        store_sixteen(Lanes::load_bytes(block + 192), Lanes::half(block + 208), scales);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t i) {
        const uint32_t quarter = i % 8 / 2;
        const B bytes = Lanes::load_bytes(block + i / 8 * 64 + quarter % 2 * 32 + i % 2 * 16);
        const B low = quarter < 2 ? low_nibbles(bytes) : high_nibbles(bytes);
        const B high = Lanes::shifted_right(Lanes::load_bytes(block + 128 + i / 8 * 32 + i % 2 * 16), 2 * quarter, 3);
        return Lanes::minus(Lanes::either(low, Lanes::shifted_left(high, 4, 48)), 32);
    }
};

/// A block's parameters; rooms for a whole sixteen, of which a kind may need less.
struct BlockParameters {
    alignas(64) float scales[16], leasts[16];
};

template <class Kind> FM_INLINE void sixteen_weights(const std::byte* block, const BlockParameters& parameters, uint32_t i, F* out) {
    Lanes::widen(Kind::codes(block, i), out);
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
