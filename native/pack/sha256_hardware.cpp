// SHA-256 by the processor's own instructions, where it has them.
#include "pack/sha256.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

namespace flashmoe::pack {

namespace {

// Four rounds on ABEF and CDGH; `w` holds four schedule words.
#define FM_SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

FM_SHA_TARGET inline void four_rounds(__m128i& abef, __m128i& cdgh, __m128i w, int round) {
    const auto* k = reinterpret_cast<const __m128i*>(kSha256Constants + round);
    __m128i wk = _mm_add_epi32(w, _mm_loadu_si128(k));
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
    wk = _mm_shuffle_epi32(wk, 0x0e);
    abef = _mm_sha256rnds2_epu32(abef, cdgh, wk);
}

// The next four schedule words from the last sixteen, oldest first.
FM_SHA_TARGET inline __m128i next_words(__m128i a, __m128i b, __m128i c, __m128i d) {
    const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4));
    return _mm_sha256msg2_epu32(sum, d);
}

FM_SHA_TARGET void compress_sha_ni(std::uint32_t* words, const std::uint8_t* blocks,
                                   std::size_t count) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
    const auto* in = reinterpret_cast<const __m128i*>(words);
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(in), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(in + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; count > 0; --count, blocks += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        const auto* data = reinterpret_cast<const __m128i*>(blocks);
        __m128i w[4];
        for (int i = 0; i < 4; ++i) {
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128(data + i), big_endian);
            four_rounds(abef, cdgh, w[i], 4 * i);
        }
        for (int i = 4; i < 16; ++i) {
            const __m128i next = next_words(w[0], w[1], w[2], w[3]);
            w[0] = w[1], w[1] = w[2], w[2] = w[3], w[3] = next;
            four_rounds(abef, cdgh, next, 4 * i);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    auto* out = reinterpret_cast<__m128i*>(words);
    _mm_storeu_si128(out, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(out + 1, _mm_alignr_epi8(dchg, feba, 8));
}

} // namespace

Sha256Compress sha256_hardware() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1u << 29))) return nullptr;
    return __builtin_cpu_supports("sse4.1") ? compress_sha_ni : nullptr;
}

} // namespace flashmoe::pack

#elif defined(__aarch64__)

#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

namespace flashmoe::pack {

namespace {

#if defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO)
#define FM_SHA_TARGET
#elif defined(__clang__)
#define FM_SHA_TARGET __attribute__((target("sha2")))
#else
#define FM_SHA_TARGET __attribute__((target("+crypto")))
#endif

FM_SHA_TARGET inline void four_rounds(uint32x4_t& abcd, uint32x4_t& efgh, uint32x4_t w, int round) {
    const uint32x4_t wk = vaddq_u32(w, vld1q_u32(kSha256Constants + round));
    const uint32x4_t before = abcd;
    abcd = vsha256hq_u32(abcd, efgh, wk);
    efgh = vsha256h2q_u32(efgh, before, wk);
}

FM_SHA_TARGET void compress_armv8(std::uint32_t* words, const std::uint8_t* blocks,
                                  std::size_t count) {
    uint32x4_t abcd = vld1q_u32(words), efgh = vld1q_u32(words + 4);
    for (; count > 0; --count, blocks += 64) {
        const uint32x4_t abcd_before = abcd, efgh_before = efgh;
        uint32x4_t w[4];
        for (int i = 0; i < 4; ++i) {
            w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16 * i)));
            four_rounds(abcd, efgh, w[i], 4 * i);
        }
        for (int i = 4; i < 16; ++i) {
            const uint32x4_t next = vsha256su1q_u32(vsha256su0q_u32(w[0], w[1]), w[2], w[3]);
            w[0] = w[1], w[1] = w[2], w[2] = w[3], w[3] = next;
            four_rounds(abcd, efgh, next, 4 * i);
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(words, abcd);
    vst1q_u32(words + 4, efgh);
}

} // namespace

Sha256Compress sha256_hardware() {
#if defined(__linux__)
    // HWCAP_SHA2; asm/hwcap.h need not be installed.
    if (!(getauxval(AT_HWCAP) & (1ul << 6))) return nullptr;
#endif
    return compress_armv8;
}

} // namespace flashmoe::pack

#else

namespace flashmoe::pack {
Sha256Compress sha256_hardware() { return nullptr; }
} // namespace flashmoe::pack

#endif
