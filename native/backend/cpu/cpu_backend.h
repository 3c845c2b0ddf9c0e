// The CPU implementation: operations run at once, spread over a thread pool. Always there, always right.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "core/thread_pool.h"

namespace flashmoe::cpu {

/// Rotary embedding of one head, in place.
void rotate(float* head, const RopeTable& rope, uint32_t token);

/// Indices of the `top` largest of `scores`, ascending; of equal ones the earlier. `order` is room for all `count` indices.
void choose_largest(const float* scores, uint32_t count, uint32_t top, uint32_t* order);

/// Not final: tests take features away from it.
class CpuBackend : public Backend {
  public:
    CpuBackend(uint32_t threads, const Kernels& kernels);

    const char* name() const override { return "cpu"; }
    const char* isa() const override { return kernels_.isa; }
    Buffer wrap(void* host, size_t bytes) override { return {static_cast<std::byte*>(host), bytes, nullptr}; }
    void unwrap(Buffer& buffer) override { buffer = {}; }
    uint32_t features() const override { return ~0u; }
    bool takes_mapped_files() const override { return true; }

    void embed(const Matrix& table, Span ids, Span y, uint32_t tokens) override;
    void rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) override;
    void linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) override;
    void add(Span y, Span x, size_t count) override;
    void add_gated(Span y, Span x, Span gate, uint32_t width, uint32_t tokens) override;
    void swiglu(Span gate, Span up, Span y, size_t count) override;
    void clamped_swiglu(Span gate, Span up, Span y, size_t count, float limit) override;
    void permute(Span x, Span index, Span y, uint32_t from, uint32_t to, uint32_t tokens) override;
    void index_select(const IndexSelect& op) override;
    void block_select(const BlockSelect& op) override;
    void group_norm(Span x, Span weight, Span y, uint32_t groups, uint32_t width, float eps, uint32_t tokens) override;
    void silu(Span x, Span y, float factor, size_t count) override;
    void repeat_streams(Span x, Span y, uint32_t streams, uint32_t width, uint32_t tokens) override;
    void mix_streams(const StreamMix& op) override;
    void add_streams(Span y, Span x, Span logits, uint32_t streams, uint32_t width, uint32_t tokens) override;
    void gate_streams(const StreamGate& op) override;
    void dilated_convolution(const DilatedConvolution& op) override;
    void gqa_append(const GqaAppend& op) override;
    void gqa_attend(const GqaAttend& op) override;
    void delta_net(const DeltaNet& op) override;
    void mla_append(const MlaAppend& op) override;
    void mla_attend(const MlaAttend& op) override;
    void route(const Router& op) override;
    void experts(const ExpertBatch& op) override;
    void add_experts(const ExpertSum& op) override;
    void wait() override {}
    void trim() override;

  private:
    /// Queries [tokens, heads], `q_stride` floats apart; out [tokens, heads, value_dim]. A row of the cache holds
    /// kv_heads heads, `head_stride` codes and one scale each; a key may go on in a second part, scaled apart.
    struct Attention {
        const float* q;
        size_t q_stride;
        KvCache k, v;
        size_t row_codes, row_scales, head_stride;
        float* out;
        uint32_t heads, kv_heads, key_dim, second_key_dim, value_dim;
        float scale;
        uint32_t position, tokens;
        /// As in GqaAttend.
        const float* sinks;
        uint32_t window;
        KeySelection selection;
    };
    /// The keys of one token: entries [first, last) of `list`, or where there is none the positions themselves.
    struct Keys {
        const uint32_t* list;
        uint32_t first, last;
    };
    static Keys keys_of(const Attention& op, uint32_t token);
    /// q . key of a cache of one head.
    float key_dot(const KvCache& cache, size_t row, const float* q, uint32_t dim) const;
    void store(const KvCache& cache, size_t code, size_t scale, const float* values, uint32_t count) const;
    void attend(const Attention& op);
    void attend_block(const Attention& op, const Keys& keys, uint32_t token, uint32_t head, uint32_t block, float* partial) const;

    /// Room that grows to the largest request so far and stays; on whole cache lines, as wide loads want it.
    float* room(std::vector<float>& storage, size_t floats);

    const Kernels& kernels_;
    ThreadPool pool_;
    std::vector<float> prepared_, inner_, partials_, worker_room_, queries_;
};

} // namespace flashmoe::cpu
