// What the graph asks of whoever computes. Operations are appended in order and see the results of earlier ones;
// they are complete after wait(). An implementation may run them at once (CPU) or encode them (GPU).
// Activations are f32, row-major [tokens, width]. Buffers are host memory, shared with the device where there is one.
// Over 400 lines: it is one interface, of which most are comments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "core/error.h"
#include "quant/blocks.h"

namespace flashmoe {

enum class ElementType : uint8_t { u32, bf16, f16, f32, u8, i64 };

constexpr bool is_float(ElementType type) {
    return type == ElementType::bf16 || type == ElementType::f16 || type == ElementType::f32;
}

/// How packed codes stand for numbers: MLX's modes of quantisation, or blocks of GGUF.
enum class Codes : uint8_t { affine, mxfp4, nvfp4, mxfp8, blocks };

/// Bytes of one element.
constexpr size_t element_bytes(ElementType type) {
    switch (type) {
    case ElementType::u8: return 1;
    case ElementType::i64: return 8;
    case ElementType::u32:
    case ElementType::f32: return 4;
    default: return 2;
    }
}

/// A range of page-aligned host memory known to a backend. `device` is the backend's own.
struct Buffer {
    std::byte* host = nullptr;
    size_t bytes = 0;
    void* device = nullptr;
};

/// A place in a buffer.
struct Span {
    const Buffer* buffer = nullptr;
    size_t offset = 0;

    explicit operator bool() const { return buffer != nullptr; }
    Span operator+(size_t bytes) const { return {buffer, offset + bytes}; }
    template <typename T> T* as() const { return reinterpret_cast<T*>(buffer->host + offset); }
};

/// A linear map [rows, cols]. bits 0: plain elements of `type`. Otherwise packed codes, and scales and biases of
/// `type` per group of `group` columns: w = scale * code + bias (scale may be negative). In the floating point modes scales are
/// bytes and there are no biases: w = scale * code. Blocks have all of it inside: `group` is then the values of a block, `bits` its
/// bits a value without the fraction, and there are no scales and biases.
struct Matrix {
    Span weight, scales, biases;
    uint32_t rows = 0, cols = 0;
    uint32_t bits = 0, group = 0;
    ElementType type = ElementType::bf16;
    Codes codes = Codes::affine;
    quant::Block block = {};
    /// Added to each result: [rows] of bias_type, where has_bias.
    Span bias{};
    ElementType bias_type = ElementType::f32;
    bool has_bias = false;

    /// Packed in a way that every backend has loops for.
    bool is_common() const { return codes == Codes::affine && (bits == 2 || bits == 4 || bits == 8) && group >= 32; }
    size_t row_bytes() const {
        if (codes == Codes::blocks) return groups() * quant::block_bytes(block);
        return bits != 0 ? size_t{cols} * bits / 8 : size_t{cols} * element_bytes(type);
    }
    size_t groups() const { return bits != 0 ? cols / group : 0; }
    /// The same map restricted to rows [first, first + count).
    Matrix slice(uint32_t first, uint32_t count) const {
        Matrix part = *this;
        part.rows = count;
        part.weight.offset += first * row_bytes();
        part.scales.offset += first * groups() * element_bytes(type);
        part.biases.offset += first * groups() * element_bytes(type);
        part.bias.offset += first * element_bytes(bias_type);
        return part;
    }
};

/// Keys or values of a conversation in 16 bits: integer codes with one f32 scale a head and token, value = code *
/// scale. Against IEEE half the same bytes keep some eight times more of a vector: no bits go to an exponent that all
/// elements share.
struct KvCache {
    /// i16 [max_tokens, heads, dim] and f32 [max_tokens, heads].
    Span codes, scales;
    /// The vectors themselves, in f32, stand where the codes would, and there are no scales: for comparing with references.
    bool exact = false;
};

/// Which keys each token of a batch sees. A token whose count is 0 sees all that causality and the window leave.
struct KeySelection {
    /// u32 [tokens, most], positions in ascending order; and u32 [tokens].
    Span positions, counts;
    uint32_t most = 0;

