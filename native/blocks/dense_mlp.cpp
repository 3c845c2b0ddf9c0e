#include "blocks/dense_mlp.h"

namespace flashmoe {

DenseMlp::DenseMlp(const std::string& gate, const std::string& up, const std::string& down, uint32_t intermediate,
                   uint32_t hidden, DenseWeights& weights)
    : gate_(weights.matrix(gate, intermediate, hidden)), up_(weights.matrix(up, intermediate, hidden)),
      down_(weights.matrix(down, hidden, intermediate)) {}

void DenseMlp::append(const Batch& batch, Span x, Span y) const {
    ScratchCursor scratch(batch.scratch);
    const size_t count = size_t{batch.tokens} * gate_.rows;
    const Span gate = scratch.take(count);
    const Span up = scratch.take(count);
    {
        const SideBySide two(batch.backend);
        begin(batch, x, gate, up);
    }
    unite(batch, gate, up);
    batch.backend.linear(down_, gate, y, batch.tokens);
}

void DenseMlp::begin(const Batch& batch, Span x, Span gate, Span up) const {
    batch.backend.linear(gate_, x, gate, batch.tokens);
    batch.backend.linear(up_, x, up, batch.tokens);
}

void DenseMlp::unite(const Batch& batch, Span gate, Span up) const {
    batch.backend.swiglu(gate, up, gate, size_t{batch.tokens} * gate_.rows);
}

} // namespace flashmoe
