#include <cstdio>

#include "backend/cpu/self_test.h"
#include "test/harness.h"

using namespace flashmoe::cpu;

TEST("every instruction set of this machine agrees with the double-precision references") {
    for (const Kernels* kernels : available_kernels()) {
        fm_kernel_check checks[64];
        const size_t count = self_test(*kernels, checks, 64);
        EXPECT(count > 0 && count <= 64);
        for (size_t i = 0; i < count; ++i) {
            const fm_kernel_check& check = checks[i];
            std::printf("%-8s %-28s %.2e (tolerance %.2e)\n", kernels->isa, check.name, check.max_error, check.tolerance);
            if (!check.ok) harness::fail_at(__FILE__, __LINE__, kernels->isa, " ", check.name, ": ", check.max_error);
        }
    }
}
