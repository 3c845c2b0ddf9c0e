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

uint32_t unclaimed(uint64_t open) {
    return static_cast<uint32_t>(open);
}

} // namespace

ThreadPool::ThreadPool(uint32_t threads)
    : threads_("computing", 1, threads - 1, [this](uint32_t worker) { work(worker); }, [this] { stop(); }) {}

void ThreadPool::stop() {
    stopping_.store(true);
    { const std::lock_guard lock(mutex_); }
    wake_.notify_all();
}

void ThreadPool::run_erased(uint32_t count, Erased task, void* context) {
    if (threads_.size() == 0 || count <= 1) {
        for (uint32_t i = 0; i < count; ++i) task(context, i, 0);
        return;
    }
    count_ = count;
    task_ = task;
    context_ = context;
    finished_.store(0);
    open_.store(((open_.load() >> 32) + 1) << 32 | count);
    // A sleeper counts itself before it looks at open_ for the last time, so one of both sees the other.
    if (sleepers_.load() > 0) {
        { const std::lock_guard lock(mutex_); }
        wake_.notify_all();
    }
    while (claim_and_do(0)) {}
    wait_for_tasks();
}

/// Tasks are waited for, workers aren't: one that is still waking up has nothing to do with this run.
void ThreadPool::wait_for_tasks() {
    const auto done = [this] { return finished_.load() == count_; };
    for (int spin = 0; !done() && spin < kSpins; ++spin) pause_cpu();
    if (done()) return;
    std::unique_lock lock(mutex_);
    caller_sleeps_.store(true);
    idle_.wait(lock, done);
    caller_sleeps_.store(false);
}

/// False when no task of the run is left to claim.
bool ThreadPool::claim_and_do(uint32_t worker) {
    uint64_t open = open_.load();
    do {
        if (unclaimed(open) == 0) return false;
    } while (!open_.compare_exchange_weak(open, open - 1));
    // Until this task is finished the run can't end, and its description stays.
    const uint32_t count = count_;
    task_(context_, count - unclaimed(open), worker);
    if (finished_.fetch_add(1) + 1 == count && caller_sleeps_.load()) {
        { const std::lock_guard lock(mutex_); }
        idle_.notify_one();
    }
    return true;
}

void ThreadPool::wait_for_work() {
    const auto is_work = [this] { return unclaimed(open_.load()) > 0 || stopping_.load(); };
    for (int spin = 0; !is_work() && spin < kSpins; ++spin) pause_cpu();
    if (is_work()) return;
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, is_work);
    sleepers_.fetch_sub(1);
}

void ThreadPool::work(uint32_t worker) {
    while (!stopping_.load()) {
        if (!claim_and_do(worker)) wait_for_work();
    }
}

} // namespace flashmoe
