#include "core/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace flashmoe {
namespace {

// About the length of a small operation: longer would burn a core that others want, shorter would pay a wake-up
// between the operations of one token.
constexpr int kSpins = 2000;

void pause_cpu() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

} // namespace

ThreadPool::ThreadPool(uint32_t threads) {
    for (uint32_t i = 1; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run_erased(uint32_t count, Erased task, void* context) {
    if (threads_.empty() || count <= 1) {
        for (uint32_t i = 0; i < count; ++i) task(context, i, 0);
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        count_ = count;
        task_ = task;
        context_ = context;
        next_.store(0);
        busy_.store(static_cast<uint32_t>(threads_.size()));
        generation_.fetch_add(1);
    }
    wake_.notify_all();
    drain(0);
    for (int spin = 0; busy_.load() != 0 && spin < kSpins; ++spin) pause_cpu();
    if (busy_.load() != 0) {
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return busy_.load() == 0; });
    }
}

void ThreadPool::drain(uint32_t worker) {
    for (uint32_t index = next_.fetch_add(1); index < count_; index = next_.fetch_add(1)) {
        task_(context_, index, worker);
    }
}

void ThreadPool::work(uint32_t worker) {
    uint64_t seen = 0;
    for (;;) {
        for (int spin = 0; generation_.load() == seen && spin < kSpins; ++spin) pause_cpu();
        if (generation_.load() == seen) {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [&] { return generation_.load() != seen; });
        }
        {
            // run() waits for every worker of a generation, so at most one is new.
            const std::lock_guard lock(mutex_);
            seen = generation_.load();
            if (stopping_) return;
        }
        drain(worker);
        if (busy_.fetch_sub(1) == 1) {
            const std::lock_guard lock(mutex_);
            idle_.notify_one();
        }
    }
}

} // namespace flashmoe
