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

inline void tail_counts(const std::uint8_t* codes, std::size_t bytes, std::int32_t* tail, std::size_t stride) {
    std::int32_t count[16] = {};
    for (std::size_t i = 0; i < bytes; ++i) {
        ++count[codes[i] & 15];
        ++count[codes[i] >> 4];
    }
    std::int32_t sum = 0;
    for (std::size_t t = 15; t > 0; --t) tail[t * stride] = sum += count[t];
}

inline void encode(const std::uint8_t* codes, std::size_t bytes, const int* threshold, bool falling,
                   std::uint8_t* to) {
    std::uint8_t map[16];
    for (int k = 0; k < 16; ++k) {
        map[k] = 0;
        for (int j = 0; j < 3; ++j) map[k] += (k >= threshold[j]) != falling;
    }
    for (std::size_t i = 0; i < bytes; i += 2) {
        to[i / 2] = static_cast<std::uint8_t>(map[codes[i] & 15] | map[codes[i] >> 4] << 2 |
                                              map[codes[i + 1] & 15] << 4 | map[codes[i + 1] >> 4] << 6);
    }
}

#include "quant/requantise4_body.h"

} // namespace

ErrorSums requantise4_scalar(const Codes& source, const TwoBitTarget& target, Method method) {
    return requantise_groups(source, target, method);
}

} // namespace flashmoe::quant
