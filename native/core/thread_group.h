// Threads that end with their owner, also where the system gives only some of them: a thread that is neither joined nor
// let go when its handle goes ends the process.
#pragma once

#include <cstdint>
#include <functional>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/thread_class.h"

namespace flashmoe {

class ThreadGroup {
  public:
    /// Starts work(first), work(first + 1), ... as threads whose work an answer waits for. `stop` makes all of them return; it is called before they are waited for.
    /// Throws FM_ENGINE, with none left running, when the system refuses one.
    template <typename Work>
    ThreadGroup(const char* purpose, uint32_t first, uint32_t count, const Work& work, std::function<void()> stop)
        : stop_(std::move(stop)) {
        threads_.reserve(count);
        try {
            for (uint32_t i = first; i < first + count; ++i) {
                threads_.emplace_back([work, i] {
                    make_user_initiated();
                    work(i);
                });
            }
        } catch (const std::system_error& error) {
            const size_t given = threads_.size();
            end();
            fail(FM_ENGINE, "the system gives ", given, " of ", count, " threads for ", purpose, ": ", error.what(),
                 "; end other programs, or ask for fewer threads");
        }
    }
    ~ThreadGroup() { end(); }
    ThreadGroup(const ThreadGroup&) = delete;
    ThreadGroup& operator=(const ThreadGroup&) = delete;

    uint32_t size() const { return static_cast<uint32_t>(threads_.size()); }

  private:
    void end() {
        if (threads_.empty()) return;
        stop_();
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

    std::function<void()> stop_;
    std::vector<std::thread> threads_;
};

} // namespace flashmoe
