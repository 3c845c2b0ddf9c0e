#include "blocks/gated_delta_net.h"

namespace flashmoe {

GatedDeltaNet::GatedDeltaNet(const GatedDeltaNetSpec& spec, uint32_t hidden, float norm_eps, DenseWeights& weights)
    : key_heads_(spec.key_heads), value_heads_(spec.value_heads), key_dim_(spec.key_dim), value_dim_(spec.value_dim),
      conv_kernel_(spec.conv_kernel), channels_(2 * key_heads_ * key_dim_ + value_heads_ * value_dim_),
      qk_norm_eps_(spec.qk_norm_eps), norm_eps_(norm_eps), qkv_(weights.matrix(spec.qkv, channels_, hidden)),
      z_(weights.matrix(spec.z, value_heads_ * value_dim_, hidden)), a_(weights.matrix(spec.a, value_heads_, hidden)),
      b_(weights.matrix(spec.b, value_heads_, hidden)),
      out_(weights.matrix(spec.out, hidden, value_heads_ * value_dim_)),
      conv_(weights.transposed(spec.conv, channels_, conv_kernel_)),
      a_log_(weights.values(spec.a_log, {value_heads_})), dt_bias_(weights.values(spec.dt_bias, {value_heads_})),
      norm_(weights.values(spec.norm, {value_dim_})) {}

size_t GatedDeltaNet::history_bytes() const {
    return round_up(size_t{conv_kernel_ - 1} * channels_ * sizeof(float), 64);
}

StateShape GatedDeltaNet::state_shape() const {
    const uint64_t state = uint64_t{value_heads_} * value_dim_ * key_dim_ * sizeof(float);
    return {.plane_bytes = {}, .fixed_bytes = history_bytes() + state};
}

size_t GatedDeltaNet::scratch_floats() const { return channels_ + 2 * size_t{z_.rows} + 2 * size_t{value_heads_}; }

void GatedDeltaNet::append(const Batch& batch, Span x, Span y, const LayerState& state) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens;
    ScratchCursor scratch(batch.scratch);
    const Span qkv = scratch.take(size_t{tokens} * channels_);
    const Span z = scratch.take(size_t{tokens} * z_.rows);
    const Span out = scratch.take(size_t{tokens} * z_.rows);
    const Span a = scratch.take(size_t{tokens} * value_heads_);
    const Span b = scratch.take(size_t{tokens} * value_heads_);

    {
        const SideBySide four(backend);
        backend.linear(qkv_, x, qkv, tokens);
        backend.linear(z_, x, z, tokens);
        backend.linear(a_, x, a, tokens);
        backend.linear(b_, x, b, tokens);
    }
    backend.delta_net({.qkv = qkv,
                       .z = z,
                       .a = a,
                       .b = b,
                       .conv = conv_,
                       .a_log = a_log_,
                       .dt_bias = dt_bias_,
                       .norm = norm_,
                       .history = state.fixed,
                       .state = state.fixed + history_bytes(),
                       .out = out,
                       .key_heads = key_heads_,
                       .value_heads = value_heads_,
                       .key_dim = key_dim_,
                       .value_dim = value_dim_,
                       .conv_kernel = conv_kernel_,
                       .qk_norm_eps = qk_norm_eps_,
                       .norm_eps = norm_eps_,
                       .tokens = tokens});
    backend.linear(out_, out, y, tokens);
}

} // namespace flashmoe
