#include "blocks/block_indexer.h"

namespace flashmoe {

BlockIndexer::BlockIndexer(const BlockIndexerSpec& spec, const RopeSpec& rope, uint32_t hidden, float norm_eps,
                           DenseWeights& weights)
    : heads_(spec.heads), dim_(spec.dim), budget_(spec.budget), ratio_(spec.ratio), norm_eps_(norm_eps), rope_(rope),
      qk_(weights.matrix(spec.qk, (heads_ + 1) * dim_, hidden)), q_norm_(weights.values(spec.q_norm, {dim_})),
      k_norm_(weights.values(spec.k_norm, {dim_})) {}

KeySelection BlockIndexer::select(const Batch& batch, Span x, const RopeTable& rope, Span plane, ScratchCursor& scratch) const {
    const uint32_t tokens = batch.tokens;
    const Span qk = scratch.take(size_t{tokens} * qk_.rows);
    const KeySelection selection{scratch.take(size_t{tokens} * most()), scratch.take(tokens), most()};
    batch.backend.linear(qk_, x, qk, tokens);
    // The factor dim^-0.5 on all scores alike doesn't change which are largest.
    batch.backend.block_select({.qk = qk,
                                .q_norm = q_norm_,
                                .k_norm = k_norm_,
                                .eps = norm_eps_,
                                .rope = rope,
                                .inv_freq = rope_.inv_freq.data(),
                                .magnitude = rope_.magnitude,
                                .plane = plane,
                                .heads = heads_,
                                .dim = dim_,
                                .budget = budget_,
                                .ratio = ratio_,
                                .position = batch.position,
                                .tokens = tokens,
                                .selection = selection});
    return selection;
}

} // namespace flashmoe
