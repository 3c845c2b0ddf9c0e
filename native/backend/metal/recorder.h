// Records dispatches into command buffers and waits for them in order. Each dispatch sees the results of the one
// before it, except between begin_side_by_side() and end_side_by_side().
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/metal/device.h"

namespace flashmoe::metal {

constexpr uint32_t kSimd = 32;
constexpr uint32_t kThreads = 256;
constexpr uint32_t kSimds = kThreads / kSimd;

/// ceil(count / size).
constexpr uint32_t groups_of(size_t count, size_t size) { return static_cast<uint32_t>((count + size - 1) / size); }

/// A kernel by name; its pipeline is made when it is first used.
struct Kernel {
    explicit Kernel(std::string kernel_name) : name(std::move(kernel_name)) {}
    const std::string name;
    std::unique_ptr<gpu::Pipeline> pipeline;
};

/// One kernel for each format of weights: BASE_qBITS_TYPE, and BASE_TYPE for unquantised ones.
class FormatKernels {
  public:
    explicit FormatKernels(const char* base);
    Kernel& of(const Matrix& matrix);

  private:
    /// 2, 4 and 8 bits, then plain; bf16, f16, f32 of each.
    std::vector<Kernel> kernels_;
};

class Recorder {
  public:
    explicit Recorder(gpu::Device& device);
    ~Recorder();

    /// Starts a dispatch; bind() and bytes() number its arguments.
    void begin(Kernel& kernel);
    void bind(uint32_t index, const Span& span);
    void bind(uint32_t index, gpu::Buffer& buffer, size_t offset = 0);
    template <typename T> void bytes(uint32_t index, const T& value) { bytes(index, &value, sizeof value); }
    void bytes(uint32_t index, const void* value, size_t size);
    /// Threads that a threadgroup of the dispatch being recorded may have, at most 1,024.
    uint32_t most_threads() const;
    void dispatch(gpu::Size3 groups, uint32_t threads);
    /// The next dispatch does not see what the last one does, and need not wait for it.
    void beside_last() { barrier_due_ = false; }
    void begin_side_by_side();
    void end_side_by_side();
    /// Keeps a buffer until what has been recorded is done.
    void retire(std::unique_ptr<gpu::Buffer> buffer);

    /// Commits what was recorded; its ticket, or that of the last commit when nothing was. 0: all is done.
    uint64_t submit();
    /// Throws FM_ENGINE with the device's words.
    void wait_for(uint64_t ticket);
    void wait();
    const BackendCounters& counters() const { return counters_; }

  private:
    struct Flight {
        uint64_t ticket;
        std::unique_ptr<gpu::Command> command;
        std::vector<std::unique_ptr<gpu::Buffer>> retired;
    };
    gpu::Command& open();

    gpu::Device& device_;
    const std::string device_name_;
    std::unique_ptr<gpu::Command> command_;
    std::vector<std::unique_ptr<gpu::Buffer>> retired_;
    std::deque<Flight> flights_;
    uint64_t tickets_ = 0;
    uint32_t recorded_ = 0;
    /// Of the dispatch being recorded.
    const Kernel* kernel_ = nullptr;
    bool barrier_due_ = false, side_by_side_ = false;
    BackendCounters counters_;
};

} // namespace flashmoe::metal
