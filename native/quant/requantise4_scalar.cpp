// The path without special instructions; the compiler may still use what every machine of the target has.
#include "quant/groups.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace flashmoe::quant {

namespace {

#define FM_LANES 4

template <std::size_t kBytes>
inline void tail_counts(const std::uint8_t* codes, std::int32_t* tail) {
    std::int32_t count[16] = {};
    for (std::size_t i = 0; i < kBytes; ++i) {
        ++count[codes[i] & 15];
        ++count[codes[i] >> 4];
    }
    std::int32_t sum = 0;
    for (std::size_t t = 15; t > 0; --t) tail[t * FM_LANES] = sum += count[t];
}

template <std::size_t kBytes>
inline void encode(const std::uint8_t* codes, const std::int32_t* choice, std::uint8_t* to) {
    std::uint8_t map[16];
    for (int k = 0; k < 16; ++k) {
        map[k] = 0;
        for (int j = 0; j < 3; ++j) map[k] += (k >= choice[j * FM_LANES]) != (choice[3 * FM_LANES] != 0);
    }
    for (std::size_t i = 0; i < kBytes; i += 2) {
        to[i / 2] = static_cast<std::uint8_t>(map[codes[i] & 15] | map[codes[i] >> 4] << 2 |
                                              map[codes[i + 1] & 15] << 4 | map[codes[i + 1] >> 4] << 6);
    }
}

template <typename Ints>
inline Ints gather(const std::int32_t* from, const Ints& index) {
    Ints value{};
    for (int lane = 0; lane < FM_LANES; ++lane) value[lane] = from[index[lane]];
    return value;
}

/// Whether a comparison is true in any lane.
template <typename Ints>
inline bool any(const Ints& mask) {
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
}

/// a * b + c, for what may be rounded once.
template <typename Floats>
inline Floats fused(const Floats& a, const Floats& b, const Floats& c) {
    return a * b + c;
}

#include "quant/requantise4_body.h"

} // namespace

ErrorSums requantise4_scalar(const Codes& source, const AffineTarget& target, Method method, const Importance* importance) {
    return requantise_any(source, target, method, importance);
}

} // namespace flashmoe::quant
