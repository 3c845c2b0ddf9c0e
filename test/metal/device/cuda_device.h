// The thin device API over kernels compiled by CUDA. Managed memory (managed_memory.cu) is used where it lies; mapped files, which
// nobody writes, are copied to the device once. Other host memory is mirrored: what a command binds is copied to the device
// before it runs, and what its kernels may write is copied back when it is waited for.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/metal/device.h"

/// Allocated buffers are device memory that the host cannot see. `graphs`: every command buffer is launched as a graph; otherwise
/// only one that repeats another.
std::unique_ptr<flashmoe::gpu::Device> open_cuda_device(bool graphs);

/// `bytes` of device memory, filled with random words.
std::unique_ptr<flashmoe::gpu::Buffer> resident_buffer(size_t bytes, uint32_t seed);

int live_cuda_objects();
std::vector<std::string> cuda_kernels_never_run();

/// From now on commands launch only kernels whose names begin so; empty: all.
void launch_only(const std::string &prefix);

/// From now on kernels are launched one by one, waited for and timed; and what they took so far: launches and seconds by name.
void time_cuda_kernels(bool timed);
std::map<std::string, std::pair<uint64_t, double>> cuda_kernel_times();

/// Bytes a second of a copy within device memory, read and written.
double copy_bandwidth();
