// Who computes next: one step at a time, in the order they asked. A long step gives way between two layers, so that another
// session's token waits for a layer and not for a prompt.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace flashmoe {

class Turns {
  public:
    void lock() {
        std::unique_lock lock(mutex_);
        const uint64_t mine = asked_++;
        changed_.wait(lock, [&] { return serving_ == mine; });
    }
    void unlock() {
        {
            const std::lock_guard lock(mutex_);
            ++serving_;
        }
        changed_.notify_all();
    }
    /// Somebody waits for a turn. Of whoever has it.
    bool wanted() const {
        const std::lock_guard lock(mutex_);
        return asked_ > serving_ + 1;
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    uint64_t asked_ = 0, serving_ = 0;
};

} // namespace flashmoe
