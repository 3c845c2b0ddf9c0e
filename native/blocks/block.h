// A block of a layer: knows its tensors, its state and its operations, and appends them to a backend.
// It has never heard of a model; everything comes from the spec.
#pragma once

#include <array>
#include <memory>
#include <numeric>

#include "backend/backend.h"
#include "core/spec.h"
#include "core/weights.h"

namespace flashmoe {

constexpr size_t kMaxPlanes = 5;

/// What a mixer keeps of a conversation: planes [max_tokens, bytes] that grow with it and can be cut back to any
/// length, and fixed bytes that can't.
struct StateShape {
    /// Bytes a token; 0 = no such plane.
    std::array<uint64_t, kMaxPlanes> plane_bytes{};
    uint64_t fixed_bytes = 0;

    uint64_t bytes_per_token() const { return std::accumulate(plane_bytes.begin(), plane_bytes.end(), uint64_t{0}); }
};

/// How a model is bound, beside what its spec says.
struct ModelOptions {
    /// 0 = as the spec says.
    uint32_t experts_per_token = 0;
    /// Attention keeps its keys and values in f32.
    bool exact_caches = false;
};

/// Where a session keeps one layer's state.
struct LayerState {
    std::array<Span, kMaxPlanes> planes;
    Span fixed;
};

/// Up to kMaxBatchTokens consecutive tokens.
struct Batch {
    Backend& backend;
    uint32_t position, tokens;
    /// One table for each of Model::ropes, at this batch's first token.
    const RopeTable* ropes;
    /// At least scratch_floats() * tokens floats.
    Span scratch;
    /// Where keys are shared between layers: room for what one of them chooses, and what it chose.
    KeySelection shared{};
};

/// Parts begin on whole cache lines, as wide loads and GPUs want it.
constexpr size_t kScratchAlign = 16;
/// Most parts a block takes: what a batch's scratch has to spare for alignment.
constexpr size_t kScratchParts = 12;

/// Hands out consecutive parts of a batch's scratch.
class ScratchCursor {
  public:
    explicit ScratchCursor(Span span) : span_(span) {}
    Span take(size_t floats) {
        const Span part = span_;
        span_ = span_ + (floats + kScratchAlign - 1) / kScratchAlign * kScratchAlign * sizeof(float);
        return part;
    }

  private:
    Span span_;
};

class Mixer {
  public:
    virtual ~Mixer() = default;
    /// That it needs of a backend beyond its matrices, one bit each.
    virtual uint32_t features() const { return 0; }
    virtual StateShape state_shape() const = 0;
    /// Floats a token.
    virtual size_t scratch_floats() const = 0;
    /// y = mixer(x), both [tokens, hidden]; advances the state.
    virtual void append(const Batch& batch, Span x, Span y, const LayerState& state) const = 0;
};

/// Collects the distinct rotary embeddings of a model, so that each is tabulated once a step.
class RopeRegistry {
  public:
    uint32_t add(const RopeSpec& rope);
    const std::vector<RopeSpec>& all() const { return ropes_; }

  private:
    std::vector<RopeSpec> ropes_;
};

std::unique_ptr<Mixer> make_mixer(const MixerSpec& spec, uint32_t hidden, float norm_eps, const ModelOptions& options,
                                  DenseWeights& weights, RopeRegistry& ropes);

} // namespace flashmoe
