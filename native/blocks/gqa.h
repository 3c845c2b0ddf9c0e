// Grouped-query attention with optional head norms and output gate.
#pragma once

#include "blocks/block_indexer.h"

namespace flashmoe {

class Gqa : public Mixer {
  public:
    Gqa(const GqaSpec& spec, uint32_t hidden, float norm_eps, bool exact_cache, DenseWeights& weights, RopeRegistry& ropes);
    uint32_t features() const override;
    StateShape state_shape() const override;
    size_t scratch_floats() const override;
    void append(const Batch& batch, Span x, Span y, const LayerState& state) const override;

  private:
    uint32_t heads_, kv_heads_, head_dim_, q_stride_, rope_;
    float scale_, norm_eps_;
    bool gated_, exact_cache_, norm_all_heads_;
    uint32_t window_;
    Matrix q_, k_, v_, o_;
    Span q_norm_, k_norm_, sinks_;
    std::optional<BlockIndexer> blocks_;
};

} // namespace flashmoe
