#include "experts/expert_pool.h"

#include <algorithm>

#include "core/error.h"

namespace flashmoe {
namespace {

// Blocks are the steps in which a pool grows and shrinks, and no larger than a device takes in one buffer.
constexpr uint64_t kBlock = 256u << 20;
// Of what is laid out: a layer of most models in one, and its experts within the reach of 32 bits.
constexpr uint64_t kLaidOutBlock = uint64_t{2} << 30;

} // namespace

ExpertPool::ExpertPool(Backend& backend, uint32_t layers, uint32_t experts, uint64_t largest)
    : backend_(backend), experts_(experts), largest_(largest), places_(size_t{layers} * experts_, kNone) {}

uint64_t ExpertPool::at_most(uint64_t bytes) const {
    const uint64_t most = backend_.max_buffer_bytes();
    if (round_up(largest_, kPage) > most) {
        fail(FM_ENGINE, "an expert of ", largest_, " bytes is larger than a buffer of the GPU, at most ", most,
             " bytes; the CPU computes this model (--backend cpu)");
    }
    return std::min(bytes, most);
}

void ExpertPool::resize(uint64_t bytes) {
    // Whole experts: nothing is left over at a block's end where all are of one size. A pool that is smaller than a block
    // is one block.
    const uint64_t whole = std::max<uint64_t>(1, at_most(kBlock) / largest_) * largest_;
    const uint64_t block = std::min(whole, std::max<uint64_t>(1, bytes / largest_) * largest_);
    homes_.clear();
    if (block != block_bytes_) {
        while (!blocks_.empty()) drop_last_block();
        block_bytes_ = block;
    }
    while (bytes_ > std::max(bytes, block)) drop_last_block();
    while (blocks_.empty() || bytes_ + block <= bytes) add_block(block);
}

void ExpertPool::lay_out(const std::function<uint64_t(uint32_t, uint32_t)>& bytes_of) {
    if (is_laid_out()) return;
    const uint64_t most = at_most(kLaidOutBlock);
    while (!blocks_.empty()) drop_last_block();
    // What is there when it is cut back is of the size that resize() asks for.
    block_bytes_ = std::max<uint64_t>(1, at_most(kBlock) / largest_) * largest_;
    std::vector<std::vector<std::pair<size_t, uint64_t>>> blocks(1);
    uint64_t filled = 0;
    for (size_t first = 0; first < places_.size(); first += experts_) {
        const auto layer = static_cast<uint32_t>(first / experts_);
        uint64_t whole = 0;
        for (uint32_t e = 0; e < experts_; ++e) whole += bytes_of(layer, e);
        const bool starts = filled + whole > most && whole <= most;
        for (uint32_t e = 0; e < experts_; ++e) {
            const uint64_t bytes = bytes_of(layer, e);
            if (bytes == 0) continue;
            if (filled != 0 && (filled + bytes > most || (starts && e == 0))) {
                blocks.emplace_back();
                filled = 0;
            }
            blocks.back().push_back({first + e, bytes});
            filled += bytes;
        }
    }
    for (const auto& block : blocks) {
        uint64_t bytes = 0;
        for (const auto& each : block) bytes += each.second;
        add_block(bytes);
    }
    homes_.assign(places_.size(), kNone);
    homed_ = 0;
    for (uint32_t index = 0; index < blocks.size(); ++index) {
        uint32_t range = 0;
        while (!ranges_[range].live || ranges_[range].block != index) ++range;
        uint64_t offset = 0;
        for (const auto& [expert, bytes] : blocks[index]) {
            if (offset != 0) {
                const uint32_t next = new_range();
                insert_after(range, next);
                ranges_[next].block = index;
                range = next;
            }
            ranges_[range].offset = offset;
            ranges_[range].bytes = bytes;
            homes_[expert] = range;
            offset += bytes;
            ++homed_;
        }
    }
}

uint32_t ExpertPool::take(uint32_t layer, uint32_t expert, uint64_t bytes) {
    uint32_t range = is_laid_out() ? homes_[size_t{layer} * experts_ + expert] : take_spare(bytes);
    if (range == kNone) range = take_by_hand(bytes);
    if (range == kNone) return kNone;
    Range& taken = ranges_[range];
    taken.layer = layer;
    taken.expert = expert;
    taken.pins = 1;
    taken.ready = taken.used = taken.spare = false;
    places_[size_t{layer} * experts_ + expert] = range;
    ++count_;
    held_bytes_ += taken.bytes;
    return range;
}

void ExpertPool::let_go(uint32_t range) {
    if (--ranges_[range].pins == 0 && !ranges_[range].ready) drop(range);
}

void ExpertPool::let_go_and_drop(uint32_t range) {
    if (--ranges_[range].pins == 0) drop(range);
}

void ExpertPool::drop(uint32_t range) {
    forget(range);
    if (is_laid_out()) return;
    ranges_[range].spare = true;
    spare_.push_back(range);
}

uint32_t ExpertPool::take_spare(uint64_t bytes) {
    for (size_t i = spare_.size(); i-- > 0;) {
        const uint32_t range = spare_[i];
        if (ranges_[range].bytes < bytes) continue;
        spare_.erase(spare_.begin() + static_cast<long>(i));
        return range;
    }
    return kNone;
}

/// The first run of neighbours that is long enough and holds nothing pinned or used since the hand last came by.
uint32_t ExpertPool::take_by_hand(uint64_t bytes) {
    uint32_t first = kNone;
    uint64_t run = 0;
    // Twice around: the first time may only have cleared marks. And once more for a run across the beginning.
    for (size_t steps = 3 * (ranges_.size() - unused_.size()); steps > 0; --steps, hand_ = ranges_[hand_].next) {
        Range& range = ranges_[hand_];
        if (range.pins > 0 || range.used) {
            range.used = false;
            first = kNone;
            continue;
        }
        const bool goes_on = first != kNone && range.offset != 0;
        if (!goes_on) {
            first = hand_;
            run = 0;
        }
        run += range.bytes;
        if (run < bytes) continue;
        // One range of them all; what is more than needed stays free behind it.
        const uint32_t end = ranges_[hand_].next;
        for (uint32_t each = first;; each = ranges_[each].next) {
            forget(each);
            if (ranges_[each].next == end) break;
        }
        while (ranges_[first].next != end) remove(ranges_[first].next);
        ranges_[first].bytes = run;
        if (run > bytes) {
            const uint32_t rest = new_range();
            insert_after(first, rest);
            ranges_[rest].block = ranges_[first].block;
            ranges_[rest].offset = ranges_[first].offset + bytes;
            ranges_[rest].bytes = run - bytes;
            ranges_[first].bytes = bytes;
        }
        hand_ = ranges_[first].next;
        return first;
    }
    return kNone;
}

void ExpertPool::forget(uint32_t range) {
    Range& gone = ranges_[range];
    if (gone.spare) spare_.erase(std::find(spare_.begin(), spare_.end(), range));
    if (gone.layer != kNone) {
        places_[size_t{gone.layer} * experts_ + gone.expert] = kNone;
        --count_;
        held_bytes_ -= gone.bytes;
    }
    ready_ -= gone.ready ? 1 : 0;
    gone.layer = kNone;
    gone.ready = gone.used = gone.spare = false;
}

uint32_t ExpertPool::new_range() {
    if (unused_.empty()) {
        unused_.push_back(static_cast<uint32_t>(ranges_.size()));
        ranges_.emplace_back();
    }
    const uint32_t range = unused_.back();
    unused_.pop_back();
    ranges_[range] = {};
    ranges_[range].live = true;
    return range;
}

void ExpertPool::insert_after(uint32_t range, uint32_t other) {
    const uint32_t next = ranges_[range].next;
    ranges_[other].previous = range;
    ranges_[other].next = next;
    ranges_[range].next = other;
    ranges_[next].previous = other;
}

void ExpertPool::remove(uint32_t range) {
    Range& gone = ranges_[range];
    ranges_[gone.previous].next = gone.next;
    ranges_[gone.next].previous = gone.previous;
    if (hand_ == range) hand_ = gone.next == range ? kNone : gone.next;
    gone = {};
    unused_.push_back(range);
}

void ExpertPool::add_block(uint64_t bytes) {
    auto block = std::make_unique<Block>();
    block->memory = PageMemory(bytes);
    block->buffer = WrappedBuffer(backend_, block->memory.data(), block->memory.size());
    const uint32_t whole = new_range();
    ranges_[whole].block = static_cast<uint32_t>(blocks_.size());
    ranges_[whole].bytes = bytes;
    bytes_ += bytes;
    if (hand_ == kNone) {
        ranges_[whole].previous = ranges_[whole].next = whole;
    } else {
        // The ring begins at block 0 and ends with the last one.
        uint32_t last = hand_;
        const auto begins = [&](uint32_t range) { return ranges_[range].block == 0 && ranges_[range].offset == 0; };
        while (!begins(ranges_[last].next)) last = ranges_[last].next;
        insert_after(last, whole);
    }
    // What is free comes first.
    hand_ = whole;
    blocks_.push_back(std::move(block));
}

void ExpertPool::drop_last_block() {
    const auto last = static_cast<uint32_t>(blocks_.size() - 1);
    for (uint32_t range = 0; range < ranges_.size(); ++range) {
        if (!ranges_[range].live || ranges_[range].block != last) continue;
        if (ranges_[range].pins > 0) fail(FM_ENGINE, "experts are in use while their memory is given back");
        bytes_ -= ranges_[range].bytes;
        forget(range);
        remove(range);
    }
    blocks_.pop_back();
}

} // namespace flashmoe
