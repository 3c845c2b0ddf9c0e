#include "device/cuda_device.h"
#include "device/test_device.h"

std::unique_ptr<flashmoe::gpu::Device> open_test_device(const fm_msl::ExecutedOptions &) { return open_cuda_device(); }

int leftover_objects() { return live_cuda_objects(); }

std::vector<std::string> kernels_never_run() { return cuda_kernels_never_run(); }

void hand_over_whole(bool whole) { launch_as_graphs(whole); }
