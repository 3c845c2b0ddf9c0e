// What the Metal host code says when the device falls short or reports an error, and that it goes on after it.
// Usage: metal-faults METAL_DIR. Closes with `N passed, N failed`.
#include <cstdio>
#include <functional>
#include <string>

#include "backend/metal/kernel_source.h"
#include "backend/metal/metal_backend.h"
#include "device/test_device.h"
#include "guarded_place.h"

using namespace flashmoe;

namespace {

constexpr size_t kPageBytes = 16384;
int failures = 0, passes = 0;

void expect(bool holds, const char *sentence, const std::string &found = "") {
    if (!holds) printf("FAILED %s: %s\n", sentence, found.c_str());
    ++(holds ? passes : failures);
}

/// What `action` fails with; empty when it succeeds.
std::string failure_of(const std::function<void()> &action) {
    try {
        action();
        return "";
    } catch (const Error &error) {
        return error.what();
    }
}

void expect_failure(const char *sentence, const std::function<void()> &action, const std::string &part) {
    const std::string found = failure_of(action);
    expect(found.find(part) != std::string::npos, sentence, found.empty() ? "nothing failed" : found);
}

class Faults {
  public:
    explicit Faults(const std::string &folder) : source_(metal::kernel_source(folder)) {}

    metal::MetalBackend backend(const fm_msl::Shortcomings &shortcomings) const {
        fm_msl::ExecutedOptions options;
        options.shortcomings = shortcomings;
        return metal::MetalBackend(open_test_device(options), source_);
    }

  private:
    const std::string source_;
};

/// The smallest operation there is: y = x + y of four numbers; true when the device has computed it.
bool adds(metal::MetalBackend &backend) {
    checks::Checker checker(backend, 1, fm_msl::allocate_guarded);
    const Span x = checker.floats({1, 2, 3, 4}), y = checker.floats({10, 20, 30, 40});
    backend.add(y, x, 4);
    backend.wait();
    const auto *sums = y.as<float>();
    return sums[0] == 11 && sums[1] == 22 && sums[2] == 33 && sums[3] == 44;
}

void compiler(const Faults &faults) {
    expect_failure("the compiler's words are in the error", [&] { faults.backend({.compiler = "router.metal:7:3: error: no such thing"}); },
                   "do not compile on ");
    expect_failure("the compiler names file and line", [&] { faults.backend({.compiler = "router.metal:7:3: error: no such thing"}); },
                   ": router.metal:7:3: error: no such thing");
    metal::MetalBackend refused = faults.backend({.pipeline = "too many registers"});
    expect_failure("a pipeline that is refused names its kernel and the reason", [&] { adds(refused); }, ": kernel fm_add: too many registers");
}

void commands(const Faults &faults) {
    metal::MetalBackend once = faults.backend({.command = "Caused GPU Timeout Error (IOAF code 2)"});
    expect_failure("an error of a command buffer reaches whoever waits", [&] { adds(once); }, ": Caused GPU Timeout Error (IOAF code 2)");
    expect(adds(once), "the command buffer after it works");
    metal::MetalBackend none = faults.backend({.no_commands = true});
    expect_failure("a queue that gives no command buffer is named", [&] { adds(none); }, " gives no command buffer");
}

void widths(const Faults &faults) {
    metal::MetalBackend narrow = faults.backend({.simd_width = 16});
    expect_failure("simdgroups of another width are refused", [&] { adds(narrow); }, " has simdgroups of 16 threads, not 32");
    metal::MetalBackend small = faults.backend({.max_threads = 31});
    expect_failure("a pipeline of too few threads is refused", [&] { adds(small); }, ": fm_add runs with at most 31 threads, not ");
}

void memory(const Faults &faults) {
    const PageMemory host(4 * kPageBytes);
    metal::MetalBackend backend = faults.backend({.working_set = 3 * kPageBytes, .max_buffer = 2 * kPageBytes});
    expect_failure("a buffer larger than the device takes is refused with both numbers", [&] { backend.wrap(host.data(), 3 * kPageBytes); },
                   " takes buffers of at most 32768 bytes, not 49152");
    Buffer two = backend.wrap(host.data(), 2 * kPageBytes);
    expect(backend.memory_left() == kPageBytes, "what is wrapped counts", std::to_string(backend.memory_left()));
    expect_failure("more than the recommended working set is refused with all three numbers",
                   [&] { backend.wrap(host.data() + 2 * kPageBytes, 2 * kPageBytes); },
                   " keeps 49152 bytes resident; 32768 are in use and 32768 more were asked for");
    backend.unwrap(two);
    expect(backend.memory_left() == 3 * kPageBytes, "what is given back counts no more", std::to_string(backend.memory_left()));
    metal::MetalBackend unbounded = faults.backend({.working_set = 0});
    expect(unbounded.memory_left() == UINT64_MAX, "a device that recommends nothing sets no limit");
    metal::MetalBackend refusing = faults.backend({.no_buffers = true});
    expect_failure("a buffer that the device refuses is named with its size", [&] { refusing.wrap(host.data(), kPageBytes); },
                   " refuses a buffer of 16384 bytes");
}

void power() {
    fm_msl::ExecutedOptions options;
    expect(!open_test_device(options)->facts().low_power, "low power mode is off where it is off");
    options.shortcomings.low_power = true;
    expect(open_test_device(options)->facts().low_power, "low power mode is seen");
}

} // namespace

int main(int count, char **arguments) {
    if (count < 2) return 64;
    const Faults faults(arguments[1]);
    compiler(faults);
    commands(faults);
    widths(faults);
    memory(faults);
    power();
    expect(leftover_objects() == 0, "nothing is left of any device", std::to_string(leftover_objects()));
    printf("%d passed, %d failed\n", passes, failures);
    return failures == 0 ? 0 : 1;
}
