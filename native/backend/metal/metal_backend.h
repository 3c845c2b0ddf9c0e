// The GPU implementation of the backend: operations become dispatches, in order, on one command buffer until wait().
// Portable C++ over gpu::Device; what is Metal's own is in metal_device.mm.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/metal/device.h"

namespace flashmoe::metal {

struct Counters {
    uint64_t dispatches = 0, waits = 0;
    double device_seconds = 0, waited_seconds = 0;
};

class MetalBackend final : public Backend {
  public:
    /// `source`: the text of all kernels. Throws FM_ENGINE with the compiler's words.
    MetalBackend(std::unique_ptr<gpu::Device> device, const std::string& source);
    ~MetalBackend() override;

    const char* name() const override { return "metal"; }
    const char* isa() const override { return device_name_.c_str(); }
    Buffer wrap(void* host, size_t bytes) override;
    void unwrap(Buffer& buffer) override;

    void embed(const Matrix& table, Span ids, Span y, uint32_t tokens) override;
    void rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) override;
    void linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) override;
    void add(Span y, Span x, size_t count) override;
    void add_gated(Span y, Span x, Span gate, uint32_t width, uint32_t tokens) override;
    void swiglu(Span gate, Span up, Span y, size_t count) override;
    void gqa_append(const GqaAppend& op) override;
    void gqa_attend(const GqaAttend& op) override;
    void delta_net(const DeltaNet& op) override;
    void mla_append(const MlaAppend& op) override;
    void mla_attend(const MlaAttend& op) override;
    void route(const Router& op) override;
    void experts(const ExpertBatch& op) override;
    void wait() override;
    void trim() override;

    const Counters& counters() const { return counters_; }

  private:
    /// Device memory of our own that grows to the largest request; given up only when nothing is in flight.
    struct Room {
        std::unique_ptr<gpu::Buffer> buffer;
    };

    gpu::Command& command();
    /// Starts a dispatch of the named kernel; bind() and bytes() number its arguments.
    void begin(const std::string& name);
    void bind(uint32_t index, Span span);
    void bind(uint32_t index, gpu::Buffer& buffer, size_t offset = 0);
    template <typename T> void bytes(uint32_t index, const T& value) { raw_bytes(index, &value, sizeof value); }
    void raw_bytes(uint32_t index, const void* value, size_t size);
    void dispatch(gpu::Size3 groups, uint32_t threads);
    gpu::Buffer& room(Room& room, size_t bytes);
    void bind_matrix(const Matrix& matrix);
    /// Head-wise linears of latent attention.
    void head_linear(const std::string& base, const Matrix& matrix, gpu::Buffer& x, size_t x_offset, gpu::Buffer& y,
                     size_t y_offset, uint32_t heads, uint32_t head_rows, uint32_t first_row, uint32_t rows, uint32_t x_stride,
                     uint32_t y_stride, uint32_t tokens);
    void merge(gpu::Buffer& parts, gpu::Buffer& stats, const Span* q, gpu::Buffer& out, size_t out_offset, uint32_t heads,
               uint32_t dim, uint32_t q_stride, bool gated, uint32_t splits, uint32_t tokens);

    std::unique_ptr<gpu::Device> device_;
    std::string device_name_;
    std::map<std::string, std::unique_ptr<gpu::Pipeline>> pipelines_;
    std::unique_ptr<gpu::Command> command_;
    /// Of the dispatch being encoded.
    const std::string* kernel_ = nullptr;
    uint32_t max_threads_ = 0;
    Counters counters_;
    Room parts_, stats_, queries_, latents_, inner_, results_;
};

} // namespace flashmoe::metal
