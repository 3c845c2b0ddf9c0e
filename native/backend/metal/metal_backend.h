// The GPU implementation of the backend: operations become dispatches, in order. Portable C++ over gpu::Device; what
// is Metal's own is in metal_device.mm. Operations are in metal_dense, _attention, _mla, _delta_net and _experts.cpp.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/metal/device.h"
#include "backend/metal/recorder.h"

namespace flashmoe::metal {

class MetalBackend final : public Backend {
  public:
    /// `source`: the text of all kernels. Throws FM_ENGINE with the compiler's words.
    MetalBackend(std::unique_ptr<gpu::Device> device, const std::string& source);
    ~MetalBackend() override;

    const char* name() const override { return "metal"; }
    const char* isa() const override { return facts_.name.c_str(); }
    /// Throws FM_ENGINE when the buffer is larger than the device takes, or more than its budget.
    Buffer wrap(void* host, size_t bytes) override;
    void unwrap(Buffer& buffer) override;
    uint64_t memory_left() const override;
    uint64_t max_buffer_bytes() const override;

    void embed(const Matrix& table, Span ids, Span y, uint32_t tokens) override;
    void rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) override;
    void add_norm(Span y, Span x, Span weight, Span out, uint32_t width, float eps, uint32_t tokens) override;
    void linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) override;
    void clear(Span y, size_t count) override;
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
    void add_experts(const ExpertSum& op) override;
    bool chooses_experts() const override { return true; }
    void chosen_experts(const ChosenExperts& op) override;
    uint64_t submit() override { return recorder_.submit(); }
    void wait_for(uint64_t ticket) override { recorder_.wait_for(ticket); }
    void wait() override { recorder_.wait(); }
    void begin_side_by_side() override { recorder_.begin_side_by_side(); }
    void end_side_by_side() override { recorder_.end_side_by_side(); }
    BackendCounters counters() const override { return recorder_.counters(); }
    void trim() override;

  private:
    /// Working memory on the device that grows to the largest request.
    using Room = std::unique_ptr<gpu::Buffer>;

    static constexpr uint32_t kFewestTaps = 2;

    struct Kernels {
        FormatKernels embed{"fm_embed"}, matvec{"fm_matvec"}, matmul{"fm_matmul"};
        FormatKernels expert_gate_up{"fm_expert_gate_up"}, expert_down{"fm_expert_down"};
        FormatKernels expert_tile_8_gate_up{"fm_expert_tile_gate_up_8"}, expert_tile_8_down{"fm_expert_tile_down_8"};
        FormatKernels expert_tile_32_gate_up{"fm_expert_tile_gate_up_32"}, expert_tile_32_down{"fm_expert_tile_down_32"};
        FormatKernels head_matvec{"fm_head_matvec"}, head_matvec_transposed{"fm_head_matvec_transposed"};
        Kernel clear{"fm_clear"}, rms_norm{"fm_rms_norm"}, add_norm{"fm_add_norm"}, add{"fm_add"}, add_gated{"fm_add_gated"}, swiglu{"fm_swiglu"};
        Kernel gqa_append{"fm_gqa_append"}, gqa_merge{"fm_gqa_merge"};
        /// By dimensions a lane (2, 4, 8) and queries a simdgroup (1, 2, 4).
        Kernel gqa_attend[3][3] = {
            {Kernel{"fm_gqa_attend_64_1"}, Kernel{"fm_gqa_attend_64_2"}, Kernel{"fm_gqa_attend_64_4"}},
            {Kernel{"fm_gqa_attend_128_1"}, Kernel{"fm_gqa_attend_128_2"}, Kernel{"fm_gqa_attend_128_4"}},
            {Kernel{"fm_gqa_attend_256_1"}, Kernel{"fm_gqa_attend_256_2"}, Kernel{"fm_gqa_attend_256_4"}},
        };
        /// By tokens that a convolution sees, from kFewestTaps on.
        Kernel delta_conv[7] = {Kernel{"fm_delta_conv_2"}, Kernel{"fm_delta_conv_3"}, Kernel{"fm_delta_conv_4"}, Kernel{"fm_delta_conv_5"},
                                Kernel{"fm_delta_conv_6"}, Kernel{"fm_delta_conv_7"}, Kernel{"fm_delta_conv_8"}};
        Kernel gated_norm{"fm_gated_norm"};
        Kernel delta_step_32{"fm_delta_step_32"}, delta_step_64{"fm_delta_step_64"};
        Kernel delta_step_128{"fm_delta_step_128"}, delta_step_256{"fm_delta_step_256"};
        Kernel mla_append{"fm_mla_append"}, mla_attend_128{"fm_mla_attend_128"}, mla_attend_512{"fm_mla_attend_512"};
        Kernel route_256{"fm_route_256"}, route_512{"fm_route_512"}, route_1024{"fm_route_1024"}, combine{"fm_combine"}, combine_chosen{"fm_combine_chosen"};
    };

    gpu::Buffer& room(Room& room, size_t bytes);
    uint32_t norm_threads(uint32_t width) const;
    void bind_matrix(const Matrix& matrix);
    /// Works [first, first + count), whose results go to `row` on; their number.
    uint32_t experts_of_one_buffer(const ExpertBatch& op, uint32_t first, uint32_t count, uint32_t row);
    /// Last argument and dispatch of a product of the routed experts; the plain ones take a row a simdgroup.
    /// Whose entries a dispatch of experts computes: works' in a list, or a router's of one part of a table.
    struct ExpertChoice {
        uint32_t works, entries;
        const ChosenExperts* chosen = nullptr;
        uint32_t part = 0;
    };
    void dispatch_expert_rows(const Matrix& matrix, uint32_t hidden, uint32_t width, const ExpertChoice& choice);
    /// Head-wise linears of latent attention.
    void head_linear(FormatKernels& kernels, const Matrix& matrix, gpu::Buffer& x, size_t x_offset, gpu::Buffer& y,
                     size_t y_offset, uint32_t heads, uint32_t head_rows, uint32_t first_row, uint32_t rows, uint32_t x_stride,
                     uint32_t y_stride, uint32_t tokens);
    void merge(gpu::Buffer& parts, gpu::Buffer& stats, const Span* q, gpu::Buffer& out, size_t out_offset, uint32_t heads,
               uint32_t dim, uint32_t q_stride, bool gated, uint32_t splits, uint32_t tokens);

    std::unique_ptr<gpu::Device> device_;
    const gpu::DeviceFacts facts_;
    Kernels kernels_;
    Recorder recorder_;
    /// Bytes that the device may have to keep resident for us: wrapped and allocated ones.
    /// Sessions are made and closed beside a step of another.
    std::atomic<uint64_t> in_use_{0};
    /// Number of the last mla_append.
    uint64_t appended_ = 0;
    /// And of the last add_gated.
    uint64_t gated_ = 0;
    Room parts_, stats_, queries_, latents_, inner_;
};

/// What operations share.
inline gpu::Buffer& device_buffer(const Span& span) { return *static_cast<gpu::Buffer*>(span.buffer->device); }

/// Attention's scores are powers of two.
constexpr float kLog2E = 1.44269504f;

/// Parts of the keys that threadgroups of attention walk through, and keys of a part.
struct KeySplit {
    uint32_t splits, keys;
};
/// `enough` threadgroups fill a device; more would only write more partial results. `others`: threadgroups a part.
KeySplit split(uint32_t keys, uint32_t others, uint32_t enough);

/// How rows of a quantised matrix are shared out: simdgroups a row, rows a simdgroup walks through, threadgroups.
struct RowShare {
    uint32_t parts, rows_each, groups;
};
/// A matrix [rows, cols] times `vectors` vectors. Enough simdgroups to fill a device before each gets more rows, which
/// share what it loads of x.
RowShare share_rows(uint32_t rows, uint32_t cols, uint32_t vectors);

} // namespace flashmoe::metal
