#include "backend/metal/recorder.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace flashmoe::metal {
namespace {

constexpr ElementType kTypes[] = {ElementType::bf16, ElementType::f16, ElementType::f32};
constexpr const char* kTypeNames[] = {"bf16", "f16", "f32"};
constexpr uint32_t kBits[] = {2, 4, 8, 0};
/// A device begins with what it is handed: so many dispatches it computes while the host records the next.
constexpr uint32_t kMostRecorded = 128;

} // namespace

FormatKernels::FormatKernels(const char* base) {
    for (const uint32_t bits : kBits) {
        for (const char* type : kTypeNames) {
            const std::string width = bits == 0 ? "_" : "_q" + std::to_string(bits) + "_";
            kernels_.emplace_back(base + width + type);
        }
    }
}

Kernel& FormatKernels::of(const Matrix& matrix) {
    size_t at = 0;
    while (kBits[at / 3] != matrix.bits || kTypes[at % 3] != matrix.type) {
        if (++at == kernels_.size()) fail(FM_ENGINE, "the Metal backend has no kernel for ", matrix.bits, "-bit weights of this type");
    }
    return kernels_[at];
}

Recorder::Recorder(gpu::Device& device) : device_(device), device_name_(device.facts().name) {}

Recorder::~Recorder() {
    // What is under way still reads buffers of ours.
    if (command_ != nullptr) submit();
    for (Flight& flight : flights_) flight.command->wait();
}

gpu::Command& Recorder::open() {
    if (command_ == nullptr) command_ = device_.command();
    if (command_ == nullptr) fail(FM_ENGINE, device_name_, " gives no command buffer");
    return *command_;
}

void Recorder::begin(Kernel& kernel) {
    if (kernel.pipeline == nullptr) {
        std::string problem;
        kernel.pipeline = device_.pipeline(kernel.name, problem);
        if (kernel.pipeline == nullptr) fail(FM_ENGINE, device_name_, ": kernel ", kernel.name, ": ", problem);
        const uint32_t width = kernel.pipeline->simd_width();
        if (width != kSimd) fail(FM_ENGINE, device_name_, " has simdgroups of ", width, " threads, not 32");
    }
    kernel_ = &kernel;
    gpu::Command& command = open();
    if (barrier_due_) command.barrier();
    barrier_due_ = false;
    command.use(*kernel.pipeline);
}

void Recorder::bind(uint32_t index, const Span& span) {
    command_->bind(index, *static_cast<gpu::Buffer*>(span.buffer->device), span.offset);
}

void Recorder::bind(uint32_t index, gpu::Buffer& buffer, size_t offset) { command_->bind(index, buffer, offset); }

void Recorder::bytes(uint32_t index, const void* value, size_t size) { command_->bind_bytes(index, value, size); }

uint32_t Recorder::most_threads() const { return std::min(1024u, kernel_->pipeline->max_threads() / kSimd * kSimd); }

void Recorder::dispatch(gpu::Size3 groups, uint32_t threads) {
    const uint32_t most = kernel_->pipeline->max_threads();
    if (threads > most) {
        fail(FM_ENGINE, device_name_, ": ", kernel_->name, " runs with at most ", most, " threads, not ", threads);
    }
    command_->dispatch(groups, {threads, 1, 1});
    barrier_due_ = !side_by_side_;
    counters_.dispatches++;
    if (++recorded_ >= kMostRecorded && !side_by_side_) submit();
}

void Recorder::begin_side_by_side() { side_by_side_ = true; }

void Recorder::end_side_by_side() {
    side_by_side_ = false;
    barrier_due_ = command_ != nullptr;
}

void Recorder::retire(std::unique_ptr<gpu::Buffer> buffer) {
    if (buffer != nullptr) retired_.push_back(std::move(buffer));
}

uint64_t Recorder::submit() {
    if (command_ != nullptr) {
        command_->commit();
        counters_.submits++;
        recorded_ = 0;
        // Between command buffers of one queue Metal orders uses of the same buffer itself.
        barrier_due_ = false;
        flights_.push_back({++tickets_, std::move(command_), std::move(retired_)});
        retired_.clear();
    }
    return flights_.empty() ? 0 : flights_.back().ticket;
}

void Recorder::wait_for(uint64_t ticket) {
    if (flights_.empty() || flights_.front().ticket > ticket) return;
    const auto start = std::chrono::steady_clock::now();
    std::string error;
    while (!flights_.empty() && flights_.front().ticket <= ticket) {
        const std::unique_ptr<gpu::Command> command = std::move(flights_.front().command);
        std::string problem = command->wait();
        if (error.empty()) error = std::move(problem);
        counters_.device_seconds += command->seconds();
        flights_.pop_front();
    }
    counters_.waits++;
    counters_.waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!error.empty()) fail(FM_ENGINE, device_name_, ": ", error);
}

void Recorder::wait() {
    const uint64_t last = submit();
    // Nothing recorded since: what was outgrown is no longer needed either.
    retired_.clear();
    wait_for(last);
}

} // namespace flashmoe::metal
