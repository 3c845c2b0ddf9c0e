// The references that GPU backends are held against, held against the CPU backend.
#include <cmath>

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

TEST("an error that is no number fails a check, whatever follows it") {
    flashmoe::cpu::CpuBackend backend(1, flashmoe::cpu::best_kernels());
    flashmoe::checks::Checker checker(backend, 7);
    for (const double error : {0.0, double{NAN}, 0.0}) checker.record("one", 1.0, error);
    for (const double error : {double{NAN}, 2.0, 0.5}) checker.record("another", 1.0, error);
    const auto checks = checker.take_results();
    EXPECT(checks.size() == 2);
    for (const auto& check : checks) EXPECT(!check.ok());
}
