#include "quant/groups.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((target("avx2,fma,popcnt"))), apply_to = function)
#else
#pragma GCC optimize("fp-contract=off")
#pragma GCC target("avx2,fma,popcnt")
#endif

namespace flashmoe::quant {

namespace {

#define FM_LANES 8

#include "quant/requantise4_x86.h"

template <typename Ints>
inline Ints gather(const std::int32_t* from, const Ints& index) {
    __m256i offsets;
    std::memcpy(&offsets, &index, sizeof offsets);
    const __m256i found = _mm256_i32gather_epi32(from, offsets, 4);
    Ints value;
    std::memcpy(&value, &found, sizeof value);
    return value;
}

/// Whether a comparison is true in any lane.
template <typename Ints>
inline bool any(const Ints& mask) {
    __m256i bits;
    std::memcpy(&bits, &mask, sizeof bits);
    return _mm256_movemask_epi8(bits) != 0;
}

/// a * b + c, for what may be rounded once.
template <typename Floats>
inline Floats fused(const Floats& a, const Floats& b, const Floats& c) {
    __m256 x, y, z;
    std::memcpy(&x, &a, sizeof x);
    std::memcpy(&y, &b, sizeof y);
    std::memcpy(&z, &c, sizeof z);
    const __m256 sum = _mm256_fmadd_ps(x, y, z);
    Floats value;
    std::memcpy(&value, &sum, sizeof value);
    return value;
}

#include "quant/requantise4_body.h"

} // namespace

ErrorSums requantise4_avx2(const Codes& source, const AffineTarget& target, Method method, const Importance* importance) {
    return requantise_any(source, target, method, importance);
}

} // namespace flashmoe::quant

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
