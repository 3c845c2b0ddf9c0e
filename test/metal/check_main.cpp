// Every kernel, through the host code that ships, against double-precision references on fresh random inputs.
// Usage: metal-check METAL_DIR [SCHEDULE|all] [SEED]. Closes with `N passed, N failed`.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "backend/metal/kernel_source.h"
#include "backend/metal/metal_backend.h"
#include "device/test_device.h"
#include "guarded_place.h"

using namespace flashmoe;

static int failures = 0, passes = 0;

static void run(const std::string &kernels, const char *name, fm_msl::Schedule schedule, uint64_t seed) {
    fm_msl::ExecutedOptions options;
    options.schedule = schedule;
    options.seed = seed;
    try {
        metal::MetalBackend backend(open_test_device(options), metal::kernel_source(kernels));
        for (const checks::Check &check : checks::check_backend(backend, seed, fm_msl::allocate_guarded)) {
            printf("%-8s %-36s %.2e (tolerance %.2e)%s\n", name, check.name.c_str(), check.max_error, check.tolerance,
                   check.ok() ? "" : "  FAILED");
            ++(check.ok() ? passes : failures);
        }
    } catch (const Error &error) {
        printf("%-8s FAILED: %s\n", name, error.what());
        failures++;
    }
    if (leftover_objects() != 0) {
        printf("%-8s FAILED: %d device objects left\n", name, leftover_objects());
        failures++;
    }
}

int main(int count, char **arguments) {
    if (count < 2) return 64;
    const std::string which = count > 2 ? arguments[2] : "all";
    const auto now = std::chrono::system_clock::now().time_since_epoch().count();
    const uint64_t seed = count > 3 ? strtoull(arguments[3], nullptr, 10) : static_cast<uint64_t>(now) % 1000000;
    printf("seed %llu\n", static_cast<unsigned long long>(seed));
    const std::pair<const char *, fm_msl::Schedule> schedules[] = {
        {"forward", fm_msl::Schedule::forward}, {"reverse", fm_msl::Schedule::reverse}, {"random", fm_msl::Schedule::random}};
    for (const auto &[name, schedule] : schedules) {
        if (which == "all" || which == name) run(arguments[1], name, schedule, seed);
    }
    for (const std::string &name : kernels_never_run()) {
        printf("FAILED: nothing runs %s\n", name.c_str());
        failures++;
    }
    printf("%d passed, %d failed\n", passes, failures);
    return failures == 0 && passes > 0 ? 0 : 1;
}
