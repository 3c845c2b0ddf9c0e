// The device that a test program runs on: executed kernels, the Objective-C++ file over its stand-in, or CUDA; which
// one is a matter of linking.
#pragma once

#include <memory>

#include "device/executed_device.h"

std::unique_ptr<flashmoe::gpu::Device> open_test_device(const fm_msl::ExecutedOptions &options);

/// Device objects that nobody has given back.
int leftover_objects();

/// From now on a command buffer is handed over whole, for the time that its kernels take, or kernel by kernel, which begins sooner.
/// Only CUDA tells the two apart.
void hand_over_whole(bool whole);

/// Kernels that nothing in this process has dispatched.
std::vector<std::string> kernels_never_run();
