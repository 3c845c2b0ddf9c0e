// The thin device API over executed kernels. Stricter than a GPU: dispatches between two barriers run last to first,
// sizes and alignments are held to what Metal's validation demands, and nothing stays alive unnoticed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/metal/device.h"
#include "executor/executor.h"

namespace fm_msl {

/// What a device may be short of, or report.
struct Shortcomings {
    uint64_t working_set = 1ull << 34, max_buffer = 1ull << 34;
    bool low_power = false, no_buffers = false, no_commands = false;
    /// Of Metal's own: a system before macOS 15, a virtual machine's GPU, and the two ways of finding one.
    bool macos_14 = false, paravirtual = false, no_default_device = false, no_listed_device = false;
    uint32_t simd_width = SIMD_WIDTH, max_threads = 1024;
    /// Texts of the compiler, of a pipeline, and of the first command buffer that is waited for; empty: none.
    std::string compiler = {}, pipeline = {}, command = {};
};

struct ExecutedOptions {
    Schedule schedule = Schedule::forward;
    int os_threads = 2;
    uint64_t seed = 1;
    Shortcomings shortcomings = {};
};

std::unique_ptr<flashmoe::gpu::Device> open_executed_device(const ExecutedOptions &options);

/// Live buffers, pipelines and commands: zero when everything was given back.
int live_objects();

/// Barriers between dispatches, each named after the kernel before it without format and width.
std::vector<std::string> recorded_barriers();
/// Leaves out every recorded barrier after kernels of this name; empty: none.
void leave_out_barriers_after(const std::string &kernel);

/// Kernels that nothing in this process has dispatched.
std::vector<std::string> unused_kernels();

} // namespace fm_msl
