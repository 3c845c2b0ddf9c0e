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

StateShape Layer::state_shape() const {
    StateShape shape = mixer->state_shape();
    if (ngram) shape.fixed_bytes = ngram_offset() + ngram->state_bytes();
    return shape;
}

Model::Model(const ModelSpec& spec, const ModelOptions& options, DenseWeights& weights, const ExpertFiles& files)
    : hidden(spec.hidden_size), vocab(spec.vocab_size), max_positions(spec.max_positions), norm_eps(spec.norm_eps),
      embed(weights.matrix(spec.embed, vocab, hidden)), lm_head(weights.matrix(spec.lm_head, vocab, hidden)),
      streams(spec.streams) {
    if (options.exact_caches) features |= bit(kExactCaches);
    const auto connect = [&](const HyperConnectionSpec& connection) {
        HyperConnection made(connection, streams, hidden, norm_eps, weights);
        scratch_floats = std::max(scratch_floats, made.scratch_floats());
        return made;
    };
    if (streams == 1) {
        final_norm = weights.values(spec.final_norm, {hidden});
    } else {
        features |= bit(kResidualStreams);
        final_connection = connect(spec.final_connection);
    }
    for (uint32_t i = 0; i < spec.layers.size(); ++i) {
        const LayerSpec& layer = spec.layers[i];
        layers.push_back({.input_norm = {},
                          .post_norm = {},
                          .mixer = make_mixer(layer.mixer, hidden, norm_eps, options, weights, ropes),
                          .mlp = make_mlp(layer.mlp, i, hidden, options.experts_per_token, weights),
                          .mixer_connection = std::nullopt,
                          .mlp_connection = std::nullopt,
                          .ngram = std::nullopt});
        Layer& made = layers.back();
        if (streams == 1) {
            made.input_norm = weights.values(layer.input_norm, {hidden});
            made.post_norm = weights.values(layer.post_norm, {hidden});
        } else {
            made.mixer_connection = connect(layer.mixer_connection);
            made.mlp_connection = connect(layer.mlp_connection);
        }
        if (layer.ngram) {
            features |= bit(kNgramRows);
            made.ngram.emplace(*layer.ngram, files.table(i), streams, hidden, norm_eps, weights);
            scratch_floats = std::max(scratch_floats, made.ngram->scratch_floats());
        }
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
    const auto mla_of = [](const LayerSpec& layer) { return std::get_if<MlaSpec>(&layer.mixer); };
    const auto shares = [&](const LayerSpec& layer) { return mla_of(layer) != nullptr && mla_of(layer)->shares_keys; };
    if (std::any_of(spec.layers.begin(), spec.layers.end(), shares)) {
        for (const LayerSpec& layer : spec.layers) {
            const MlaSpec* mla = mla_of(layer);
            if (mla != nullptr && mla->indexer) shared_keys = std::max(shared_keys, mla->indexer->top);
        }
    }
    features |= weights.features();
    weights.finish();
}

} // namespace flashmoe
