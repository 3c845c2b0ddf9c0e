#include <algorithm>

#include "device/cuda_device.h"
#include "device/test_device.h"

std::unique_ptr<flashmoe::gpu::Device> open_test_device(const fm_msl::ExecutedOptions &) { return open_cuda_device(false); }

int leftover_objects() { return live_cuda_objects(); }

std::vector<std::string> kernels_never_run() { return cuda_kernels_never_run(); }

void time_kernels(bool timed) { time_cuda_kernels(timed); }

std::vector<KernelTime> kernel_times() {
    std::vector<KernelTime> times;
    for (const auto &[name, sum] : cuda_kernel_times()) times.push_back({name, sum.first, sum.second});
    std::sort(times.begin(), times.end(), [](const KernelTime &a, const KernelTime &b) { return a.seconds > b.seconds; });
    return times;
}
