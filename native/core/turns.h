// Who computes next: one step at a time, in the order they asked. A long step gives way between two layers, so that another
// session's token waits for a layer and not for a prompt.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

namespace flashmoe {

class Turns {
  public:
    void lock() {
        lock_unless([] { return false; });
    }
    /// False, without a turn, once `over` is true: looked at whenever a turn ends.
    template <typename Over> bool lock_unless(const Over& over) {
        std::unique_lock lock(mutex_);
        const uint64_t mine = asked_++;
        waiting_.push_back(mine);
        changed_.wait(lock, [&] { return over() || (!held_ && waiting_.front() == mine); });
        const bool is_over = over();
        waiting_.erase(std::find(waiting_.begin(), waiting_.end(), mine));
        held_ = held_ || !is_over;
        if (is_over) changed_.notify_all();
        return !is_over;
    }
    void unlock() {
        {
            const std::lock_guard lock(mutex_);
            held_ = false;
        }
        changed_.notify_all();
    }
    /// Somebody waits for a turn. Of whoever has it.
    bool wanted() const {
        const std::lock_guard lock(mutex_);
        return !waiting_.empty();
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    /// In order; a few.
    std::vector<uint64_t> waiting_;
    uint64_t asked_ = 0;
    bool held_ = false;
};

} // namespace flashmoe
