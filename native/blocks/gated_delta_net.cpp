#include "blocks/gated_delta_net.h"

namespace flashmoe {

GatedDeltaNet::GatedDeltaNet(const GatedDeltaNetSpec& spec, uint32_t hidden, float norm_eps, DenseWeights& weights)
    : key_heads_(spec.key_heads), value_heads_(spec.value_heads), key_dim_(spec.key_dim), value_dim_(spec.value_dim),
      conv_kernel_(spec.conv_kernel), channels_(2 * key_heads_ * key_dim_ + value_heads_ * value_dim_),
      qk_norm_eps_(spec.qk_norm_eps), norm_eps_(norm_eps), sigmoid_gate_(spec.sigmoid_gate),
      tiled_heads_(spec.tiled_heads),
      out_(weights.matrix(spec.out, hidden, value_heads_ * value_dim_)),
      conv_(weights.transposed(spec.conv, channels_, conv_kernel_)),
      a_log_(weights.values(spec.a_log, {value_heads_})), dt_bias_(weights.values(spec.dt_bias, {value_heads_})),
      norm_(weights.values(spec.norm, {value_dim_})) {
    if (!spec.qkvz.empty()) {
        bind_fused(spec, hidden, weights);
        return;
    }
    qkv_ = weights.matrix(spec.qkv, channels_, hidden);
    z_ = weights.matrix(spec.z, value_heads_ * value_dim_, hidden);
    a_ = weights.matrix(spec.a, value_heads_, hidden);
    b_ = weights.matrix(spec.b, value_heads_, hidden);
}

void GatedDeltaNet::bind_fused(const GatedDeltaNetSpec& spec, uint32_t hidden, DenseWeights& weights) {
    const uint32_t repeat = value_heads_ / key_heads_, values = repeat * value_dim_;
    const uint32_t group = 2 * key_dim_ + 2 * values;
    qkvz_ = weights.matrix(spec.qkvz, key_heads_ * group, hidden);
    ba_ = weights.matrix(spec.ba, 2 * value_heads_, hidden);
    // Every key head's `count` rows from `first` on, in groups of `each` rows.
    const auto append = [&](std::vector<uint32_t>& index, uint32_t each, uint32_t first, uint32_t count) {
        for (uint32_t head = 0; head < key_heads_; ++head) {
            for (uint32_t i = 0; i < count; ++i) index.push_back(head * each + first + i);
        }
    };
    std::vector<uint32_t> qkv, z, a, b;
    append(qkv, group, 0, key_dim_);
    append(qkv, group, key_dim_, key_dim_);
    append(qkv, group, 2 * key_dim_, values);
    append(z, group, 2 * key_dim_ + values, values);
    append(b, 2 * repeat, 0, repeat);
    append(a, 2 * repeat, repeat, repeat);
    qkv_index_ = weights.words(qkv);
    z_index_ = weights.words(z);
    a_index_ = weights.words(a);
    b_index_ = weights.words(b);
}

uint32_t GatedDeltaNet::features() const {
    return (qkvz_.rows != 0 ? bit(kPermutedRows) : 0) | (sigmoid_gate_ ? bit(kSigmoidGates) : 0) |
           (tiled_heads_ ? bit(kTiledHeads) : 0);
}

size_t GatedDeltaNet::history_bytes() const {
    return round_up(size_t{conv_kernel_ - 1} * channels_ * sizeof(float), 64);
}

StateShape GatedDeltaNet::state_shape() const {
    const uint64_t state = uint64_t{value_heads_} * value_dim_ * key_dim_ * sizeof(float);
    return {.plane_bytes = {}, .fixed_bytes = history_bytes() + state};
}

size_t GatedDeltaNet::scratch_floats() const {
    return channels_ + 2 * size_t{value_heads_} * value_dim_ + 2 * size_t{value_heads_} + qkvz_.rows + ba_.rows;
}

void GatedDeltaNet::project(const Batch& batch, Span x, Span qkv, Span z, Span a, Span b, ScratchCursor& scratch) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens;
    if (qkvz_.rows == 0) {
        const SideBySide four(backend);
        backend.linear(qkv_, x, qkv, tokens);
        backend.linear(z_, x, z, tokens);
        backend.linear(a_, x, a, tokens);
        backend.linear(b_, x, b, tokens);
        return;
    }
    const Span qkvz = scratch.take(size_t{tokens} * qkvz_.rows);
    const Span ba = scratch.take(size_t{tokens} * ba_.rows);
    {
        const SideBySide two(backend);
        backend.linear(qkvz_, x, qkvz, tokens);
        backend.linear(ba_, x, ba, tokens);
    }
    backend.permute(qkvz, qkv_index_, qkv, qkvz_.rows, channels_, tokens);
    backend.permute(qkvz, z_index_, z, qkvz_.rows, value_heads_ * value_dim_, tokens);
    backend.permute(ba, a_index_, a, ba_.rows, value_heads_, tokens);
    backend.permute(ba, b_index_, b, ba_.rows, value_heads_, tokens);
}

void GatedDeltaNet::append(const Batch& batch, Span x, Span y, const LayerState& state) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens;
    ScratchCursor scratch(batch.scratch);
    const Span qkv = scratch.take(size_t{tokens} * channels_);
    const size_t values = size_t{tokens} * value_heads_ * value_dim_;
    const Span z = scratch.take(values);
    const Span out = scratch.take(values);
    const Span a = scratch.take(size_t{tokens} * value_heads_);
    const Span b = scratch.take(size_t{tokens} * value_heads_);
    project(batch, x, qkv, z, a, b, scratch);
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
                       .tokens = tokens,
                       .sigmoid_gate = sigmoid_gate_,
                       .tiled_heads = tiled_heads_});
    backend.linear(out_, out, y, tokens);
}

} // namespace flashmoe
