#include "blocks/hyper_connection.h"

namespace flashmoe {

HyperConnection::HyperConnection(const HyperConnectionSpec& spec, uint32_t streams, uint32_t hidden, float norm_eps,
                                 DenseWeights& weights)
    : streams_(streams), hidden_(hidden), norm_eps_(norm_eps), down_(weights.matrix(spec.down, spec.rank, streams * hidden)),
      up_(weights.matrix(spec.up, streams * hidden, spec.rank)), norm_(weights.values(spec.norm, {streams * hidden})) {
    if (!spec.inject.empty()) inject_ = weights.matrix(spec.inject, streams, streams * hidden);
}

void HyperConnection::take(const Batch& batch, Span h, Span x, Span logits) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens;
    ScratchCursor scratch(batch.scratch);
    const size_t all = size_t{tokens} * streams_ * hidden_;
    const Span normed = scratch.take(all), gate = scratch.take(all);
    const Span low = scratch.take(size_t{tokens} * down_.rows);
    backend.group_norm(h, norm_, normed, streams_, hidden_, norm_eps_, tokens);
    backend.linear(down_, normed, low, tokens);
    if (inject_.rows != 0) backend.linear(inject_, normed, logits, tokens);
    // Both linears take y / streams; dividing their results is the same.
    backend.silu(low, low, 1.0f / static_cast<float>(streams_), size_t{tokens} * down_.rows);
    backend.linear(up_, low, gate, tokens);
    backend.mix_streams({.normed = normed, .gate = gate, .out = x, .streams = streams_, .width = hidden_, .tokens = tokens});
}

void HyperConnection::inject(Backend& backend, Span h, Span y, Span logits, uint32_t tokens) const {
    backend.add_streams(h, y, logits, streams_, hidden_, tokens);
}

} // namespace flashmoe
