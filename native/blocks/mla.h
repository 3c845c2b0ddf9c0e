// Multi-head latent attention, absorbed form at every length: prefill and decode compute the same sums.
#pragma once

#include "blocks/block.h"

namespace flashmoe {

class Mla : public Mixer {
  public:
    Mla(const MlaSpec& spec, uint32_t hidden, bool exact_cache, DenseWeights& weights, RopeRegistry& ropes);
    StateShape state_shape() const override;
    size_t scratch_floats() const override;
    void append(const Batch& batch, Span x, Span y, const LayerState& state) const override;

  private:
    uint32_t heads_, q_rank_, latent_dim_, nope_dim_, rope_dim_, value_dim_, rope_;
    float scale_, lora_eps_;
    bool exact_cache_;
    /// q_a_ only with a low-rank query; q_ is then its second half.
    Matrix q_a_, q_, kv_a_, kv_b_, embed_q_, unembed_out_, o_;
    Span q_a_norm_, kv_a_norm_;
};

} // namespace flashmoe
