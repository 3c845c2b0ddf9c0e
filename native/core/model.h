// The spec bound to its weights: layers of blocks between an embedding and an output matrix.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "blocks/block.h"
#include "blocks/dense_mlp.h"
#include "blocks/moe.h"

namespace flashmoe {

struct Layer {
    Span input_norm, post_norm;
    std::unique_ptr<Mixer> mixer;
    std::variant<DenseMlp, Moe> mlp;
};

struct Model {
    /// Looks up every tensor, checks its shape, refuses leftovers.
    Model(const ModelSpec& spec, const ModelOptions& options, DenseWeights& weights);

    uint32_t hidden, vocab, max_positions;
    float norm_eps;
    Matrix embed, lm_head;
    Span final_norm;
    std::vector<Layer> layers;
    RopeRegistry ropes;
    /// That the backend must have, one bit each.
    uint32_t features = 0;

    /// Floats a token that any block needs; and over all moe layers the largest top_k and number of experts.
    size_t scratch_floats = 0;
    uint32_t max_top_k = 0, max_experts = 0;
};

} // namespace flashmoe
