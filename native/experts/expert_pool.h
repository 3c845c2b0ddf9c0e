// Memory that experts stay in: ranges of bytes over all layers, of any size, so that layers and experts of different
// layouts share one budget. A hit costs no read and no copy. Whoever is chosen seldom is evicted, by the second-chance
// rule (CLOCK) along the addresses: the hand passes over what was used since it last came by, and takes what wasn't; what
// stands side by side becomes one range where one expert is larger than another. No threads here: expert_store.h locks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/memory.h"
#include "core/wrapped_buffer.h"

namespace flashmoe {

class ExpertPool {
  public:
    static constexpr uint32_t kNone = UINT32_MAX;

    /// Of so many layers and experts a layer, none larger than `largest` bytes. Empty until resize().
    ExpertPool(Backend& backend, uint32_t layers, uint32_t experts, uint64_t largest);

    /// Room for at least one expert, else as near below `bytes` as whole blocks allow. Nothing may be pinned. Growing keeps
    /// what is there, from one block on; shrinking drops what lies in the blocks that go. Throws as Backend::wrap, with what
    /// fitted kept.
    void resize(uint64_t bytes);
    /// Room for every expert, each at a place of its own from now on: layer after layer, a layer in as few blocks as may be, so
    /// that a device finds an expert by its number. `bytes_of` is 0 for what no layer has. Nothing may be pinned. What was here is
    /// dropped, unless it is laid out already. Throws as Backend::wrap; it is not laid out then.
    void lay_out(const std::function<uint64_t(uint32_t layer, uint32_t expert)>& bytes_of);
    bool is_laid_out() const { return !homes_.empty(); }
    /// It is laid out and every expert's bytes are there: nothing will be read or moved until the next resize().
    bool is_whole() const { return is_laid_out() && ready_ == homed_; }

    /// Where the expert's bytes are or will be; kNone: not here.
    uint32_t find(uint32_t layer, uint32_t expert) const { return places_[size_t{layer} * experts_ + expert]; }
    /// A range for an expert that isn't here, pinned, not ready; kNone: what is left is pinned.
    uint32_t take(uint32_t layer, uint32_t expert, uint64_t bytes);
    /// What is pinned keeps its place.
    void pin(uint32_t range) { ++ranges_[range].pins; }
    /// Takes a pin back. What nobody pins any more and was never ready is forgotten.
    void let_go(uint32_t range);
    /// The same, and forgets it once nobody pins it: its range is the next to be taken.
    void let_go_and_drop(uint32_t range);
    /// Its bytes are there.
    void set_ready(uint32_t range) {
        ready_ += ranges_[range].ready ? 0 : 1;
        ranges_[range].ready = true;
    }
    bool is_ready(uint32_t range) const { return ranges_[range].ready; }
    /// It was chosen: the hand passes over it once.
    void mark_used(uint32_t range) { ranges_[range].used = true; }

    Span at(uint32_t range) const { return blocks_[ranges_[range].block]->buffer.span(ranges_[range].offset); }
    std::byte* data(uint32_t range) const { return blocks_[ranges_[range].block]->memory.data() + ranges_[range].offset; }
    uint64_t bytes() const { return bytes_; }
    /// Experts that are here, and what they leave.
    uint32_t count() const { return count_; }
    uint64_t free_bytes() const { return bytes() - held_bytes_; }
    /// Calls visit(layer, expert) for each that is ready.
    template <typename Visit> void for_each(Visit&& visit) const {
        for (const Range& range : ranges_) {
            if (range.live && range.layer != kNone && range.ready) visit(range.layer, range.expert);
        }
    }

  private:
    struct Block {
        PageMemory memory;
        WrappedBuffer buffer;
    };
    /// A ring in the order of addresses, through all blocks.
    struct Range {
        uint64_t offset = 0, bytes = 0;
        uint32_t block = 0, layer = kNone, expert = 0, pins = 0;
        uint32_t previous = kNone, next = kNone;
        bool ready = false, used = false, spare = false, live = false;
    };

    /// Of one block, at least an expert. Throws FM_ENGINE where the device takes no buffer as large as that.
    uint64_t at_most(uint64_t bytes) const;
    uint32_t new_range();
    void insert_after(uint32_t range, uint32_t other);
    void remove(uint32_t range);
    void forget(uint32_t range);
    void drop(uint32_t range);
    uint32_t take_spare(uint64_t bytes);
    uint32_t take_by_hand(uint64_t bytes);
    void add_block(uint64_t bytes);
    void drop_last_block();

    Backend& backend_;
    const uint32_t experts_;
    const uint64_t largest_;
    uint64_t block_bytes_ = 0, bytes_ = 0;
    std::vector<uint32_t> places_;
    /// Where each expert belongs; empty unless laid out.
    std::vector<uint32_t> homes_;
    std::vector<std::unique_ptr<Block>> blocks_;
    std::vector<Range> ranges_;
    /// Ranges not in use; ranges that were dropped.
    std::vector<uint32_t> unused_, spare_;
    uint32_t hand_ = kNone, count_ = 0, ready_ = 0, homed_ = 0;
    uint64_t held_bytes_ = 0;
};

} // namespace flashmoe
