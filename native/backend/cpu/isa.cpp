// Which kernels this machine can run.
#include "backend/cpu/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace flashmoe::cpu {

#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();

namespace {

/// Not among the features that every compiler's __builtin_cpu_supports knows.
bool has_f16c() {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 29)) != 0;
}

} // namespace
#elif defined(__aarch64__)
const Kernels& neon_kernels();
#endif

std::vector<const Kernels*> available_kernels() {
    std::vector<const Kernels*> tables{&scalar_kernels()};
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (avx2) tables.push_back(&avx2_kernels());
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        tables.push_back(&avx512_kernels());
    }
#elif defined(__aarch64__)
    tables.push_back(&neon_kernels());
#endif
    return tables;
}

const Kernels& best_kernels() {
    static const Kernels* best = available_kernels().back();
    return *best;
}

} // namespace flashmoe::cpu
