#include "core/memory.h"

#include <cstdio>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

#include "core/error.h"

namespace flashmoe {
namespace {

#ifdef MAP_NORESERVE
constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
#endif

} // namespace

PageMemory::PageMemory(size_t bytes) : size_(round_up(bytes, kPage)) {
    if (size_ == 0) return;
    // One page more, because a system with smaller pages may hand out an address between two of ours.
    mapped_ = size_ + kPage;
    mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (mapping_ == MAP_FAILED) {
        mapping_ = nullptr;
        fail(FM_CONTEXT, "the system gives no ", size_, " bytes of memory");
    }
    data_ = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uintptr_t>(mapping_), kPage));
}

PageMemory::~PageMemory() {
    if (mapping_ != nullptr) munmap(mapping_, mapped_);
}

void PageMemory::give_back(size_t offset, size_t bytes) {
    // Mapped anew: the one way that every system takes at once, and that keeps the addresses.
    if (mmap(data_ + offset, bytes, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED, -1, 0) == MAP_FAILED) {
        fail(FM_CONTEXT, "the system takes no ", bytes, " bytes of memory back");
    }
}

PageMemory::PageMemory(PageMemory&& other) noexcept { *this = std::move(other); }

PageMemory& PageMemory::operator=(PageMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
    std::swap(mapping_, other.mapping_);
    return *this;
}

uint64_t available_memory() {
#ifdef __linux__
    if (FILE* file = std::fopen("/proc/meminfo", "r")) {
        char line[128];
        unsigned long long kib = 0;
        while (std::fgets(line, sizeof line, file) != nullptr && std::sscanf(line, "MemAvailable: %llu", &kib) != 1) {
        }
        std::fclose(file);
        if (kib != 0) return kib * 1024;
    }
#endif
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page) : UINT64_MAX;
}

} // namespace flashmoe
