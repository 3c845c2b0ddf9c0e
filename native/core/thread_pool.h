// Persistent threads for the arithmetic. run() hands out indexes one by one, so uneven items balance themselves.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <vector>

#include "core/thread_group.h"

namespace flashmoe {

class ThreadPool {
  public:
    /// `threads` counts the calling thread; at least 1. Throws FM_ENGINE when the system refuses one.
    explicit ThreadPool(uint32_t threads);
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    uint32_t size() const { return threads_.size() + 1; }

    /// Calls task(index, worker) for every index below count, worker < size(); returns when all are done.
    /// Tasks must not throw and must not call run(). One caller at a time.
    template <typename Task> void run(uint32_t count, Task&& task) {
        using Plain = std::remove_reference_t<Task>;
        run_erased(count, [](void* context, uint32_t index, uint32_t worker) {
            (*static_cast<Plain*>(context))(index, worker);
        }, &task);
    }

    /// Splits [0, items) into ranges of at least `least` items and calls task(first, last, worker) for each.
    template <typename Task> void split(uint32_t items, uint32_t least, Task&& task) {
        // Four ranges a thread: enough to balance, few enough not to matter.
        const uint32_t wanted = size() == 1 ? 1 : size() * 4;
        const uint32_t step = std::max((items + wanted - 1) / wanted, least);
        if (items == 0) return;
        run((items + step - 1) / step, [&](uint32_t index, uint32_t worker) {
            const uint32_t first = index * step;
            task(first, std::min(items, first + step), worker);
        });
    }

  private:
    using Erased = void (*)(void*, uint32_t, uint32_t);

    void run_erased(uint32_t count, Erased task, void* context);
    void work(uint32_t worker);
    void stop();
    bool claim_and_do(uint32_t worker);
    void wait_for_tasks();
    void wait_for_work();

    std::mutex mutex_;
    std::condition_variable wake_, idle_;
    /// The number of the run above, how many of its tasks nobody has claimed below: one word, so that a claim can't
    /// mistake one run for another.
    std::atomic<uint64_t> open_{0};
    std::atomic<uint32_t> finished_{0}, sleepers_{0};
    std::atomic<bool> caller_sleeps_{false}, stopping_{false};
    /// Of the run; written while it has no task that could be claimed or is being done.
    uint32_t count_ = 0;
    Erased task_ = nullptr;
    void* context_ = nullptr;
    /// Last: its end comes before that of all it looks at.
    ThreadGroup threads_;
};

} // namespace flashmoe
