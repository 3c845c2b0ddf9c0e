#include "quant/groups.h"

#include <initializer_list>

namespace flashmoe::quant {

void ErrorSums::add(const ErrorSums& other) {
    squared_error += other.squared_error;
    range_error += other.range_error;
    sum += other.sum;
    sum_of_squares += other.sum_of_squares;
    values += other.values;
    broken_groups += other.broken_groups;
}

bool has_isa(Isa isa) {
    switch (isa) {
    case Isa::scalar: return true;
#if defined(__x86_64__)
    case Isa::avx2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
    case Isa::avx512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("popcnt");
#elif defined(__aarch64__)
    case Isa::neon: return true;
#endif
    default: return false;
    }
}

Isa best_isa() {
    static const Isa best = [] {
        for (const Isa isa : {Isa::avx512, Isa::avx2, Isa::neon}) {
            if (has_isa(isa)) return isa;
        }
        return Isa::scalar;
    }();
    return best;
}

const char* isa_name(Isa isa) {
    switch (isa) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    case Isa::neon: return "neon";
    case Isa::scalar: break;
    }
    return "scalar";
}

static Kernel kernel_for(Isa isa) {
    switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2: return requantise4_avx2;
    case Isa::avx512: return requantise4_avx512;
#elif defined(__aarch64__)
    case Isa::neon: return requantise4_neon;
#endif
    default: return requantise4_scalar;
    }
}

ErrorSums requantise(const Codes& source, const AffineTarget& target, Method method, Isa isa,
                     const Importance* importance) {
    if (method == Method::minmax) importance = nullptr;
    if (target.bits != 2) return requantise_any_width(source, target, method, isa, importance);
    if (source.bits != 4) return requantise_values(source, target, method, importance);
    return kernel_for(isa)(source, target, method, importance);
}

} // namespace flashmoe::quant