    explicit operator bool() const { return static_cast<bool>(positions); }
};

/// Cosine and sine for the tokens of a batch: f32 [tokens, dims / 2, 2], magnitude included.
struct RopeTable {
    Span cos_sin;
    uint32_t dims = 0;
    bool interleaved = false;
};

/// Heads of queries and keys: optional RMS norm of each head, RoPE, then k and v go to the cache.
struct GqaAppend {
    /// f32 [tokens, heads, q_stride]; the first head_dim of each head are the query, changed in place.
    Span q;
    uint32_t q_stride;
    /// f32 [tokens, kv_heads, head_dim].
    Span k, v;
    /// f32 [head_dim], or none.
    Span q_norm, k_norm;
    float eps;
    RopeTable rope;
    KvCache k_cache, v_cache;
    uint32_t heads, kv_heads, head_dim;
    /// Of the batch's first token.
    uint32_t position, tokens;
};

/// Causal attention over the cache; with a gate, out *= sigmoid(gate), the gate standing behind each head's query.
struct GqaAttend {
    Span q;
    uint32_t q_stride;
    bool gated;
    KvCache k_cache, v_cache;
    /// f32 [heads], or none: one more logit a head, whose share of the softmax goes nowhere.
    Span sinks{};
    /// Keys that a token sees, itself included; 0 = all.
    uint32_t window = 0;
    KeySelection selection{};
    /// f32 [tokens, heads, head_dim].
    Span out;
    uint32_t heads, kv_heads, head_dim;
    float scale;
    uint32_t position, tokens;
};

/// Convolution, recurrence and gated norm of a delta net; docs/format.md has the formulas.
struct DeltaNet {
    /// f32 [tokens, 2*key_heads*key_dim + value_heads*value_dim], overwritten.
    Span qkv;
    /// f32 [tokens, value_heads*value_dim], [tokens, value_heads], [tokens, value_heads].
    Span z, a, b;
    /// f32 [conv_kernel, channels], [value_heads], [value_heads], [value_dim].
    Span conv, a_log, dt_bias, norm;
    /// f32 [conv_kernel - 1, channels], oldest first; and [value_heads, value_dim, key_dim].
    Span history, state;
    /// f32 [tokens, value_heads*value_dim].
    Span out;
    uint32_t key_heads, value_heads, key_dim, value_dim, conv_kernel;
    float qk_norm_eps, norm_eps;
    uint32_t tokens;
    /// The gate is sigmoid(z) instead of silu(z).
    bool sigmoid_gate = false;
    /// Value head h uses key head h % key_heads instead of h / (value_heads / key_heads).
    bool tiled_heads = false;
};

/// RMS norm of the latent, RoPE of the shared key part and of each query's, then latent | key part go to the cache.
struct MlaAppend {
    /// f32 [tokens, heads, nope_dim + rope_dim], changed in place.
    Span q;
    /// f32 [tokens, latent_dim + rope_dim].
    Span c;
    /// f32 [latent_dim].
    Span norm;
    float eps;
    RopeTable rope;
    /// Two heads of different width in one row: [max_tokens, latent_dim + rope_dim], scales [max_tokens, 2].
    KvCache cache;
    uint32_t heads, latent_dim, nope_dim, rope_dim;
    uint32_t position, tokens;
};

/// Attention in absorbed form: queries are taken into latent space, the cache serves as key and value.
struct MlaAttend {
    Span q;
    KvCache cache;
    /// Either kv_b [heads * (nope_dim + value_dim), latent_dim], used transposed for its first nope_dim rows a head …
    Matrix kv_b;
    /// … or embed_q [heads * latent_dim, nope_dim] and unembed_out [heads * value_dim, latent_dim].
    Matrix embed_q, unembed_out;
    KeySelection selection{};
    /// f32 [tokens, heads, value_dim].
    Span out;
    uint32_t heads, latent_dim, nope_dim, rope_dim, value_dim;
    float scale;
    uint32_t position, tokens;
};

/// Chooses top_k experts a token. Equal scores: the lower index wins.
struct Router {
    /// f32 [tokens, experts].
    Span logits;
    /// f32 [experts], or none.
    Span choice_bias;
    /// u32 and f32 [tokens, top_k], ascending expert index.
    Span ids, weights;
    uint32_t experts, top_k, groups, top_groups;
    bool sigmoid, normalise;
    float scale;
    uint32_t tokens;
};

/// Keys of the lightning indexer of a layer go to a cache of their own; each token then chooses the `top` keys with the
/// largest scores: sum over heads of weight * max(0, q . k). A token that sees no more than `top` keys gets count 0.
struct IndexSelect {
    /// f32 [tokens, heads, dim], [tokens, dim] and [tokens, heads]; q and k are changed in place.
    Span q, k, weights;
    /// Layer norm of the key: f32 [dim].
    Span norm, norm_bias;
    float eps;
    /// Rotates the first dimensions of q's heads and of k.
    RopeTable rope;
    /// One head.
    KvCache cache;
    uint32_t heads, dim, top;
    uint32_t position, tokens;
    /// Written; top is at most selection.most.
    KeySelection selection;
};

/// Keys of a block indexer go to a plane of their own; each token then chooses the budget / ratio whole blocks of `ratio` keys
/// whose sum over heads of max(0, q . block) is largest, and sees them and what stands behind the last whole block. A token with
/// no more whole blocks than that gets count 0.
struct BlockSelect {
    /// f32 [tokens, heads + 1, dim]: queries, then the token's key; changed in place.
    Span qk;
    /// f32 [dim] each.
    Span q_norm, k_norm;
    float eps;
    /// Rotates the first dimensions of the queries; and the same frequencies for blocks, whose first token may be long gone.
    RopeTable rope;
    const double* inv_freq;
    double magnitude;
    /// f32 [max_tokens, dim]: the sum of a block's keys so far, at its last token the block's key.
    Span plane;
    uint32_t heads, dim, budget, ratio;
    uint32_t position, tokens;
    /// Written; most is at least budget + ratio - 1.
    KeySelection selection;
};

/// A block's input from several residual streams: out = mean over streams of sigmoid(gate) * normed.
struct StreamMix {
    /// f32 [tokens, streams, width].
    Span normed, gate;
    /// f32 [tokens, width].
    Span out;
    uint32_t streams, width, tokens;
};

/// out_s = sigmoid(r) * value, with r the signed root of key_s . query_s / sqrt(width), of at least a thousandth in size.
struct StreamGate {
    /// f32 [tokens, streams, width].
    Span key, query;
    /// f32 [tokens, width].
    Span value;
    /// f32 [tokens, streams, width].
    Span out;
    uint32_t streams, width, tokens;
};

/// y += x + silu(c), with c a causal depthwise convolution of `normed` whose taps are `dilation` tokens apart.
struct DilatedConvolution {
    /// f32 [tokens, channels].
    Span x, normed, y;
    /// f32 [kernel, channels].
    Span weights;
    /// f32 [(kernel - 1) * dilation, channels], oldest first.
    Span history;
    uint32_t channels, kernel, dilation, tokens;
};

/// One expert and the tokens that chose it: entries [first, first + count) of ExpertBatch::tokens and ::weights.
struct ExpertWork {
    Matrix gate, up, down;
    uint32_t first, count;
};

/// Most entries of one ExpertBatch, and most works.
constexpr uint32_t kMaxExpertEntries = 256;
constexpr uint32_t kMaxExpertWorks = 32;

/// results = weight * down(unit(gate(x[token]), up(x[token]))), a row for each entry of the works in the order given, from
/// row `first_row` on: kept apart, so that experts may be computed in whatever order they come. unit is silu(gate) * up, or
/// with a clamp what clamped_swiglu() says.
struct ExpertBatch {
    const ExpertWork* works;
    uint32_t count;
    /// Rows of x, and routed weights, by entry.
    const uint32_t* tokens;
    const float* weights;
    Span x, results;
    uint32_t first_row;
    /// 0 = none.
    float clamp = 0;
    /// A prompt's: a device may multiply an expert of several entries with all of them at once, which rounds otherwise than one by
    /// one. What an entry gets depends on its own expert's entries alone.
    bool tiled = false;
};

/// y[tokens[i]] += results[rows[i]] for i from 0 on, in that order: what a token gets doesn't depend on when.
struct ExpertSum {
    /// At most kMaxExpertEntries.
    const uint32_t *tokens, *rows;
    uint32_t count;
    Span results, y;
    uint32_t width;
};

/// Where a device finds a layer's experts by their numbers.
struct ExpertTable {
    /// A buffer in which some of them lie, all of one shape: the matrices' spans are offsets from an expert's beginning.
    struct Part {
        Span start;
        Matrix gate, up, down;
    };
    std::vector<Part> parts;
    /// u32 [experts, 2]: which part, and how many bytes from its start the expert begins.
    Span places;
    uint32_t experts = 0;
};

/// The experts whose numbers the router has written, of a layer that is in memory whole, and the shared expert's last map:
/// y = factor * (down . inner) + a token's results, added in the order of its ids; factor is sigmoid(gate[t]), or 1 without a
/// gate; without a shared expert the sum begins at 0. What is no expert's number makes y any number: the host looks at the ids.
struct ChosenExperts {
    const ExpertTable* table;
    /// u32 and f32 [tokens, top_k], ascending a token; tokens * top_k is at most kMaxExpertEntries.
    Span ids, weights;
    /// f32 [tokens, hidden] and [tokens * top_k, hidden].
    Span x, results, y;
    /// rows 0: no shared expert. f32 [tokens, shared_down.cols], [tokens] or none; and room for [tokens, hidden].
    Matrix shared_down;
    Span shared_inner, shared_gate, shared_room;
    uint32_t tokens, top_k, hidden;
    float clamp = 0;
};

/// Most tokens that a linear, an attention, a delta net or a router takes at once.
constexpr uint32_t kMaxBatchTokens = 64;

/// What a model may ask of a backend beyond what all of them have. A model is refused at load by the names of those that
/// are missing.
enum Feature : uint32_t {
    kExactCaches,
    kSinksAndWindows,
    kSelectedKeys,
    kRareFormats,
    kBlockFormats,
    kAddedBiases,
    kClampedUnits,
    kPermutedRows,
    kLightningIndexer,
    kSigmoidGates,
    kResidualStreams,
    kBlockIndexer,
    kNgramRows,
    kTiledHeads,
    kFeatures,
};
constexpr const char* kFeatureNames[kFeatures] = {
    "f32 attention caches",
    "attention with sinks and sliding windows",
    "attention over selected keys",
    "weights of 3, 5 or 6 bits, in groups of 16 or in floating point modes",
    "weights in blocks of GGUF",
    "biases of linear maps",
    "clamped gated units",
    "projections that interleave heads",
    "the lightning indexer",
    "sigmoid gates behind a delta net",
    "several residual streams",
    "attention to blocks of keys",
    "n-gram rows",
    "value heads in turn of all key heads of a delta net",
};
constexpr uint32_t bit(Feature feature) { return 1u << feature; }

/// What a backend with a device of its own has done so far; zero where the host computes.
struct BackendCounters {
    uint64_t dispatches = 0;
    /// Handed to the device: lists of dispatches, each of which costs the host a call and the device a start.
    uint64_t submits = 0;
    /// Times the host stood still for the device: in wait() and wait_for() alike.
    uint64_t waits = 0;
    double waited_seconds = 0, device_seconds = 0;
};

class Backend {
  public:
    virtual ~Backend() = default;
    virtual const char* name() const = 0;
    /// Instruction set or device.
    virtual const char* isa() const = 0;

