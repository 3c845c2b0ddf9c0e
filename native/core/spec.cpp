#include "core/spec.h"

#include <cmath>

namespace flashmoe {
namespace {

// Far above any real model; they keep products of sizes inside 64 bits and allocations sane.
constexpr uint64_t kMaxDim = 1u << 20;
constexpr uint64_t kMaxHeads = 1u << 12;
constexpr uint64_t kMaxVocab = 1u << 24;
constexpr uint64_t kMaxLayers = 1024;
constexpr uint64_t kMaxExperts = 1u << 14;

uint32_t dim(const Field& parent, const char* name, uint64_t max = kMaxDim) {
    return static_cast<uint32_t>(parent.at(name).integer(1, max));
}

float positive(const Field& parent, const char* name) {
    const Field field = parent.at(name);
    const double value = field.number();
    if (!(value > 0) || value > 1e6) field.damaged("expected a number above 0");
    return static_cast<float>(value);
}

std::string optional_name(const Field& tensors, const char* name) {
    return tensors.has(name) ? tensors.at(name).string() : std::string();
}

/// Absent = false.
bool flag(const Field& parent, const char* name) { return parent.has(name) && parent.at(name).boolean(); }

RopeSpec parse_rope(const Field& field) {
    RopeSpec rope;
    const Field pairing = field.at("pairing");
    rope.interleaved = pairing.string() == "interleaved";
    if (!rope.interleaved && pairing.string() != "half") {
        fail(FM_UNSUPPORTED_MODEL, pairing.path(), ": \"", pairing.string(), "\" is not one of half, interleaved");
    }
    rope.dims = dim(field, "dims", 1u << 14);
    rope.magnitude = positive(field, "magnitude");
    const Field frequencies = field.at("invFreq");
    for (const Field& item : frequencies.items(1u << 13)) rope.inv_freq.push_back(item.number());
    if (rope.dims % 2 != 0 || rope.inv_freq.size() != rope.dims / 2) frequencies.damaged("expected dims / 2 numbers");
    return rope;
}

BlockIndexerSpec parse_block_indexer(const Field& field, uint32_t rope_dims) {
    const Field tensors = field.at("tensors");
    BlockIndexerSpec indexer{.heads = dim(field, "heads", kMaxHeads),
                             .dim = dim(field, "dim", 1u << 12),
                             .budget = dim(field, "budget", 1u << 16),
                             .ratio = dim(field, "ratio", 1u << 10),
                             .qk = tensors.at("qk").string(),
                             .q_norm = tensors.at("qNorm").string(),
                             .k_norm = tensors.at("kNorm").string()};
    if (indexer.ratio > indexer.budget) field.at("ratio").damaged("is more than budget");
    if (rope_dims > indexer.dim) field.at("dim").damaged("is less than what rotates");
    return indexer;
}

GqaSpec parse_gqa(const Field& field) {
    const Field tensors = field.at("tensors");
    GqaSpec gqa{.heads = dim(field, "heads", kMaxHeads),
                .kv_heads = dim(field, "kvHeads", kMaxHeads),
                .head_dim = dim(field, "headDim", 1u << 14),
                .scale = positive(field, "scale"),
                .output_gate = field.at("outputGate").boolean(),
                .qk_norm = field.at("qkNorm").boolean(),
                .rope = parse_rope(field.at("rope")),
                .q = tensors.at("q").string(),
                .k = tensors.at("k").string(),
                .v = tensors.at("v").string(),
                .o = tensors.at("o").string(),
                .q_norm = {},
                .k_norm = {}};
    if (gqa.heads % gqa.kv_heads != 0) field.at("kvHeads").damaged("does not divide heads");
    if (gqa.rope.dims > gqa.head_dim) field.at("rope").damaged("rotates more dimensions than a head has");
    gqa.qkv_bias = flag(field, "qkvBias");
    gqa.o_bias = flag(field, "oBias");
    gqa.norm_all_heads = flag(field, "normAllHeads");
    if (gqa.norm_all_heads && gqa.output_gate) field.at("normAllHeads").damaged("a gate stands between the heads");
    if (field.has("window")) gqa.window = dim(field, "window", 1u << 26);
    gqa.sinks = optional_name(tensors, "sinks");
    if (field.has("blocks")) gqa.blocks = parse_block_indexer(field.at("blocks"), gqa.rope.dims);
    if (gqa.qk_norm) {
        gqa.q_norm = tensors.at("qNorm").string();
        gqa.k_norm = tensors.at("kNorm").string();
    }
    return gqa;
}

GatedDeltaNetSpec parse_gated_delta_net(const Field& field) {
    const Field tensors = field.at("tensors");
    GatedDeltaNetSpec net{.key_heads = dim(field, "keyHeads", kMaxHeads),
                          .value_heads = dim(field, "valueHeads", kMaxHeads),
                          .key_dim = dim(field, "keyDim", 1u << 12),
                          .value_dim = dim(field, "valueDim", 1u << 12),
                          .conv_kernel = dim(field, "convKernel", 16),
                          .qk_norm_eps = positive(field, "qkNormEps"),
                          .qkv = {},
                          .z = {},
                          .a = {},
                          .b = {},
                          .conv = tensors.at("conv").string(),
                          .a_log = tensors.at("aLog").string(),
                          .dt_bias = tensors.at("dtBias").string(),
                          .norm = tensors.at("norm").string(),
                          .out = tensors.at("out").string()};
    net.qkvz = optional_name(tensors, "qkvz");
    if (net.qkvz.empty()) {
        net.qkv = tensors.at("qkv").string();
        net.z = tensors.at("z").string();
        net.a = tensors.at("a").string();
        net.b = tensors.at("b").string();
    } else {
        net.ba = tensors.at("ba").string();
    }
    net.sigmoid_gate = flag(field, "sigmoidGate");
    net.tiled_heads = flag(field, "tiledHeads");
    if (net.value_heads % net.key_heads != 0) field.at("keyHeads").damaged("does not divide valueHeads");
    if (net.conv_kernel < 2) field.at("convKernel").damaged("expected at least 2");
    return net;
}

IndexerSpec parse_indexer(const Field& field, uint32_t most_rope) {
    const Field tensors = field.at("tensors");
    IndexerSpec indexer{.heads = dim(field, "heads", kMaxHeads),
                        .dim = dim(field, "dim", 1u << 12),
                        .top = dim(field, "topK", 1u << 16),
                        .norm_eps = positive(field, "normEps"),
                        .rope = parse_rope(field.at("rope")),
                        .q = tensors.at("q").string(),
                        .k = tensors.at("k").string(),
                        .k_norm = tensors.at("kNorm").string(),
                        .weights = tensors.at("weights").string()};
    if (indexer.rope.dims > indexer.dim || indexer.rope.dims > most_rope) {
        field.at("rope").damaged("rotates more dimensions than a head has");
    }
    return indexer;
}

MlaSpec parse_mla(const Field& field) {
    const Field tensors = field.at("tensors");
    const Field rank = field.at("qLoraRank");
    MlaSpec mla{.heads = dim(field, "heads", kMaxHeads),
                .q_lora_rank = rank.is_null() ? 0 : static_cast<uint32_t>(rank.integer(1, kMaxDim)),
                .kv_lora_rank = dim(field, "kvLoraRank", 1u << 14),
                .nope_dim = dim(field, "nopeDim", 1u << 12),
                .rope_dim = dim(field, "ropeDim", 1u << 12),
                .value_dim = dim(field, "valueDim", 1u << 12),
                .scale = positive(field, "scale"),
                .lora_norm_eps = positive(field, "loraNormEps"),
                .rope = parse_rope(field.at("rope")),
                .q = {},
                .q_a = {},
                .q_a_norm = {},
                .q_b = {},
                .kv_a = tensors.at("kvA").string(),
                .kv_a_norm = tensors.at("kvANorm").string(),
                .kv_b = optional_name(tensors, "kvB"),
                .embed_q = {},
                .unembed_out = {},
                .o = tensors.at("o").string()};
    if (mla.rope.dims != mla.rope_dim) field.at("rope").damaged("dims differ from ropeDim");
    if (mla.q_lora_rank == 0) {
        mla.q = tensors.at("q").string();
    } else {
        mla.q_a = tensors.at("qA").string();
        mla.q_a_norm = tensors.at("qANorm").string();
        mla.q_b = tensors.at("qB").string();
    }
    if (field.has("indexer")) {
        if (mla.q_lora_rank == 0) field.at("indexer").damaged("needs a low-rank query");
        mla.indexer = parse_indexer(field.at("indexer"), mla.rope_dim);
    }
    mla.shares_keys = flag(field, "sharesKeys");
    if (mla.shares_keys && mla.indexer) field.at("sharesKeys").damaged("has an indexer of its own");
    if (mla.kv_b.empty()) {
        mla.embed_q = tensors.at("embedQ").string();
        mla.unembed_out = tensors.at("unembedOut").string();
    }
    return mla;
}

MixerSpec parse_mixer(const Field& field) {
    const Field kind = field.at("kind");
    if (kind.string() == "gqa") return parse_gqa(field);
    if (kind.string() == "gated_delta_net") return parse_gated_delta_net(field);
    if (kind.string() == "mla") return parse_mla(field);
    fail(FM_UNSUPPORTED_MODEL, kind.path(), ": \"", kind.string(), "\" is not one of gqa, gated_delta_net, mla");
}

MoeSpec parse_moe(const Field& field) {
    const Field tensors = field.at("tensors");
    const Field scoring = field.at("scoring");
    if (scoring.string() != "softmax" && scoring.string() != "sigmoid") {
        fail(FM_UNSUPPORTED_MODEL, scoring.path(), ": \"", scoring.string(), "\" is not one of softmax, sigmoid");
    }
    MoeSpec moe{.experts = dim(field, "experts", kMaxExperts),
                .top_k = dim(field, "topK", kMaxExperts),
                .intermediate_size = dim(field, "intermediateSize"),
                .sigmoid_scoring = scoring.string() == "sigmoid",
                .norm_top_k = field.at("normTopK").boolean(),
                .groups = dim(field, "groups", kMaxExperts),
                .top_groups = dim(field, "topGroups", kMaxExperts),
                .routed_scale = positive(field, "routedScale"),
                .shared = std::nullopt,
                .router = tensors.at("router").string(),
                .choice_bias = optional_name(tensors, "choiceBias")};
    moe.router_bias = flag(field, "routerBias");
    moe.expert_bias = flag(field, "expertBias");
    if (field.has("clamp")) moe.clamp = positive(field, "clamp");
    if (moe.experts % moe.groups != 0) field.at("groups").damaged("does not divide experts");
    if (moe.top_groups > moe.groups) field.at("topGroups").damaged("is more than groups");
    if (moe.top_k > moe.top_groups * (moe.experts / moe.groups)) {
        field.at("topK").damaged("is more than the experts that may be chosen");
    }
    const Field shared = field.at("shared");
    if (!shared.is_null()) {
        const Field names = shared.at("tensors");
        moe.shared = SharedExpertSpec{.intermediate_size = dim(shared, "intermediateSize"),
                                      .gate = names.at("gate").string(),
                                      .up = names.at("up").string(),
                                      .down = names.at("down").string(),
                                      .sigmoid_gate = optional_name(names, "sigmoidGate")};
    }
    return moe;
}

HyperConnectionSpec parse_connection(const Field& field) {
    const Field tensors = field.at("tensors");
    return {.rank = dim(field, "rank"),
            .norm = tensors.at("norm").string(),
            .down = tensors.at("down").string(),
            .up = tensors.at("up").string(),
            .inject = optional_name(tensors, "inject")};
}

NgramSpec parse_ngram(const Field& field) {
    const Field tensors = field.at("tensors");
    NgramSpec ngram{.order = static_cast<uint32_t>(field.at("order").integer(2, 8)),
                    .heads_per_order = dim(field, "headsPerOrder", 64),
                    .width = dim(field, "width"),
                    .conv_kernel = static_cast<uint32_t>(field.at("convKernel").integer(2, 16)),
                    .stop_id = static_cast<uint32_t>(field.at("stopId").integer(0, kMaxVocab)),
                    .multipliers = tensors.at("multipliers").string(),
                    .sizes = tensors.at("sizes").string(),
                    .offsets = tensors.at("offsets").string(),
                    .key = tensors.at("key").string(),
                    .value = tensors.at("value").string(),
                    .key_norm = tensors.at("keyNorm").string(),
                    .query_norm = tensors.at("queryNorm").string(),
                    .conv_norm = tensors.at("convNorm").string(),
                    .conv = tensors.at("conv").string()};
    if (ngram.width % ngram.heads() != 0) field.at("width").damaged("is no multiple of the heads");
    return ngram;
}

MlpSpec parse_mlp(const Field& field) {
    const Field kind = field.at("kind");
    if (kind.string() == "moe") return parse_moe(field);
    if (kind.string() != "dense_mlp") {
        fail(FM_UNSUPPORTED_MODEL, kind.path(), ": \"", kind.string(), "\" is not one of dense_mlp, moe");
    }
    const Field tensors = field.at("tensors");
    return DenseMlpSpec{.intermediate_size = dim(field, "intermediateSize"),
                        .gate = tensors.at("gate").string(),
                        .up = tensors.at("up").string(),
                        .down = tensors.at("down").string()};
}

LayerSpec parse_layer(const Field& field, bool has_streams) {
    LayerSpec layer{.input_norm = has_streams ? "" : field.at("inputNorm").string(),
                    .post_norm = has_streams ? "" : field.at("postNorm").string(),
                    .mixer = parse_mixer(field.at("mixer")),
                    .mlp = parse_mlp(field.at("mlp")),
                    .mixer_connection = {},
                    .mlp_connection = {},
                    .ngram = std::nullopt};
    if (field.has("ngram")) {
        if (!has_streams) field.at("ngram").damaged("needs several residual streams");
        layer.ngram = parse_ngram(field.at("ngram"));
    }
    if (!has_streams) return layer;
    const Field connections = field.at("connections");
    layer.mixer_connection = parse_connection(connections.at("mixer"));
    layer.mlp_connection = parse_connection(connections.at("mlp"));
    if (layer.mixer_connection.inject.empty() || layer.mlp_connection.inject.empty()) {
        connections.damaged("nothing goes back to the streams");
    }
    return layer;
}

} // namespace

ModelSpec parse_model_spec(const Field& config) {
    if (const Field schema = config.at("schema"); schema.integer(0, 1u << 20) != 1) {
        fail(FM_UNSUPPORTED_MODEL, schema.path(), ": only schema 1 is known");
    }
    ModelSpec spec{.model_type = config.at("modelType").string(),
                   .hidden_size = dim(config, "hiddenSize"),
                   .vocab_size = dim(config, "vocabSize", kMaxVocab),
                   .max_positions = dim(config, "maxPositions", 1u << 26),
                   .norm_eps = positive(config, "normEps"),
                   .embed = config.at("embed").string(),
                   .final_norm = {},
                   .lm_head = config.at("lmHead").string(),
                   .layers = {},
                   .streams = 1,
                   .final_connection = {}};
    const bool has_streams = config.has("streams");
    if (has_streams) {
        const Field streams = config.at("streams");
        spec.streams = static_cast<uint32_t>(streams.at("count").integer(2, 16));
        spec.final_connection = parse_connection(streams.at("mixer"));
    } else {
        spec.final_norm = config.at("finalNorm").string();
    }
    const Field layers = config.at("layers");
    for (const Field& layer : layers.items(kMaxLayers)) spec.layers.push_back(parse_layer(layer, has_streams));
    if (spec.layers.empty()) layers.damaged("no layers");
    bool chosen = false;
    for (const LayerSpec& layer : spec.layers) {
        const auto* mla = std::get_if<MlaSpec>(&layer.mixer);
        if (mla == nullptr) continue;
        chosen = chosen || mla->indexer.has_value();
        if (mla->shares_keys && !chosen) layers.damaged("keys are shared that no layer before has chosen");
    }
    return spec;
}

} // namespace flashmoe
