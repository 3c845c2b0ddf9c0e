// Chooses the blocks of keys that a grouped-query attention looks at.
#pragma once

#include "blocks/block.h"

namespace flashmoe {

class BlockIndexer {
  public:
    BlockIndexer(const BlockIndexerSpec& spec, const RopeSpec& rope, uint32_t hidden, float norm_eps, DenseWeights& weights);
    /// Of the plane of keys.
    uint64_t plane_bytes() const { return dim_ * sizeof(float); }
    size_t scratch_floats() const { return qk_.rows + most() + 1; }
    /// `rope` is the attention's table. Advances the state.
    KeySelection select(const Batch& batch, Span x, const RopeTable& rope, Span plane, ScratchCursor& scratch) const;

  private:
    uint32_t most() const { return budget_ + ratio_ - 1; }

    uint32_t heads_, dim_, budget_, ratio_;
    float norm_eps_;
    RopeSpec rope_;
    Matrix qk_;
    Span q_norm_, k_norm_;
};

} // namespace flashmoe
