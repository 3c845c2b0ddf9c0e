// Sixteen bytes at a time, of both x86 instruction sets: FM_LANE is whose file includes this.
namespace flashmoe::cpu {
namespace {

struct Bytes {
    using B = __m128i;

    FM_LANE B load_bytes(const std::byte* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
    FM_LANE B every_byte(uint32_t value) { return _mm_set1_epi8(static_cast<char>(value)); }
    /// The bits of `kept` in (byte >> count); and of (byte << count).
    FM_LANE B shifted_right(B bytes, uint32_t count, uint32_t kept) {
        return _mm_and_si128(_mm_srli_epi16(bytes, static_cast<int>(count)), every_byte(kept));
    }
    FM_LANE B shifted_left(B bytes, uint32_t count, uint32_t kept) {
        return _mm_and_si128(_mm_slli_epi16(bytes, static_cast<int>(count)), every_byte(kept));
    }
    FM_LANE B either(B a, B b) { return _mm_or_si128(a, b); }
    FM_LANE B minus(B bytes, uint32_t value) { return _mm_sub_epi8(bytes, every_byte(value)); }
    /// The low halves of sixteen bytes, or from 16 on the high ones.
    FM_LANE B nibbles(const std::byte* from, uint32_t at) { return shifted_right(load_bytes(from), at / 4, 15); }
    /// Byte j is `value` where bit `at` + j is set.
    FM_LANE B flags(uint32_t bits, uint32_t at, uint32_t value) {
        const B each = _mm_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
        const B spread = _mm_shuffle_epi8(_mm_cvtsi32_si128(static_cast<int>(bits >> at)), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
        return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(spread, each), each), every_byte(value));
    }
    FM_LANE float half(const std::byte* from) {
        uint16_t bits;
        std::memcpy(&bits, from, sizeof bits);
        return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
    }
};

} // namespace
} // namespace flashmoe::cpu
