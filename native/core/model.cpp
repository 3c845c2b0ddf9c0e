#include "core/model.h"

#include <algorithm>

namespace flashmoe {
namespace {

std::variant<DenseMlp, Moe> make_mlp(const MlpSpec& spec, uint32_t layer, uint32_t hidden, uint32_t top_k,
                                     DenseWeights& weights) {
    if (const auto* moe = std::get_if<MoeSpec>(&spec)) return Moe(*moe, layer, hidden, top_k, weights);
    const auto& dense = std::get<DenseMlpSpec>(spec);
    return DenseMlp(dense.gate, dense.up, dense.down, dense.intermediate_size, hidden, weights);
}

} // namespace

Model::Model(const ModelSpec& spec, const ModelOptions& options, DenseWeights& weights)
    : hidden(spec.hidden_size), vocab(spec.vocab_size), max_positions(spec.max_positions), norm_eps(spec.norm_eps),
      embed(weights.matrix(spec.embed, vocab, hidden)), lm_head(weights.matrix(spec.lm_head, vocab, hidden)),
      final_norm(weights.values(spec.final_norm, {hidden})) {
    if (options.exact_caches) features |= bit(kExactCaches);
    for (uint32_t i = 0; i < spec.layers.size(); ++i) {
        const LayerSpec& layer = spec.layers[i];
        layers.push_back({.input_norm = weights.values(layer.input_norm, {hidden}),
                          .post_norm = weights.values(layer.post_norm, {hidden}),
                          .mixer = make_mixer(layer.mixer, hidden, norm_eps, options, weights, ropes),
                          .mlp = make_mlp(layer.mlp, i, hidden, options.experts_per_token, weights)});
        const Layer& made = layers.back();
        features |= made.mixer->features();
        scratch_floats = std::max(scratch_floats, made.mixer->scratch_floats());
        if (const auto* moe = std::get_if<Moe>(&made.mlp)) {
            scratch_floats = std::max(scratch_floats, moe->scratch_floats());
            features |= moe->features();
            max_top_k = std::max(max_top_k, moe->top_k());
            max_experts = std::max(max_experts, moe->experts());
        } else {
            scratch_floats = std::max(scratch_floats, std::get<DenseMlp>(made.mlp).scratch_floats());
        }
    }
    features |= weights.features();
    weights.finish();
}

} // namespace flashmoe
