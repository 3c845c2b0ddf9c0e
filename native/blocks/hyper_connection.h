// What a block takes of several residual streams, and how its result goes back to them.
#pragma once

#include "blocks/block.h"

namespace flashmoe {

class HyperConnection {
  public:
    HyperConnection(const HyperConnectionSpec& spec, uint32_t streams, uint32_t hidden, float norm_eps, DenseWeights& weights);
    size_t scratch_floats() const { return 2 * size_t{streams_} * hidden_ + down_.rows; }
    /// x [tokens, hidden] from h [tokens, streams, hidden]; `logits` [tokens, streams] are for inject().
    void take(const Batch& batch, Span h, Span x, Span logits) const;
    /// Any number of tokens.
    void inject(Backend& backend, Span h, Span y, Span logits, uint32_t tokens) const;

  private:
    uint32_t streams_, hidden_;
    float norm_eps_;
    Matrix down_, up_, inject_;
    Span norm_;
};

} // namespace flashmoe
