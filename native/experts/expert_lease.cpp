// How a step gets the experts that it asked for.
#include <algorithm>
#include <chrono>

#include "experts/expert_store.h"

namespace flashmoe {

uint32_t ExpertLease::next(bool wait) {
    ExpertStore& store = store_;
    using State = ExpertStore::State;
    std::unique_lock lock(store.mutex_);
    // In order there is one candidate; otherwise the first of those that are there, or any that failed.
    const auto candidate = [&] {
        if (store.in_order_) return store.next_;
        for (uint32_t i = store.next_; i < store.count_; ++i) {
            if (store.items_[i].state == State::ready || store.items_[i].state == State::failed) return i;
        }
        return kNone;
    };
    const auto is_there = [&](uint32_t i) {
        return i != kNone && (store.items_[i].state == State::ready || store.items_[i].state == State::failed);
    };
    if (store.taken_ == store.count_) return kNone;
    uint32_t index = candidate();
    if (!is_there(index)) {
        if (!wait) return kNone;
        const auto start = std::chrono::steady_clock::now();
        store.result_changed_.wait(lock, [&] { return is_there(index = candidate()); });
        ++store.counters_.waits;
        store.counters_.waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    if (store.items_[index].state == State::failed) throw Error(FM_IO, store.failure_);
    store.items_[index].state = State::taken;
    ++store.taken_;
    while (store.next_ < store.count_ && store.items_[store.next_].state == State::taken) ++store.next_;
    return index;
}

Span ExpertLease::at(uint32_t index) const {
    const std::lock_guard lock(store_.mutex_);
    const ExpertLayer& layer = store_.files_.layer(store_.layer_);
    if (layer.mapping != nullptr) return layer.mapping->span(layer.offset(store_.asked_[index]));
    return store_.pool_.at(store_.items_[index].range);
}

bool ExpertLease::reads() const {
    const std::lock_guard lock(store_.mutex_);
    return std::any_of(store_.items_.begin(), store_.items_.begin() + store_.count_, [](const auto& item) {
        return item.state != ExpertStore::State::ready && item.state != ExpertStore::State::taken;
    });
}

bool ExpertLease::is_done() const {
    const std::lock_guard lock(store_.mutex_);
    return store_.taken_ == store_.count_;
}

bool ExpertLease::wants_room() const {
    const std::lock_guard lock(store_.mutex_);
    return store_.issued_ < store_.count_;
}

void ExpertLease::release(uint32_t index) {
    const std::lock_guard lock(store_.mutex_);
    ExpertStore::Item& item = store_.items_[index];
    if (item.was_read) --store_.ahead_;
    if (item.range != ExpertPool::kNone) {
        if (item.was_read && store_.in_order_ && item.keep) store_.pool_.mark_used(item.range);
        if (!item.keep) store_.pool_.let_go_and_drop(item.range);
        else store_.pool_.let_go(item.range);
        item.range = ExpertPool::kNone;
    }
    store_.issue();
}

} // namespace flashmoe
