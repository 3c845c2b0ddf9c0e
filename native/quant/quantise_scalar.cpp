// The path without special instructions; the compiler may still use what every machine of the target has.
#include "quant/groups.h"
#include "quant/quantise.h"

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

ErrorSums quantise_scalar(const Values& source, const AffineTarget& target, Rule rule, const Importance* importance) {
    return quantise_any(source, target, rule, importance);
}

} // namespace flashmoe::quant
