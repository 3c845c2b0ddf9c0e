// Who computes next: one step at a time, in the order they asked. A long step gives way to shorter ones on its way, so that another
// session's token waits for a layer and not for a prompt; a short one doesn't give way to a longer one.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

namespace flashmoe {

class Turns {
  public:
    /// For a step of so many tokens.
    void lock(uint32_t tokens = 0) {
        lock_unless(tokens, [] { return false; });
    }
    /// False, without a turn, once `over` is true: looked at whenever a turn ends.
    template <typename Over> bool lock_unless(uint32_t tokens, const Over& over) {
        std::unique_lock lock(mutex_);
        const uint64_t mine = ++asked_;
        waiting_.push_back({mine, tokens});
        return take(lock, mine, over);
    }
    void unlock() {
        {
            const std::lock_guard lock(mutex_);
            held_ = false;
        }
        changed_.notify_all();
    }
    /// Somebody waits for a step of no more than so many tokens. Of whoever has the turn.
    bool wanted(uint32_t tokens) const {
        const std::lock_guard lock(mutex_);
        return first_up_to(tokens) != waiting_.end();
    }
    /// One such step is made, if one is wanted; then the turn is had again.
    void give_way(uint32_t tokens) {
        std::unique_lock lock(mutex_);
        const auto next = first_up_to(tokens);
        if (next == waiting_.end()) return;
        granted_ = next->ticket;
        const uint64_t mine = ++asked_;
        waiting_.insert(waiting_.begin(), {mine, tokens});
        held_ = false;
        changed_.notify_all();
        take(lock, mine, [] { return false; });
    }

  private:
    struct Waiting {
        uint64_t ticket;
        uint32_t tokens;
    };
    using Iterator = std::vector<Waiting>::const_iterator;

    Iterator first_up_to(uint32_t tokens) const {
        return std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& each) { return each.tokens <= tokens; });
    }
    template <typename Over> bool take(std::unique_lock<std::mutex>& lock, uint64_t mine, const Over& over) {
        const auto next = [&] { return granted_ != 0 ? granted_ : waiting_.front().ticket; };
        changed_.wait(lock, [&] { return over() || (!held_ && next() == mine); });
        const bool is_over = over();
        waiting_.erase(std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& each) { return each.ticket == mine; }));
        if (granted_ == mine) granted_ = 0;
        held_ = held_ || !is_over;
        if (is_over) changed_.notify_all();
        return !is_over;
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    /// In order; a few.
    std::vector<Waiting> waiting_;
    /// Whose step comes next though others asked before; 0: nobody's.
    uint64_t granted_ = 0;
    uint64_t asked_ = 0;
    bool held_ = false;
};

} // namespace flashmoe
