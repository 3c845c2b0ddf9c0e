#include "guarded_place.h"

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)
#define ASAN_UNPOISON_MEMORY_REGION(address, size)
#endif

namespace fm_msl {
namespace {

using namespace flashmoe;

class GuardedPlace final : public checks::Place {
  public:
    GuardedPlace(Backend &backend, size_t bytes) : backend_(backend) {
        const size_t size = round_up(bytes, kPage);
        mapped_ = size + 2 * kPage;
        mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapping_ == MAP_FAILED) abort();
        const auto base = reinterpret_cast<std::byte *>(round_up(reinterpret_cast<uintptr_t>(mapping_), kPage));
        if (mprotect(base + size, kPage, PROT_NONE) != 0) abort();
        memset(base, 0xff, size);
        buffer_ = backend.wrap(base, size);
        offset_ = size - round_up(bytes, 16);
        ASAN_POISON_MEMORY_REGION(base, offset_);
        ASAN_POISON_MEMORY_REGION(base + offset_ + bytes, size - offset_ - bytes);
    }
    ~GuardedPlace() override {
        ASAN_UNPOISON_MEMORY_REGION(buffer_.host, buffer_.bytes);
        backend_.unwrap(buffer_);
        munmap(mapping_, mapped_);
    }

  private:
    Backend &backend_;
    void *mapping_ = nullptr;
    size_t mapped_ = 0;
};

} // namespace

std::unique_ptr<checks::Place> allocate_guarded(Backend &backend, size_t bytes) {
    return std::make_unique<GuardedPlace>(backend, bytes);
}

} // namespace fm_msl
