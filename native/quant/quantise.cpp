#include "quant/quantise.h"

namespace flashmoe::quant {

static QuantiseKernel kernel_for(Isa isa) {
    switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2: return quantise_avx2;
    case Isa::avx512: return quantise_avx512;
#elif defined(__aarch64__)
    case Isa::neon: return quantise_neon;
#endif
    default: return quantise_scalar;
    }
}

ErrorSums quantise(const Values& source, const AffineTarget& target, Rule rule, Isa isa, const Importance* importance) {
    return kernel_for(isa)(source, target, rule, rule == Rule::fit ? importance : nullptr);
}

} // namespace flashmoe::quant
