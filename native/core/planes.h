// Caches of one conversation that grow with its tokens. Address space is there for the longest context from the start;
// memory, and what a device keeps resident, come in blocks as tokens do, and go when the conversation is cut back.
#pragma once

#include <vector>

#include "blocks/block.h"
#include "core/memory.h"
#include "core/wrapped_buffer.h"

namespace flashmoe {

class Planes {
  public:
    /// Of layers with these shapes. Throws FM_CONTEXT, or as Backend::wrap.
    Planes(Backend& backend, const std::vector<StateShape>& shapes, uint32_t max_tokens);
    Planes(const Planes&) = delete;

    /// Points to this object, which grows in place.
    Span at(size_t layer, size_t plane) const { return buffers_[layer * kMaxPlanes + plane].span(); }
    /// The same bytes for whoever only looks at them: stays as it is while other threads see this grow.
    std::byte* host(size_t layer, size_t plane) const { return memory_.data() + places_[layer * kMaxPlanes + plane].offset; }

    /// Room for so many tokens, and some more. Between steps. Throws FM_CONTEXT where memory has no room, with all as it was.
    void grow(uint32_t tokens);
    /// Keeps room for so many tokens, up to a block more; what lies beyond is given back. Between steps.
    void shrink(uint32_t tokens);
    /// Tokens there is room for, and the bytes of that.
    uint32_t tokens() const { return tokens_; }
    uint64_t bytes() const { return uint64_t{tokens_} * bytes_per_token_; }

  private:
    struct Place {
        size_t offset;
        uint64_t row;
    };
    size_t bytes_of(const Place& place, uint32_t tokens) const;
    void wrap(size_t index, uint32_t tokens);

    Backend& backend_;
    uint32_t max_tokens_, tokens_ = 0;
    uint64_t bytes_per_token_ = 0;
    std::vector<Place> places_;
    PageMemory memory_;
    /// One a layer and plane, empty where there is none.
    std::vector<WrappedBuffer> buffers_;
};

} // namespace flashmoe
