#include "blocks/gqa.h"

namespace flashmoe {

Gqa::Gqa(const GqaSpec& spec, uint32_t hidden, float norm_eps, bool exact_cache, DenseWeights& weights, RopeRegistry& ropes)
    : heads_(spec.heads), kv_heads_(spec.kv_heads), head_dim_(spec.head_dim),
      q_stride_(spec.head_dim * (spec.output_gate ? 2 : 1)), rope_(ropes.add(spec.rope)), scale_(spec.scale),
      norm_eps_(norm_eps), gated_(spec.output_gate), exact_cache_(exact_cache), norm_all_heads_(spec.norm_all_heads), window_(spec.window) {
    const auto linear = [&](const std::string& name, uint32_t rows, uint32_t cols, bool biased) {
        return biased ? weights.biased(name, rows, cols) : weights.matrix(name, rows, cols);
    };
    q_ = linear(spec.q, heads_ * q_stride_, hidden, spec.qkv_bias);
    k_ = linear(spec.k, kv_heads_ * head_dim_, hidden, spec.qkv_bias);
    v_ = linear(spec.v, kv_heads_ * head_dim_, hidden, spec.qkv_bias);
    o_ = linear(spec.o, hidden, heads_ * head_dim_, spec.o_bias);
    if (!spec.sinks.empty()) sinks_ = weights.values(spec.sinks, {heads_});
    if (spec.blocks) blocks_.emplace(*spec.blocks, spec.rope, hidden, norm_eps, weights);
    if (spec.qk_norm) {
        q_norm_ = weights.values(spec.q_norm, {norm_all_heads_ ? heads_ * head_dim_ : head_dim_});
        k_norm_ = weights.values(spec.k_norm, {norm_all_heads_ ? kv_heads_ * head_dim_ : head_dim_});
    }
}

uint32_t Gqa::features() const {
    return (sinks_ || window_ != 0 ? bit(kSinksAndWindows) : 0) | (blocks_ ? bit(kSelectedKeys) | bit(kBlockIndexer) : 0);
}

StateShape Gqa::state_shape() const {
    const uint64_t values = uint64_t{kv_heads_} * head_dim_;
    const uint64_t keys = blocks_ ? blocks_->plane_bytes() : 0;
    if (exact_cache_) return {.plane_bytes = {values * sizeof(float), values * sizeof(float), 0, 0, keys}, .fixed_bytes = 0};
    const uint64_t codes = values * sizeof(int16_t), scales = kv_heads_ * sizeof(float);
    return {.plane_bytes = {codes, codes, scales, scales, keys}, .fixed_bytes = 0};
}

size_t Gqa::scratch_floats() const {
    return q_.rows + 2 * size_t{k_.rows} + size_t{heads_} * head_dim_ + (blocks_ ? blocks_->scratch_floats() : 0);
}

void Gqa::append(const Batch& batch, Span x, Span y, const LayerState& state) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens;
    ScratchCursor scratch(batch.scratch);
    const Span q = scratch.take(size_t{tokens} * q_.rows);
    const Span k = scratch.take(size_t{tokens} * k_.rows);
    const Span v = scratch.take(size_t{tokens} * v_.rows);
    const Span out = scratch.take(size_t{tokens} * heads_ * head_dim_);
    const KvCache k_cache{state.planes[0], state.planes[2], exact_cache_}, v_cache{state.planes[1], state.planes[3], exact_cache_};

    {
        const SideBySide three(backend);
        backend.linear(q_, x, q, tokens);
        backend.linear(k_, x, k, tokens);
        backend.linear(v_, x, v, tokens);
    }
    KeySelection selection;
    if (blocks_) selection = blocks_->select(batch, x, batch.ropes[rope_], state.planes[4], scratch);
    if (norm_all_heads_ && q_norm_) {
        backend.rms_norm(q, q_norm_, q, heads_ * head_dim_, norm_eps_, tokens);
        backend.rms_norm(k, k_norm_, k, kv_heads_ * head_dim_, norm_eps_, tokens);
    }
    backend.gqa_append({.q = q,
                        .q_stride = q_stride_,
                        .k = k,
                        .v = v,
                        .q_norm = norm_all_heads_ ? Span{} : q_norm_,
                        .k_norm = norm_all_heads_ ? Span{} : k_norm_,
                        .eps = norm_eps_,
                        .rope = batch.ropes[rope_],
                        .k_cache = k_cache,
                        .v_cache = v_cache,
                        .heads = heads_,
                        .kv_heads = kv_heads_,
                        .head_dim = head_dim_,
                        .position = batch.position,
                        .tokens = tokens});
    backend.gqa_attend({.q = q,
                        .q_stride = q_stride_,
                        .gated = gated_,
                        .k_cache = k_cache,
                        .v_cache = v_cache,
                        .sinks = sinks_,
                        .window = window_,
                        .selection = selection,
                        .out = out,
                        .heads = heads_,
                        .kv_heads = kv_heads_,
                        .head_dim = head_dim_,
                        .scale = scale_,
                        .position = batch.position,
                        .tokens = tokens});
    backend.linear(o_, out, y, tokens);
}

} // namespace flashmoe