    /// Makes host memory usable in operations. `host` is page-aligned and outlives the buffer.
    virtual Buffer wrap(void* host, size_t bytes) = 0;
    /// Nothing that uses it may be under way.
    virtual void unwrap(Buffer& buffer) = 0;
    /// What it has of the features, one bit each.
    virtual uint32_t features() const { return 0; }
    /// Weights may lie in mapped files, which the system reads and drops as it likes.
    virtual bool takes_mapped_files() const { return false; }
    /// Bytes that may still be wrapped; the system's own limits apply beside it.
    virtual uint64_t memory_left() const { return UINT64_MAX; }
    /// Of one buffer, whole pages.
    virtual uint64_t max_buffer_bytes() const { return UINT64_MAX; }

    /// y[t] = row ids[t] of the table. ids: i32.
    virtual void embed(const Matrix& table, Span ids, Span y, uint32_t tokens) = 0;
    /// y = x / sqrt(mean(x^2) + eps) * weight, row by row. x and y may be the same.
    virtual void rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) = 0;
    /// y += x, then out = rms_norm(y): a residual and the norm after it. out is neither x nor y.
    virtual void add_norm(Span y, Span x, Span weight, Span out, uint32_t width, float eps, uint32_t tokens) {
        add(y, x, size_t{width} * tokens);
        rms_norm(y, weight, out, width, eps, tokens);
    }
    /// y[t] = W x[t].
    virtual void linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) = 0;
    /// y = 0. Where a device computes, it does that, too: what the host writes into a long prompt's rows has to come to it first.
    virtual void clear(Span y, size_t count);
    /// y += x.
    virtual void add(Span y, Span x, size_t count) = 0;
    /// y[t] += sigmoid(gate[t]) * x[t]; without a gate, y += x.
    virtual void add_gated(Span y, Span x, Span gate, uint32_t width, uint32_t tokens) = 0;
    /// y = silu(gate) * up. y may be gate or up.
    virtual void swiglu(Span gate, Span up, Span y, size_t count) = 0;
    /// y = (up + 1) * gate * sigmoid(1.702 * gate), with gate at most limit and up within +-limit. y may be gate or up.
    virtual void clamped_swiglu(Span gate, Span up, Span y, size_t count, float limit);
    /// y[t][i] = x[t][index[i]]; index u32 [to], x [tokens, from], y [tokens, to].
    virtual void permute(Span x, Span index, Span y, uint32_t from, uint32_t to, uint32_t tokens);
    virtual void index_select(const IndexSelect& op);
    virtual void block_select(const BlockSelect& op);
    /// As rms_norm for each of `groups` parts of a row, [groups, width] weights.
    virtual void group_norm(Span x, Span weight, Span y, uint32_t groups, uint32_t width, float eps, uint32_t tokens);
    /// y = silu(factor * x).
    virtual void silu(Span x, Span y, float factor, size_t count);
    /// Every stream of y [tokens, streams, width] is x.
    virtual void repeat_streams(Span x, Span y, uint32_t streams, uint32_t width, uint32_t tokens);
    virtual void mix_streams(const StreamMix& op);
    /// y_s += 2 * sigmoid(logits_s / streams) * x; logits [tokens, streams].
    virtual void add_streams(Span y, Span x, Span logits, uint32_t streams, uint32_t width, uint32_t tokens);
    virtual void gate_streams(const StreamGate& op);
    virtual void dilated_convolution(const DilatedConvolution& op);
    virtual void gqa_append(const GqaAppend& op) = 0;
    virtual void gqa_attend(const GqaAttend& op) = 0;
    virtual void delta_net(const DeltaNet& op) = 0;
    virtual void mla_append(const MlaAppend& op) = 0;
    virtual void mla_attend(const MlaAttend& op) = 0;
    virtual void route(const Router& op) = 0;
    virtual void experts(const ExpertBatch& op) = 0;
    virtual void add_experts(const ExpertSum& op) = 0;
    /// It takes experts by the numbers that its router wrote, so that the host need not wait for them.
    virtual bool chooses_experts() const { return false; }
    virtual void chosen_experts(const ChosenExperts& op);
    /// Hands what was appended to the device, which begins with it while the host goes on. The ticket is for
    /// wait_for(); 0: everything is done already.
    virtual uint64_t submit() { return 0; }
    /// Everything up to that submit() is done, and what it read may be overwritten.
    virtual void wait_for(uint64_t ticket) { static_cast<void>(ticket); }
    /// Everything appended is done and visible to the host.
    virtual void wait() = 0;
    /// Between begin and end, operations of one dispatch each (linear, swiglu, add) do not see each other's results,
    /// so that a device may run them side by side. Not nested.
    virtual void begin_side_by_side() {}
    virtual void end_side_by_side() {}
    virtual BackendCounters counters() const { return {}; }
    /// Gives back memory that only long batches need. Nothing may be under way.
    virtual void trim() = 0;
};

