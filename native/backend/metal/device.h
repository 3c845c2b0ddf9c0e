// All that the engine sees of a GPU: buffers over host memory, kernels by name, commands in order. Implemented by
// metal_device.mm on a Mac; tests implement it over the executed kernels. No planning and no layout belongs here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace flashmoe::gpu {

struct Size3 {
    uint32_t x = 1, y = 1, z = 1;
};

struct DeviceFacts {
    std::string name;
    /// Bytes the device can keep resident without paging others out.
    uint64_t recommended_working_set = 0;
    uint64_t max_buffer_bytes = 0;
    bool low_power = false;
};

/// Host memory the device can use. Wrapped memory outlives it.
class Buffer {
  public:
    virtual ~Buffer() = default;
    virtual std::byte* contents() = 0;
    virtual size_t size() const = 0;
};

/// A compiled kernel.
class Pipeline {
  public:
    virtual ~Pipeline() = default;
    virtual uint32_t max_threads() const = 0;
    virtual uint32_t simd_width() const = 0;
};

/// Commands encoded in order. Dispatches between two barriers may run at the same time.
class Command {
  public:
    virtual ~Command() = default;
    virtual void use(const Pipeline& pipeline) = 0;
    virtual void bind(uint32_t index, Buffer& buffer, size_t offset) = 0;
    /// At most 4,096 bytes, copied.
    virtual void bind_bytes(uint32_t index, const void* bytes, size_t size) = 0;
    virtual void dispatch(Size3 threadgroups, Size3 threads) = 0;
    virtual void barrier() = 0;
    /// Hands the commands to the device. Nothing may be encoded after it.
    virtual void commit() = 0;
    /// Waits for completion; returns an empty text or what the device reported.
    virtual std::string wait() = 0;
    /// Device seconds, once waited for.
    virtual double seconds() const = 0;
};

class Device {
  public:
    virtual ~Device() = default;
    virtual DeviceFacts facts() const = 0;
    virtual std::unique_ptr<Buffer> allocate(size_t bytes) = 0;
    /// No copy. `bytes` and `memory` are multiples of 16,384. Null when the device refuses.
    virtual std::unique_ptr<Buffer> wrap(void* memory, size_t bytes) = 0;
    /// Compiles kernels from source; the text of the compiler's errors, or empty.
    virtual std::string compile(const std::string& source) = 0;
    /// Null, and the problem, when there is no such kernel or the device cannot run it.
    virtual std::unique_ptr<Pipeline> pipeline(const std::string& name, std::string& problem) = 0;
    /// Null when the device gives none.
    virtual std::unique_ptr<Command> command() = 0;
};

/// The machine's GPU, or null and the reason. Linked as a stub that says "no Metal" where there is none.
std::unique_ptr<Device> open_device(std::string& reason);

} // namespace flashmoe::gpu
