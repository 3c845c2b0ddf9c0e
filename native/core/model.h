// The spec bound to its weights: layers of blocks between an embedding and an output matrix.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "blocks/block.h"
#include "blocks/dense_mlp.h"
#include "blocks/hyper_connection.h"
#include "blocks/moe.h"
#include "blocks/ngram.h"
#include "experts/expert_files.h"

namespace flashmoe {

struct Layer {
    Span input_norm, post_norm;
    std::unique_ptr<Mixer> mixer;
    std::variant<DenseMlp, Moe> mlp;
    /// In a model of several residual streams, instead of the norms.
    std::optional<HyperConnection> mixer_connection, mlp_connection;
    std::optional<Ngram> ngram;

    /// The mixer's, and what n-gram rows keep.
    StateShape state_shape() const;
    /// Where in the fixed state n-gram rows have theirs.
    size_t ngram_offset() const { return round_up(mixer->state_shape().fixed_bytes, 64); }
};

struct Model {
    /// Looks up every tensor, checks its shape, refuses leftovers.
    Model(const ModelSpec& spec, const ModelOptions& options, DenseWeights& weights, const ExpertFiles& files);

    uint32_t hidden, vocab, max_positions;
    float norm_eps;
    Matrix embed, lm_head;
    Span final_norm;
    /// Residual streams; with several the final connection stands for the final norm.
    uint32_t streams = 1;
    std::optional<HyperConnection> final_connection;
    std::vector<Layer> layers;
    RopeRegistry ropes;
    /// Keys that a token attends to where layers share the choice; 0: none do.
    uint32_t shared_keys = 0;
    /// That the backend must have, one bit each.
    uint32_t features = 0;

    /// Floats a token of the residual.
    uint32_t residual() const { return streams * hidden; }

    /// Floats a token that any block needs; and over all moe layers the largest top_k and number of experts.
    size_t scratch_floats = 0;
    uint32_t max_top_k = 0, max_experts = 0;
};

} // namespace flashmoe
