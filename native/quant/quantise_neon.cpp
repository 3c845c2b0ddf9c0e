#include "quant/groups.h"
#include "quant/quantise.h"

#if defined(__aarch64__)

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace flashmoe::quant {

namespace {

#define FM_LANES 4

#include "quant/quantise_body.h"

} // namespace

ErrorSums quantise_neon(const Values& source, const AffineTarget& target, Rule rule, const Importance* importance) {
    return quantise_any(source, target, rule, importance);
}

} // namespace flashmoe::quant

#endif
