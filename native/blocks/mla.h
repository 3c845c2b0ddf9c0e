// Multi-head latent attention, absorbed form at every length: prefill and decode compute the same sums.
#pragma once

#include <optional>

#include "blocks/block.h"

namespace flashmoe {

/// Chooses for each token the keys that a latent attention looks at.
class Indexer {
  public:
    Indexer(const IndexerSpec& spec, uint32_t hidden, uint32_t query_rank, bool exact_cache, DenseWeights& weights,
            RopeRegistry& ropes);
    /// Of the planes 2 and 3.
    void add_planes(StateShape& shape) const;
    size_t scratch_floats() const { return q_.rows + k_.rows + weights_.rows + size_t{top_} + 1; }
    /// `low` is the query before its second projection, normed. Advances the state.
    KeySelection select(const Batch& batch, Span x, Span low, const LayerState& state, ScratchCursor& scratch) const;

  private:
    uint32_t heads_, dim_, top_, rope_;
    float norm_eps_;
    bool exact_cache_;
    Matrix q_, k_, weights_;
    Span norm_, norm_bias_;
};

class Mla : public Mixer {
  public:
    Mla(const MlaSpec& spec, uint32_t hidden, bool exact_cache, DenseWeights& weights, RopeRegistry& ropes);
    uint32_t features() const override {
        return (indexer_ ? bit(kLightningIndexer) : 0) | (indexer_ || shares_keys_ ? bit(kSelectedKeys) : 0);
    }
    StateShape state_shape() const override;
    size_t scratch_floats() const override;
    void append(const Batch& batch, Span x, Span y, const LayerState& state) const override;

  private:
    uint32_t heads_, q_rank_, latent_dim_, nope_dim_, rope_dim_, value_dim_, rope_;
    float scale_, lora_eps_;
    bool exact_cache_, shares_keys_ = false;
    /// q_a_ only with a low-rank query; q_ is then its second half.
    Matrix q_a_, q_, kv_a_, kv_b_, embed_q_, unembed_out_, o_;
    Span q_a_norm_, kv_a_norm_;
    std::optional<Indexer> indexer_;
};

} // namespace flashmoe
