// A pass's tokens on their way through the layers. Each step has its own, so that steps of several sessions may take turns
// between two layers.
#pragma once

#include <vector>

#include "core/model.h"

namespace flashmoe {

class Activations {
  public:
    /// Room for up to `tokens` tokens.
    Activations(Backend& backend, const Model& model, uint32_t tokens);
    Activations(const Activations&) = delete;
    Activations& operator=(const Activations&) = delete;

    /// Bytes that room for a token takes.
    static uint64_t bytes_per_token(const Model& model);
    uint32_t capacity() const { return capacity_; }
    /// Ids and rotations, from row `first` on, of `count` tokens behind `position`.
    void begin(uint32_t first, const int32_t* tokens, uint32_t count, uint32_t position);
    /// The rope tables at the pass's token `first`.
    const RopeTable* ropes_at(uint32_t first);
    /// What layers that share their choice of keys write and read for the pass's tokens from `first` on.
    KeySelection shared_at(uint32_t first) const;
    Span row(Span base, uint32_t index) const { return base + size_t{index} * model_.hidden * sizeof(float); }
    Span residual(uint32_t index) const { return h + size_t{index} * model_.residual() * sizeof(float); }
    Span logits_of_streams(uint32_t index) const { return inject + size_t{index} * model_.streams * sizeof(float); }

    /// i32 [tokens]; f32 [tokens, residual]; f32 [tokens, hidden] each: what a block takes, what it gives.
    Span ids, h, m, y;
    /// f32 [tokens, streams]: by how much streams grow; with several only.
    Span inject;
    /// The n-gram rows of layers that have some, on their way from the disk: all layers of each part of a pass.
    std::vector<std::shared_ptr<RowRead>> rows;

  private:
    const Model& model_;
    const uint32_t capacity_;
    PageMemory memory_;
    WrappedBuffer buffer_;
    /// One a rope of the model, [tokens, dims / 2, 2].
    std::vector<Span> ropes_;
    std::vector<RopeTable> tables_;
    Span shared_positions_, shared_counts_;
};

} // namespace flashmoe
