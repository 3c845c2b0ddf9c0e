// The device that a test program runs on: executed kernels, the Objective-C++ file over its stand-in, or CUDA; which
// one is a matter of linking.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/executed_device.h"

std::unique_ptr<flashmoe::gpu::Device> open_test_device(const fm_msl::ExecutedOptions &options);

/// Device objects that nobody has given back.
int leftover_objects();

/// How command buffers go to the device from now on: as graphs, or kernel by kernel, each waited for and timed. Only CUDA tells the
/// two apart.
void time_kernels(bool timed);
struct KernelTime {
    std::string name;
    uint64_t launches = 0;
    double seconds = 0;
};
/// Of those that were timed, the longest first.
std::vector<KernelTime> kernel_times();

/// Kernels that nothing in this process has dispatched.
std::vector<std::string> kernels_never_run();