// What is beyond a backend is refused when a model is bound, so that these are never reached there.
inline void Backend::clamped_swiglu(Span, Span, Span, size_t, float) { fail(FM_ENGINE, kFeatureNames[kClampedUnits]); }
inline void Backend::permute(Span, Span, Span, uint32_t, uint32_t, uint32_t) { fail(FM_ENGINE, kFeatureNames[kPermutedRows]); }
inline void Backend::clear(Span y, size_t count) {
    wait();
    std::memset(y.as<float>(), 0, count * sizeof(float));
}
inline void Backend::chosen_experts(const ChosenExperts&) { fail(FM_ENGINE, name(), " takes no experts by number"); }
inline void Backend::index_select(const IndexSelect&) { fail(FM_ENGINE, kFeatureNames[kLightningIndexer]); }
inline void Backend::block_select(const BlockSelect&) { fail(FM_ENGINE, kFeatureNames[kBlockIndexer]); }
inline void Backend::group_norm(Span, Span, Span, uint32_t, uint32_t, float, uint32_t) { fail(FM_ENGINE, kFeatureNames[kResidualStreams]); }
inline void Backend::silu(Span, Span, float, size_t) { fail(FM_ENGINE, kFeatureNames[kResidualStreams]); }
inline void Backend::repeat_streams(Span, Span, uint32_t, uint32_t, uint32_t) { fail(FM_ENGINE, kFeatureNames[kResidualStreams]); }
inline void Backend::mix_streams(const StreamMix&) { fail(FM_ENGINE, kFeatureNames[kResidualStreams]); }
inline void Backend::add_streams(Span, Span, Span, uint32_t, uint32_t, uint32_t) { fail(FM_ENGINE, kFeatureNames[kResidualStreams]); }
inline void Backend::gate_streams(const StreamGate&) { fail(FM_ENGINE, kFeatureNames[kNgramRows]); }
inline void Backend::dilated_convolution(const DilatedConvolution&) { fail(FM_ENGINE, kFeatureNames[kNgramRows]); }

/// For the extent of a block: operations side by side.
class SideBySide {
  public:
    explicit SideBySide(Backend& backend) : backend_(backend) { backend_.begin_side_by_side(); }
    ~SideBySide() { backend_.end_side_by_side(); }
    SideBySide(const SideBySide&) = delete;

  private:
    Backend& backend_;
};

} // namespace flashmoe
