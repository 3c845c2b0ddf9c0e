// Memory that a GPU and the host share, in place of core/memory.cpp: large pieces are managed and stay with the GPU, small ones are
// pinned, so that mirroring them is one fast copy. And experts are read to a pinned place first, from which the GPU fetches them:
// a processor's write into managed memory would fetch every page from the GPU before it.
#include <cstdio>
#include <cstring>
#include <thread>
#include <unistd.h>
#include <vector>

#include <cuda_runtime.h>

#include "core/error.h"
#include "core/memory.h"

// The real one, under another name.
#define read_experts read_experts_to_host
#include "experts/read_experts.cpp"
#undef read_experts

namespace flashmoe {
namespace {

constexpr size_t kManagedFrom = size_t{16} << 20;

void must(cudaError_t status, const char *what) {
    if (status != cudaSuccess) fail(FM_CONTEXT, what, ": ", cudaGetErrorString(status));
}

void stay_with_gpu(void *memory, size_t bytes) {
#if CUDART_VERSION >= 13000
    const cudaMemLocation place{cudaMemLocationTypeDevice, 0};
    must(cudaMemAdvise(memory, bytes, cudaMemAdviseSetPreferredLocation, place), "cudaMemAdvise");
#else
    must(cudaMemAdvise(memory, bytes, cudaMemAdviseSetPreferredLocation, 0), "cudaMemAdvise");
#endif
}

} // namespace

PageMemory::PageMemory(size_t bytes) : size_(round_up(bytes, kPage)) {
    if (size_ == 0) return;
    mapped_ = size_ + kPage;
    if (mapped_ >= kManagedFrom) {
        must(cudaMallocManaged(&mapping_, mapped_), "cudaMallocManaged");
        stay_with_gpu(mapping_, mapped_);
        must(cudaMemset(mapping_, 0, mapped_), "cudaMemset");
        must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    } else {
        must(cudaHostAlloc(&mapping_, mapped_, cudaHostAllocDefault), "cudaHostAlloc");
        memset(mapping_, 0, mapped_);
    }
    data_ = reinterpret_cast<std::byte *>(round_up(reinterpret_cast<uintptr_t>(mapping_), kPage));
}

PageMemory::~PageMemory() {
    if (mapping_ == nullptr) return;
    if (mapped_ >= kManagedFrom) cudaFree(mapping_);
    else cudaFreeHost(mapping_);
}

void PageMemory::give_back(size_t offset, size_t bytes) { memset(data_ + offset, 0, bytes); }

PageMemory::PageMemory(PageMemory &&other) noexcept { *this = std::move(other); }

PageMemory &PageMemory::operator=(PageMemory &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
    std::swap(mapping_, other.mapping_);
    return *this;
}

uint64_t available_memory() {
    return static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint32_t read_experts(const ExpertLayer &layer, uint32_t first, uint32_t count, std::byte *const *targets, std::string &failure) {
    // Of each reading thread, as long as the process lives.
    thread_local std::byte *staged = nullptr;
    thread_local size_t room = 0;
    thread_local cudaStream_t stream = nullptr;
    const size_t stride = layer.shape(first).expert_stride, size = layer.shape(first).expert_size;
    if (room < count * stride) {
        if (staged != nullptr) must(cudaFreeHost(staged), "cudaFreeHost");
        must(cudaHostAlloc(reinterpret_cast<void **>(&staged), count * stride, cudaHostAllocDefault), "cudaHostAlloc");
        room = count * stride;
    }
    if (stream == nullptr) must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    std::vector<std::byte *> places;
    for (uint32_t i = 0; i < count; i++) places.push_back(staged + i * stride);
    const uint32_t whole = read_experts_to_host(layer, first, count, places.data(), failure);
    for (uint32_t i = 0; i < whole; i++) must(cudaMemcpyAsync(targets[i], places[i], size, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
    must(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return whole;
}

} // namespace flashmoe
