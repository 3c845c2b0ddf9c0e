// Kinds of GGUF blocks as what loops over vectors need of them: quant/blocks.cpp says plainly what is read where. An instruction
// set's file has included vector_base.h or fast_blocks.h, whose Lanes hold codes as signed bytes, sixteen or thirty-two at once.
//
// A kind has groups of kGroup weights, which share a scale and with kLeast the value of code 0: w = scale * code + least.
// codes(block, k, at): codes of the block's k-th 32 weights, of these from `at` on (0 or 16).
namespace flashmoe::cpu {
namespace {

using B = Lanes::B;

FM_INLINE uint32_t word_at(const std::byte* from) {
    uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

FM_INLINE uint64_t double_word_at(const std::byte* from) {
    uint64_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}
FM_INLINE uint64_t joined(uint32_t low, uint32_t high) { return low | uint64_t{high} << 32; }

/// q4_0 to q5_1.
template <bool kFive, bool kHasLeast> struct Nibbles {
    static constexpr uint32_t kValues = 32, kGroup = 32, kBytes = 18 + (kHasLeast ? 2 : 0) + (kFive ? 4 : 0);
    static constexpr bool kLeast = kHasLeast;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float* leasts) {
        scales[0] = Lanes::half(block);
        if (kLeast) leasts[0] = Lanes::half(block + 2);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t, uint32_t at) {
        const B nibbles = Lanes::nibbles(block + kBytes - 16, at);
        if (!kFive) return kLeast ? nibbles : Lanes::minus(nibbles, 8);
        const B all = Lanes::either(nibbles, Lanes::flags(word_at(block + kBytes - 20), at, 16));
        return kLeast ? all : Lanes::minus(all, 16);
    }
};

struct Eights {
    static constexpr uint32_t kValues = 32, kGroup = 32, kBytes = 34;
    static constexpr bool kLeast = false;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float*) { scales[0] = Lanes::half(block); }
    FM_INLINE static B codes(const std::byte* block, uint32_t, uint32_t at) { return Lanes::load_bytes(block + 2 + at); }
};

/// Of 32 bytes for 128 weights, two bits of each.
FM_INLINE B two_bits(const std::byte* codes, uint32_t k, uint32_t at) {
    return Lanes::shifted_right(Lanes::load_bytes(codes + k / 4 * 32 + at), k % 4 * 2, 3);
}

struct Twos {
    static constexpr uint32_t kValues = 256, kGroup = 16, kBytes = 84;
    static constexpr bool kLeast = true;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float* leasts) {
        constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0f;
        const uint64_t first = double_word_at(block), second = double_word_at(block + 8);
        Lanes::store_sixteen(Lanes::sixteen(first & kLow, second & kLow), 0, Lanes::half(block + 80), scales);
        Lanes::store_sixteen(Lanes::sixteen(first >> 4 & kLow, second >> 4 & kLow), 0, -Lanes::half(block + 82), leasts);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t k, uint32_t at) { return two_bits(block + 16, k, at); }
};

struct Threes {
    static constexpr uint32_t kValues = 256, kGroup = 16, kBytes = 110;
    static constexpr bool kLeast = false;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float*) {
        const uint32_t a = word_at(block + 96), b = word_at(block + 100), high = word_at(block + 104);
        constexpr uint32_t kLow = 0x0f0f0f0f, kTwo = 0x30303030;
        const uint64_t first = joined((a & kLow) | (high << 4 & kTwo), (b & kLow) | (high << 2 & kTwo));
        const uint64_t second = joined((a >> 4 & kLow) | (high & kTwo), (b >> 4 & kLow) | (high >> 2 & kTwo));
        Lanes::store_sixteen(Lanes::sixteen(first, second), 32, Lanes::half(block + 108), scales);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t k, uint32_t at) {
        const B third = Lanes::shifted_right(Lanes::load_bytes(block + at), k, 1);
        return Lanes::minus(Lanes::either(two_bits(block + 32, k, at), Lanes::shifted_left(third, 2, 4)), 4);
    }
};

/// q4_k and q5_k.
template <bool kFive> struct Fours {
    static constexpr uint32_t kValues = 256, kGroup = 32, kBytes = kFive ? 176 : 144;
    static constexpr bool kLeast = true;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float* leasts) {
        const uint32_t a = word_at(block + 4), b = word_at(block + 8), c = word_at(block + 12);
        constexpr uint32_t kSix = 0x3f3f3f3f, kLow = 0x0f0f0f0f, kTwo = 0x30303030;
        const uint64_t first = joined(a & kSix, (c & kLow) | (a >> 2 & kTwo));
        const uint64_t second = joined(b & kSix, (c >> 4 & kLow) | (b >> 2 & kTwo));
        Lanes::store_sixteen(Lanes::sixteen(first, 0), 0, Lanes::half(block), scales);
        Lanes::store_sixteen(Lanes::sixteen(second, 0), 0, -Lanes::half(block + 2), leasts);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t k, uint32_t at) {
        const B nibbles = Lanes::shifted_right(Lanes::load_bytes(block + (kFive ? 48 : 16) + k / 2 * 32 + at), k % 2 * 4, 15);
        if (!kFive) return nibbles;
        const B fifth = Lanes::shifted_right(Lanes::load_bytes(block + 16 + at), k, 1);
        return Lanes::either(nibbles, Lanes::shifted_left(fifth, 4, 16));
    }
};

struct Sixes {
    static constexpr uint32_t kValues = 256, kGroup = 16, kBytes = 210;
    static constexpr bool kLeast = false;
    FM_INLINE static void parameters(const std::byte* block, float* scales, float*) {
        Lanes::store_sixteen(Lanes::sixteen(double_word_at(block + 192), double_word_at(block + 200)), 0, Lanes::half(block + 208), scales);
    }
    FM_INLINE static B codes(const std::byte* block, uint32_t k, uint32_t at) {
        const uint32_t quarter = k % 4;
        const B low = Lanes::shifted_right(Lanes::load_bytes(block + k / 4 * 64 + quarter % 2 * 32 + at), quarter / 2 * 4, 15);
        const B high = Lanes::shifted_right(Lanes::load_bytes(block + 128 + k / 4 * 32 + at), 2 * quarter, 3);
        return Lanes::minus(Lanes::either(low, Lanes::shifted_left(high, 4, 48)), 32);
    }
};

} // namespace
} // namespace flashmoe::cpu
