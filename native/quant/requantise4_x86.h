// Counting and writing the codes of a group, 256 bits at a time: for AVX2 and AVX-512 alike, since masks of 512 bits go through
// registers of their own and cost more than they save. Included once by either's file, inside its namespace, with FM_LANES
// defined there; so no include guard.

/// One bit of every code, whatever the order: that doesn't matter for counting. Bit 3 is the highest of a code.
inline std::uint32_t plane(__m128i packed, int bit) {
    const auto low = static_cast<unsigned>(_mm_movemask_epi8(_mm_slli_epi16(packed, 7 - bit)));
    const auto high = static_cast<unsigned>(_mm_movemask_epi8(_mm_slli_epi16(packed, 3 - bit)));
    return low | high << 16;
}
inline std::uint64_t plane(__m256i packed, int bit) {
    const auto low = static_cast<unsigned>(_mm256_movemask_epi8(_mm256_slli_epi16(packed, 7 - bit)));
    const auto high = static_cast<unsigned>(_mm256_movemask_epi8(_mm256_slli_epi16(packed, 3 - bit)));
    return low | std::uint64_t{high} << 32;
}
inline __m128i load16(const std::uint8_t* codes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)); }
inline __m256i load32(const std::uint8_t* codes) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)); }

/// Sets tail[t], or adds to it, how many codes are at least t, decided on the four bits of all of them at once.
template <bool kFirst, typename Packed>
inline void add_tails(Packed packed, std::int32_t* tail) {
    const auto b3 = plane(packed, 3), b2 = plane(packed, 2), b1 = plane(packed, 1), b0 = plane(packed, 0);
    const auto any = b1 | b0, both = b1 & b0;
    const auto add = [&](int t, std::uint64_t codes) {
        const auto count = static_cast<std::int32_t>(_mm_popcnt_u64(codes));
        tail[t * FM_LANES] = kFirst ? count : tail[t * FM_LANES] + count;
    };
    add(1, b3 | b2 | any);
    add(2, b3 | b2 | b1);
    add(3, b3 | b2 | both);
    add(4, b3 | b2);
    add(5, b3 | (b2 & any));
    add(6, b3 | (b2 & b1));
    add(7, b3 | (b2 & both));
    add(8, b3);
    add(9, b3 & (b2 | any));
    add(10, b3 & (b2 | b1));
    add(11, b3 & (b2 | both));
    add(12, b3 & b2);
    add(13, b3 & b2 & any);
    add(14, b3 & b2 & b1);
    add(15, b3 & b2 & both);
}

template <std::size_t kBytes>
inline void tail_counts(const std::uint8_t* codes, std::int32_t* tail) {
    if constexpr (kBytes == 16) {
        add_tails<true>(load16(codes), tail);
    } else {
        add_tails<true>(load32(codes), tail);
        if constexpr (kBytes == 64) add_tails<false>(load32(codes + 32), tail);
    }
}

/// The 2-bit code of each of the 16 levels: three less the thresholds over it. Inverted, it is the number of those.
inline __m128i code_of_level(const std::int32_t* choice) {
    const __m128i levels = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // The lowest byte of each number, straight from memory.
    const auto all = [choice](int j) { return _mm_set1_epi8(*reinterpret_cast<const char*>(choice + j * FM_LANES)); };
    const __m128i three = _mm_set1_epi8(3);
    __m128i code = three;
    for (int j = 0; j < 3; ++j) code = _mm_add_epi8(code, _mm_cmpgt_epi8(all(j), levels));
    return _mm_xor_si128(code, _mm_and_si128(all(3), three));
}

template <std::size_t kBytes>
inline void encode(const std::uint8_t* codes, const std::int32_t* choice, std::uint8_t* to) {
    const __m128i map = code_of_level(choice);
    const __m256i even = _mm256_broadcastsi128_si256(map), odd = _mm256_slli_epi16(even, 2);
    const __m256i nibble = _mm256_set1_epi8(15);
    for (std::size_t i = 0; i < kBytes; i += 32) {
        const __m256i packed = kBytes == 16 ? _mm256_castsi128_si256(load16(codes)) : load32(codes + i);
        // Four bits a byte, then two bytes to one.
        const __m256i pairs = _mm256_or_si256(
            _mm256_shuffle_epi8(even, _mm256_and_si256(packed, nibble)),
            _mm256_shuffle_epi8(odd, _mm256_and_si256(_mm256_srli_epi16(packed, 4), nibble)));
        const __m256i words = _mm256_maddubs_epi16(pairs, _mm256_set1_epi16(0x1001));
        const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0x08);
        if constexpr (kBytes == 16) {
            _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
        } else {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i / 2), _mm256_castsi256_si128(bytes));
        }
    }
}
