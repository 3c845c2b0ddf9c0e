// Page-aligned zeroed memory, taken from the system and given back. Untouched pages cost nothing, so a session can reserve
// address space for its longest context and use memory only as tokens come.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmoe {

/// Apple silicon's page; a multiple of the page of every other supported machine.
constexpr size_t kPage = 16384;

constexpr size_t round_up(size_t value, size_t step) { return (value + step - 1) / step * step; }

class PageMemory {
  public:
    PageMemory() = default;
    /// Throws FM_CONTEXT when the system doesn't give `bytes` of address space.
    explicit PageMemory(size_t bytes);
    ~PageMemory();
    PageMemory(PageMemory&& other) noexcept;
    PageMemory& operator=(PageMemory&& other) noexcept;

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }
    /// What a range of whole pages holds is lost, and costs nothing until it is touched again.
    void give_back(size_t offset, size_t bytes);

  private:
    std::byte* data_ = nullptr;
    size_t size_ = 0;
    size_t mapped_ = 0;
    void* mapping_ = nullptr;
};

/// Bytes the machine can give without swapping out others' work: MemAvailable on Linux, physical memory on macOS.
uint64_t available_memory();

} // namespace flashmoe
