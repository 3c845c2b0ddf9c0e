// Gated delta net: a recurrent state instead of a growing cache.
#pragma once

#include "blocks/block.h"

namespace flashmoe {

class GatedDeltaNet : public Mixer {
  public:
    GatedDeltaNet(const GatedDeltaNetSpec& spec, uint32_t hidden, float norm_eps, DenseWeights& weights);
    uint32_t features() const override;
    StateShape state_shape() const override;
    size_t scratch_floats() const override;
    void append(const Batch& batch, Span x, Span y, const LayerState& state) const override;

  private:
    size_t history_bytes() const;
    void bind_fused(const GatedDeltaNetSpec& spec, uint32_t hidden, DenseWeights& weights);
    void project(const Batch& batch, Span x, Span qkv, Span z, Span a, Span b, ScratchCursor& scratch) const;

    uint32_t key_heads_, value_heads_, key_dim_, value_dim_, conv_kernel_, channels_;
    float qk_norm_eps_, norm_eps_;
    bool sigmoid_gate_, tiled_heads_;
    Matrix qkv_, z_, a_, b_, out_;
    /// Instead of the four above: rows of key head after key head, and where in them each channel lies.
    Matrix qkvz_, ba_;
    Span qkv_index_, z_index_, a_index_, b_index_;
    Span conv_, a_log_, dt_bias_, norm_;
};

} // namespace flashmoe
