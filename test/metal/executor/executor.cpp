#include "executor/executor.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>

#include "executor/fiber.h"

#ifdef FM_LINKED_TSAN
extern "C" void __tsan_acquire(void *address);
extern "C" void __tsan_release(void *address);
#else
static void __tsan_acquire(void *) {}
static void __tsan_release(void *) {}
#endif

namespace fm_msl {
namespace {

enum class Wait { runnable, exchange, simd_barrier, barrier, finished };

const char *word(Wait wait) {
    switch (wait) {
    case Wait::runnable: return "running";
    case Wait::exchange: return "simd operation";
    case Wait::simd_barrier: return "simdgroup_barrier";
    case Wait::barrier: return "threadgroup_barrier";
    case Wait::finished: return "returned";
    }
    return "";
}

struct Lane {
    Wait wait = Wait::runnable;
    int line = 0;
    Size3 position;
    uint32_t exchanges = 0; // parity chooses one of two buffers
};

struct SimdGroup {
    Exchange values[2][SIMD_WIDTH];
    char sync[2]; // alternate, so that a late lane can't acquire what an early one released at the next barrier
    uint32_t barriers = 0;
};

struct FreeBlock {
    void operator()(void *block) const { free(block); }
};
using Block = std::unique_ptr<void, FreeBlock>;

Block poisoned(size_t bytes) {
    void *block = nullptr;
    // Exactly as large as declared, so that a sanitizer sees the first byte past the end.
    if (posix_memalign(&block, 16, std::max<size_t>(bytes, 1)) != 0) abort();
    memset(block, 0xff, bytes);
    return Block(block);
}

struct Worker {
    const Launch *launch = nullptr;
    Entry entry = nullptr;
    Size3 group;
    uint32_t count = 0;
    uint32_t current = 0;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Lane> lanes;
    std::vector<std::unique_ptr<SimdGroup>> simdgroups;
    std::map<int, std::pair<Block, size_t>> statics;
    std::map<int, Block> dynamics;
    size_t threadgroup_bytes = 0;
    char sync[2] = {};
    uint32_t barriers = 0;
    char *started = nullptr, *ended = nullptr;
    char prepared = 0, finished = 0;
    std::string error;

