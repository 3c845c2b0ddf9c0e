#include "blocks/mla.h"

namespace flashmoe {

Indexer::Indexer(const IndexerSpec& spec, uint32_t hidden, uint32_t query_rank, bool exact_cache, DenseWeights& weights,
                 RopeRegistry& ropes)
    : heads_(spec.heads), dim_(spec.dim), top_(spec.top), rope_(ropes.add(spec.rope)), norm_eps_(spec.norm_eps),
      exact_cache_(exact_cache), q_(weights.matrix(spec.q, heads_ * dim_, query_rank)), k_(weights.matrix(spec.k, dim_, hidden)),
      weights_(weights.matrix(spec.weights, heads_, hidden)), norm_(weights.values(spec.k_norm + ".weight", {dim_})),
      norm_bias_(weights.values(spec.k_norm + ".bias", {dim_})) {}

void Indexer::add_planes(StateShape& shape) const {
    shape.plane_bytes[2] = dim_ * (exact_cache_ ? sizeof(float) : sizeof(int16_t));
    shape.plane_bytes[3] = exact_cache_ ? 0 : sizeof(float);
}

KeySelection Indexer::select(const Batch& batch, Span x, Span low, const LayerState& state, ScratchCursor& scratch) const {
    const uint32_t tokens = batch.tokens;
    const Span q = scratch.take(size_t{tokens} * q_.rows);
    const Span k = scratch.take(size_t{tokens} * k_.rows);
    const Span weights = scratch.take(size_t{tokens} * weights_.rows);
    const KeySelection selection =
        batch.shared ? batch.shared : KeySelection{scratch.take(size_t{tokens} * top_), scratch.take(tokens), top_};
    {
        const SideBySide three(batch.backend);
        batch.backend.linear(q_, low, q, tokens);
        batch.backend.linear(k_, x, k, tokens);
        batch.backend.linear(weights_, x, weights, tokens);
    }
    // The factors heads^-0.5 and dim^-0.5 on all scores alike don't change which are largest.
    batch.backend.index_select({.q = q,
                                .k = k,
                                .weights = weights,
                                .norm = norm_,
                                .norm_bias = norm_bias_,
                                .eps = norm_eps_,
                                .rope = batch.ropes[rope_],
                                .cache = {state.planes[2], state.planes[3], exact_cache_},
                                .heads = heads_,
                                .dim = dim_,
                                .top = top_,
                                .position = batch.position,
                                .tokens = tokens,
                                .selection = selection});
    return selection;
}

Mla::Mla(const MlaSpec& spec, uint32_t hidden, bool exact_cache, DenseWeights& weights, RopeRegistry& ropes)
    : heads_(spec.heads), q_rank_(spec.q_lora_rank), latent_dim_(spec.kv_lora_rank), nope_dim_(spec.nope_dim),
      rope_dim_(spec.rope_dim), value_dim_(spec.value_dim), rope_(ropes.add(spec.rope)), scale_(spec.scale),
      lora_eps_(spec.lora_norm_eps), exact_cache_(exact_cache), kv_a_(weights.matrix(spec.kv_a, latent_dim_ + rope_dim_, hidden)),
      o_(weights.matrix(spec.o, hidden, heads_ * value_dim_)), kv_a_norm_(weights.values(spec.kv_a_norm, {latent_dim_})) {
    const uint32_t q_rows = heads_ * (nope_dim_ + rope_dim_);
    if (q_rank_ == 0) {
        q_ = weights.matrix(spec.q, q_rows, hidden);
    } else {
        q_a_ = weights.matrix(spec.q_a, q_rank_, hidden);
        q_a_norm_ = weights.values(spec.q_a_norm, {q_rank_});
        q_ = weights.matrix(spec.q_b, q_rows, q_rank_);
    }
    shares_keys_ = spec.shares_keys;
    if (spec.indexer) indexer_.emplace(*spec.indexer, hidden, q_rank_, exact_cache, weights, ropes);
    if (!spec.kv_b.empty()) {
        kv_b_ = weights.matrix(spec.kv_b, heads_ * (nope_dim_ + value_dim_), latent_dim_);
    } else {
        embed_q_ = weights.stacked(spec.embed_q, heads_, latent_dim_, nope_dim_);
        unembed_out_ = weights.stacked(spec.unembed_out, heads_, value_dim_, latent_dim_);
    }
}

StateShape Mla::state_shape() const {
    const uint64_t width = latent_dim_ + rope_dim_;
    StateShape shape;
    shape.plane_bytes[0] = width * (exact_cache_ ? sizeof(float) : sizeof(int16_t));
    shape.plane_bytes[1] = exact_cache_ ? 0 : 2 * sizeof(float);
    if (indexer_) indexer_->add_planes(shape);
    return shape;
}

size_t Mla::scratch_floats() const {
    return q_rank_ + q_.rows + kv_a_.rows + size_t{heads_} * value_dim_ + (indexer_ ? indexer_->scratch_floats() : 0);
}

void Mla::append(const Batch& batch, Span x, Span y, const LayerState& state) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens;
    ScratchCursor scratch(batch.scratch);
    const KvCache cache{state.planes[0], state.planes[1], exact_cache_};
    const Span q = scratch.take(size_t{tokens} * q_.rows);
    const Span c = scratch.take(size_t{tokens} * kv_a_.rows);
    const Span out = scratch.take(size_t{tokens} * heads_ * value_dim_);

    KeySelection selection;
    if (shares_keys_) selection = batch.shared;
    if (q_rank_ == 0) {
        backend.linear(q_, x, q, tokens);
    } else {
        const Span low = scratch.take(size_t{tokens} * q_rank_);
        backend.linear(q_a_, x, low, tokens);
        backend.rms_norm(low, q_a_norm_, low, q_rank_, lora_eps_, tokens);
        backend.linear(q_, low, q, tokens);
        if (indexer_) selection = indexer_->select(batch, x, low, state, scratch);
    }
    backend.linear(kv_a_, x, c, tokens);
    backend.mla_append({.q = q,
                        .c = c,
                        .norm = kv_a_norm_,
                        .eps = lora_eps_,
                        .rope = batch.ropes[rope_],
                        .cache = cache,
                        .heads = heads_,
                        .latent_dim = latent_dim_,
                        .nope_dim = nope_dim_,
                        .rope_dim = rope_dim_,
                        .position = batch.position,
                        .tokens = tokens});
    backend.mla_attend({.q = q,
                        .cache = cache,
                        .kv_b = kv_b_,
                        .embed_q = embed_q_,
                        .unembed_out = unembed_out_,
                        .selection = selection,
                        .out = out,
                        .heads = heads_,
                        .latent_dim = latent_dim_,
                        .nope_dim = nope_dim_,
                        .rope_dim = rope_dim_,
                        .value_dim = value_dim_,
                        .scale = scale_,
                        .position = batch.position,
                        .tokens = tokens});
    backend.linear(o_, out, y, tokens);
}

} // namespace flashmoe
