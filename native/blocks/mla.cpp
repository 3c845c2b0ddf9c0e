#include "blocks/mla.h"

namespace flashmoe {

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
    if (!spec.kv_b.empty()) {
        kv_b_ = weights.matrix(spec.kv_b, heads_ * (nope_dim_ + value_dim_), latent_dim_);
    } else {
        embed_q_ = weights.stacked(spec.embed_q, heads_, latent_dim_, nope_dim_);
        unembed_out_ = weights.stacked(spec.unembed_out, heads_, value_dim_, latent_dim_);
    }
}

StateShape Mla::state_shape() const {
    if (exact_cache_) return {.plane_bytes = {uint64_t{latent_dim_ + rope_dim_} * sizeof(float)}, .fixed_bytes = 0};
    return {.plane_bytes = {uint64_t{latent_dim_ + rope_dim_} * sizeof(int16_t), 2 * sizeof(float)}, .fixed_bytes = 0};
}

size_t Mla::scratch_floats() const { return q_rank_ + q_.rows + kv_a_.rows + size_t{heads_} * value_dim_; }

void Mla::append(const Batch& batch, Span x, Span y, const LayerState& state) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens;
    ScratchCursor scratch(batch.scratch);
    const KvCache cache{state.planes[0], state.planes[1], exact_cache_};
    const Span q = scratch.take(size_t{tokens} * q_.rows);
    const Span c = scratch.take(size_t{tokens} * kv_a_.rows);
    const Span out = scratch.take(size_t{tokens} * heads_ * value_dim_);

    if (q_rank_ == 0) {
        backend.linear(q_, x, q, tokens);
    } else {
        const Span low = scratch.take(size_t{tokens} * q_rank_);
        backend.linear(q_a_, x, low, tokens);
        backend.rms_norm(low, q_a_norm_, low, q_rank_, lora_eps_, tokens);
        backend.linear(q_, low, q, tokens);
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