    std::string run_group(Size3 position, Schedule schedule, std::mt19937_64 &random);
    std::pair<uint32_t, uint32_t> release(Schedule schedule, std::mt19937_64 &random);
    std::string divergence() const;
};

thread_local Worker *worker = nullptr;

void park(Wait wait, int line) {
    Worker &w = *worker;
    Lane &lane = w.lanes[w.current];
    lane.wait = wait;
    lane.line = line;
    w.fibers[w.current]->yield();
}

void body(void *) {
    for (;;) {
        Worker &w = *worker;
        __tsan_acquire(w.started);
        __tsan_acquire(&w.prepared);
        w.entry(*w.launch);
        __tsan_release(&w.finished);
        __tsan_release(w.ended);
        park(Wait::finished, 0);
    }
}

std::string place(const Worker &w, uint32_t thread) {
    const Lane &lane = w.lanes[thread];
    std::string text = "thread " + std::to_string(thread) + ": " + word(lane.wait);
    if (lane.wait != Wait::finished) text += " at line " + std::to_string(lane.line);
    return text;
}

std::string Worker::divergence() const {
    uint32_t waiting = 0;
    while (waiting < count && lanes[waiting].wait == Wait::finished) waiting++;
    for (uint32_t other = 0; other < count; other++) {
        if (lanes[other].wait != lanes[waiting].wait || lanes[other].line != lanes[waiting].line) {
            return "barrier divergence: " + place(*this, waiting) + ", " + place(*this, other);
        }
    }
    return "barrier divergence: " + place(*this, waiting);
}

// Lets one simdgroup go on whose lanes have all come to the same place, or all threads when they wait at one barrier.
// One at a time, so that a simdgroup runs as far as it may before another begins: what no barrier holds back shows.
// Returns the threads that go on; an empty range when nobody can.
std::pair<uint32_t, uint32_t> Worker::release(Schedule schedule, std::mt19937_64 &random) {
    std::vector<uint32_t> ready;
    for (uint32_t first = 0; first < count; first += SIMD_WIDTH) {
        const Lane &lead = lanes[first];
        if (lead.wait != Wait::exchange && lead.wait != Wait::simd_barrier) continue;
        const bool together = std::all_of(lanes.begin() + first, lanes.begin() + first + SIMD_WIDTH,
                                          [&](const Lane &l) { return l.wait == lead.wait && l.line == lead.line; });
        if (together) ready.push_back(first);
    }
    if (!ready.empty()) {
        const uint32_t first = schedule == Schedule::forward ? ready.front() : schedule == Schedule::reverse ? ready.back() : ready[random() % ready.size()];
        if (lanes[first].wait == Wait::simd_barrier) simdgroups[first / SIMD_WIDTH]->barriers++;
        for (uint32_t i = first; i < first + SIMD_WIDTH; i++) lanes[i].wait = Wait::runnable;
        return {first, first + SIMD_WIDTH};
    }
    if (lanes[0].wait != Wait::barrier) return {0, 0};
    for (const Lane &lane : lanes) {
        if (lane.wait != Wait::barrier || lane.line != lanes[0].line) return {0, 0};
    }
    barriers++;
    for (Lane &lane : lanes) lane.wait = Wait::runnable;
    return {0, count};
}

std::string Worker::run_group(Size3 position, Schedule schedule, std::mt19937_64 &random) {
    group = position;
    error.clear();
    statics.clear();
    dynamics.clear();
    threadgroup_bytes = 0;
    for (int i = 0; i < MAX_BUFFERS; i++) {
        if (launch->threadgroup_bytes[i] > 0) {
            dynamics[i] = poisoned(launch->threadgroup_bytes[i]);
            threadgroup_bytes += launch->threadgroup_bytes[i];
        }
    }
    lanes.assign(count, Lane{});
    while (fibers.size() < count) fibers.push_back(std::make_unique<Fiber>());
    while (simdgroups.size() * SIMD_WIDTH < count) simdgroups.push_back(std::make_unique<SimdGroup>());
    for (uint32_t i = 0; i < count; i++) {
        lanes[i].position = {i % launch->threads.x, i / launch->threads.x % launch->threads.y,
                             i / launch->threads.x / launch->threads.y};
        fibers[i]->start(body, nullptr);
    }
    __tsan_release(&prepared);
    std::vector<uint32_t> order;
    for (std::pair<uint32_t, uint32_t> range{0, count};;) {
        order.resize(range.second - range.first);
        std::iota(order.begin(), order.end(), range.first);
        if (schedule == Schedule::reverse) std::reverse(order.begin(), order.end());
        if (schedule == Schedule::random) std::shuffle(order.begin(), order.end(), random);
        for (uint32_t i : order) {
            current = i;
            fibers[i]->resume();
        }
        if (!error.empty()) return error;
        if (std::all_of(lanes.begin(), lanes.end(), [](const Lane &l) { return l.wait == Wait::finished; })) {
            __tsan_acquire(&finished);
            return "";
        }
        range = release(schedule, random);
        if (range.first == range.second) return divergence();
    }
}

// Workers wait here between dispatches: making their fibers anew costs more than running them.
std::mutex idle_mutex;
std::vector<std::unique_ptr<Worker>> &idle_workers() {
    static std::vector<std::unique_ptr<Worker>> workers;
    return workers;
}

std::unique_ptr<Worker> borrow_worker() {
    const std::lock_guard lock(idle_mutex);
    if (idle_workers().empty()) return std::make_unique<Worker>();
    auto lent = std::move(idle_workers().back());
    idle_workers().pop_back();
    return lent;
}

void give_back(std::unique_ptr<Worker> lent) {
    const std::lock_guard lock(idle_mutex);
    idle_workers().push_back(std::move(lent));
}

std::map<std::string, Kernel> &table() {
    static std::map<std::string, Kernel> kernels;
    return kernels;
}

} // namespace

Registration::Registration(Kernel kernel) {
    const std::string name = kernel.name;
    if (!table().emplace(name, std::move(kernel)).second) abort(); // two kernels of one name
}

const Kernel *find_kernel(const std::string &name) {
    auto found = table().find(name);
    return found == table().end() ? nullptr : &found->second;
}

std::vector<std::string> kernel_names() {
    std::vector<std::string> names;
    for (const auto &[name, kernel] : table()) names.push_back(name);
    return names;
}

std::string run(const Launch &launch, Entry entry, Schedule schedule, int os_threads, uint64_t seed) {
    uint64_t groups = uint64_t(launch.threadgroups.x) * launch.threadgroups.y * launch.threadgroups.z;
    uint32_t count = launch.threads.x * launch.threads.y * launch.threads.z;
    if (count == 0 || count > 1024 || count % SIMD_WIDTH != 0) {
        return "threads per threadgroup must be a multiple of 32 and at most 1024, not " + std::to_string(count);
    }
    std::atomic<uint64_t> next{0};
    std::mutex mutex;
    std::string first_error;
    char started = 0, ended = 0;
    __tsan_release(&started);
    auto work = [&](int id) {
        std::unique_ptr<Worker> lent = borrow_worker();
        Worker &own = *lent;
        own.launch = &launch;
        own.entry = entry;
        own.count = count;
        own.started = &started;
        own.ended = &ended;
        worker = &own;
        std::mt19937_64 random(seed + uint64_t(id));
        for (uint64_t at = next++; at < groups; at = next++) {
            uint64_t index = schedule == Schedule::reverse ? groups - 1 - at : at;
            Size3 position = {uint32_t(index % launch.threadgroups.x),
                              uint32_t(index / launch.threadgroups.x % launch.threadgroups.y),
                              uint32_t(index / launch.threadgroups.x / launch.threadgroups.y)};
            std::string error = own.run_group(position, schedule, random);
            if (error.empty()) continue;
            std::lock_guard lock(mutex);
            if (first_error.empty()) first_error = error;
            next = groups;
        }
        worker = nullptr;
        give_back(std::move(lent));
    };
    std::vector<std::thread> pool;
    for (int id = 1; id < os_threads; id++) pool.emplace_back(work, id);
    work(0);
    for (auto &thread : pool) thread.join();
    __tsan_acquire(&ended);
    return first_error;
}

Size3 threadgroup_position() { return worker->group; }
Size3 threadgroups_per_grid() { return worker->launch->threadgroups; }
Size3 thread_position() { return worker->lanes[worker->current].position; }
Size3 threads_per_threadgroup() { return worker->launch->threads; }
uint32_t thread_index() { return worker->current; }
uint32_t thread_count() { return worker->count; }

void *static_threadgroup(int id, size_t bytes) {
    Worker &w = *worker;
    auto &[block, size] = w.statics[id];
    if (block == nullptr) {
        block = poisoned(bytes);
        size = bytes;
        w.threadgroup_bytes += (bytes + 15) / 16 * 16;
        if (w.threadgroup_bytes > THREADGROUP_MEMORY) {
            w.error = "threadgroup memory over 32 KiB: " + std::to_string(w.threadgroup_bytes) + " bytes";
        }
        __tsan_release(block.get());
    } else {
        __tsan_acquire(block.get());
    }
    return block.get();
}

void *dynamic_threadgroup(int index) {
    auto found = worker->dynamics.find(index);
    return found == worker->dynamics.end() ? nullptr : found->second.get();
}

static const char *mutant_file = nullptr;
static int mutant_line = 0;

void leave_out_barrier(const char *file, int line) {
    mutant_file = file;
    mutant_line = line;
}

static bool is_left_out(int line, const char *file) { return line == mutant_line && strcmp(file, mutant_file) == 0; }

void barrier(int line, const char *file) {
    if (is_left_out(line, file)) return;
    Worker &w = *worker;
    char *sync = &w.sync[w.barriers % 2];
    __tsan_release(sync);
    park(Wait::barrier, line);
    __tsan_acquire(sync);
}

void simd_barrier(int line, const char *file) {
    if (is_left_out(line, file)) return;
    Worker &w = *worker;
    SimdGroup &group = *w.simdgroups[w.current / SIMD_WIDTH];
    char *sync = &group.sync[group.barriers % 2];
    __tsan_release(sync);
    park(Wait::simd_barrier, line);
    __tsan_acquire(sync);
}

Exchange simd_exchange(Exchange value, uint32_t lane, int line) {
    Worker &w = *worker;
    SimdGroup &group = *w.simdgroups[w.current / SIMD_WIDTH];
    uint32_t parity = w.lanes[w.current].exchanges++ % 2;
    group.values[parity][w.current % SIMD_WIDTH] = value;
    park(Wait::exchange, line);
    return group.values[parity][lane % SIMD_WIDTH];
}

const Exchange *simd_all(Exchange value, int line) {
    const SimdGroup &group = *worker->simdgroups[worker->current / SIMD_WIDTH];
    const uint32_t parity = worker->lanes[worker->current].exchanges % 2;
    simd_exchange(value, 0, line);
    return group.values[parity];
}

void kernel_misuse(const char *what) {
    fprintf(stderr, "kernel: %s\n", what);
    abort();
}

} // namespace fm_msl
