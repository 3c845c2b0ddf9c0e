// Gated delta net: a recurrent state instead of a growing cache.
#pragma once

#include "blocks/block.h"

namespace flashmoe {

class GatedDeltaNet : public Mixer {
  public:
    GatedDeltaNet(const GatedDeltaNetSpec& spec, uint32_t hidden, float norm_eps, DenseWeights& weights);
    StateShape state_shape() const override;
    size_t scratch_floats() const override;
    void append(const Batch& batch, Span x, Span y, const LayerState& state) const override;

  private:
    size_t history_bytes() const;

    uint32_t key_heads_, value_heads_, key_dim_, value_dim_, conv_kernel_, channels_;
    float qk_norm_eps_, norm_eps_;
    Matrix qkv_, z_, a_, b_, out_;
    Span conv_, a_log_, dt_bias_, norm_;
};

} // namespace flashmoe
