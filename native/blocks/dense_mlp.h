// down(silu(gate(x)) * up(x)); also the form of a shared expert.
#pragma once

#include "blocks/block.h"

namespace flashmoe {

class DenseMlp {
  public:
    DenseMlp(const std::string& gate, const std::string& up, const std::string& down, uint32_t intermediate,
             uint32_t hidden, DenseWeights& weights);
    size_t scratch_floats() const { return 2 * size_t{gate_.rows}; }
    /// y = mlp(x), both [tokens, hidden].
    void append(const Batch& batch, Span x, Span y) const;

    /// The same in three steps, for what goes on beside: gate and up of x, both [tokens, width]; their product; and the last map.
    void begin(const Batch& batch, Span x, Span gate, Span up) const;
    void unite(const Batch& batch, Span gate, Span up) const;
    const Matrix& down() const { return down_; }
    uint32_t width() const { return gate_.rows; }

  private:
    Matrix gate_, up_, down_;
};

} // namespace flashmoe
