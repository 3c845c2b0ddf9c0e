#include "quant/groups.h"
#include "quant/quantise.h"

#if defined(__x86_64__)

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

#include "quant/quantise_body.h"

} // namespace

ErrorSums quantise_avx2(const Values& source, const AffineTarget& target, Rule rule, const Importance* importance) {
    return quantise_any(source, target, rule, importance);
}

} // namespace flashmoe::quant

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
