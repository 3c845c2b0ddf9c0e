// The references that GPU backends are held against, held against the CPU backend.
#include <cstdio>

#include "backend/checks/checker.h"
#include "backend/cpu/cpu_backend.h"
#include "test/harness.h"

TEST("every operation of the CPU backend agrees with the double-precision references") {
    flashmoe::cpu::CpuBackend backend(2, flashmoe::cpu::best_kernels());
    const auto checks = flashmoe::checks::check_backend(backend, 7);
    EXPECT(checks.size() > 30);
    for (const auto& check : checks) {
        if (!check.ok()) harness::fail_at(__FILE__, __LINE__, check.name, ": ", check.max_error, " over ", check.tolerance);
    }
}
