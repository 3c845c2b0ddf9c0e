// Which GPU metal_device.mm opens, on which systems, and what it says when there is none it can use.
// Closes with `N passed, N failed`.
#include <cstdio>
#include <memory>
#include <string>

#include "stand_in.h"

using namespace flashmoe;

namespace {

int failures = 0, passes = 0;

void expect(bool holds, const char *sentence, const std::string &found = "") {
    if (!holds) printf("FAILED %s: %s\n", sentence, found.c_str());
    ++(holds ? passes : failures);
}

/// Opens a device, makes a buffer of it and drops both; what was said when there was none.
std::string opened(const fm_msl::Shortcomings &shortcomings, bool &is_open) {
    fm_msl::ExecutedOptions options;
    options.shortcomings = shortcomings;
    fm_stand_in_options(options);
    std::string reason;
    const std::unique_ptr<gpu::Device> device = gpu::open_device(reason);
    is_open = device != nullptr && device->allocate(16384) != nullptr;
    return reason;
}

void expect_open(const char *sentence, const fm_msl::Shortcomings &shortcomings) {
    bool is_open = false;
    const std::string reason = opened(shortcomings, is_open);
    expect(is_open, sentence, reason);
}

void expect_refused(const char *sentence, const fm_msl::Shortcomings &shortcomings, const std::string &words) {
    bool is_open = true;
    const std::string reason = opened(shortcomings, is_open);
    expect(!is_open && reason == words, sentence, reason);
}

} // namespace

int main() {
    expect_open("the device of the list is opened", {});
    expect_open("a program without a default device still finds the GPU in the list", {.no_default_device = true});
    expect_open("a system whose list is empty has its default device opened", {.no_listed_device = true});
    expect_open("macOS 14 is asked for nothing that came later", {.macos_14 = true});
    expect_refused("a machine with neither says so", {.no_default_device = true, .no_listed_device = true},
                   "this machine shows no Metal device");
    expect_refused("the GPU of a virtual machine is refused by name", {.paravirtual = true},
                   "stand-in for Metal is of no GPU family from Apple 7 (M1) on: it has no SIMD-group reductions");
    expect(fm_stand_in_live() == 0, "nothing is left of any device", std::to_string(fm_stand_in_live()));
    printf("%d passed, %d failed\n", passes, failures);
    return failures == 0 ? 0 : 1;
}
