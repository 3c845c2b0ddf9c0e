// A model as data, as model_weights.json's `config` states it (src/models/spec.ts is the contract; field meanings
// are written there). The core knows block kinds; which model they make up is not its business.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/json.h"

namespace flashmoe {

struct RopeSpec {
    bool interleaved = false;
    uint32_t dims = 0;
    /// Radians per position, dims / 2 of them.
    std::vector<double> inv_freq;
    double magnitude = 1;

    bool operator==(const RopeSpec&) const = default;
};

/// Chooses blocks of keys of a grouped-query attention.
struct BlockIndexerSpec {
    uint32_t heads, dim, budget, ratio;
    std::string qk, q_norm, k_norm;
};

struct GqaSpec {
    uint32_t heads, kv_heads, head_dim;
    float scale;
    bool output_gate, qk_norm;
    RopeSpec rope;
    std::string q, k, v, o, q_norm, k_norm;
    /// One RMS norm over all heads of a token, instead of one a head.
    bool norm_all_heads = false;
    bool qkv_bias = false, o_bias = false;
    /// 0 = every key.
    uint32_t window = 0;
    /// Empty = none.
    std::string sinks = {};
    std::optional<BlockIndexerSpec> blocks = std::nullopt;
};

struct GatedDeltaNetSpec {
    uint32_t key_heads, value_heads, key_dim, value_dim, conv_kernel;
    float qk_norm_eps;
    std::string qkv, z, a, b, conv, a_log, dt_bias, norm, out;
    /// Instead of qkv, z, a and b: the same rows, key head by key head.
    std::string qkvz = {}, ba = {};
    bool sigmoid_gate = false;
    /// Value head h uses key head h % key_heads instead of h / (value_heads / key_heads).
    bool tiled_heads = false;
};

/// Chooses the keys of a latent attention.
struct IndexerSpec {
    uint32_t heads, dim, top;
    float norm_eps;
    RopeSpec rope;
    std::string q, k, k_norm, weights;
};

struct MlaSpec {
    uint32_t heads;
    /// 0 = one q projection.
    uint32_t q_lora_rank;
    uint32_t kv_lora_rank, nope_dim, rope_dim, value_dim;
    float scale, lora_norm_eps;
    RopeSpec rope;
    /// Empty = not there.
    std::string q, q_a, q_a_norm, q_b, kv_a, kv_a_norm, kv_b, embed_q, unembed_out, o;
    std::optional<IndexerSpec> indexer = std::nullopt;
    /// Attends to what the last layer before with an indexer chose.
    bool shares_keys = false;
};

using MixerSpec = std::variant<GqaSpec, GatedDeltaNetSpec, MlaSpec>;

struct DenseMlpSpec {
    uint32_t intermediate_size;
    std::string gate, up, down;
};

struct SharedExpertSpec {
    uint32_t intermediate_size;
    std::string gate, up, down;
    /// Empty = added without a gate.
    std::string sigmoid_gate;
};

struct MoeSpec {
    uint32_t experts, top_k, intermediate_size;
    bool sigmoid_scoring, norm_top_k;
    uint32_t groups, top_groups;
    float routed_scale;
    std::optional<SharedExpertSpec> shared;
    /// choice_bias empty = none.
    std::string router, choice_bias;
    bool router_bias = false, expert_bias = false;
    /// Of the experts' gated unit; 0 = none.
    float clamp = 0;
};

using MlpSpec = std::variant<DenseMlpSpec, MoeSpec>;

/// What a block takes of several residual streams and how its result goes back.
struct HyperConnectionSpec {
    uint32_t rank = 0;
    /// inject empty = nothing goes back.
    std::string norm, down, up, inject;
};

/// Rows of a table that a token and those before it choose.
struct NgramSpec {
    uint32_t order, heads_per_order, width, conv_kernel, stop_id;
    std::string multipliers, sizes, offsets, key, value, key_norm, query_norm, conv_norm, conv;

    uint32_t heads() const { return (order - 1) * heads_per_order; }
    uint32_t columns() const { return width / heads(); }
};

struct LayerSpec {
    /// Empty in a model of several streams.
    std::string input_norm, post_norm;
    MixerSpec mixer;
    MlpSpec mlp;
    /// With several streams only.
    HyperConnectionSpec mixer_connection, mlp_connection;
    std::optional<NgramSpec> ngram;
};

struct ModelSpec {
    std::string model_type;
    uint32_t hidden_size, vocab_size, max_positions;
    float norm_eps;
    std::string embed, final_norm, lm_head;
    std::vector<LayerSpec> layers;
    /// Residual streams; with more than one final_connection stands for final_norm.
    uint32_t streams = 1;
    HyperConnectionSpec final_connection;
};

/// Throws FM_MODEL_DAMAGED for a missing or impossible value, FM_UNSUPPORTED_MODEL for an unknown block kind.
ModelSpec parse_model_spec(const Field& config);

} // namespace flashmoe
