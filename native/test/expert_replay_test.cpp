// What a cache of experts gets on a trace with the locality of a real one: 220 decode steps through 48 layers, 10 of 512
// experts each. It was made by a program (a Zipf-like popularity per layer, a share of the last 21 steps' experts kept) whose
// parameters were fitted to figures published of a real trace. LRU has exact figures on it; the pool's own policy is printed
// beside them.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <list>
#include <unordered_map>

#include "backend/cpu/cpu_backend.h"
#include "experts/expert_pool.h"
#include "test/harness.h"

using namespace flashmoe;

namespace {

constexpr uint32_t kSteps = 220, kLayers = 48, kChosen = 10, kExperts = 512;

std::vector<uint16_t> read_trace() {
    std::ifstream file("test/data/decode-220x48x10-of-512.u16", std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(bytes.size(), size_t{kSteps} * kLayers * kChosen * 2);
    std::vector<uint16_t> trace;
    for (size_t i = 0; i < bytes.size(); i += 2) {
        trace.push_back(static_cast<uint16_t>(static_cast<unsigned char>(bytes[i]) | static_cast<unsigned char>(bytes[i + 1]) << 8));
    }
    return trace;
}

/// Share of uses that the `slots` least recently used leave to read.
double replay_lru(const std::vector<uint16_t>& trace, size_t slots) {
    std::list<uint32_t> order;
    std::unordered_map<uint32_t, std::list<uint32_t>::iterator> places;
    size_t hits = 0;
    for (size_t i = 0; i < trace.size(); ++i) {
        const uint32_t name = static_cast<uint32_t>(i / kChosen % kLayers) * kExperts + trace[i];
        const auto found = places.find(name);
        if (found != places.end()) {
            ++hits;
            order.erase(found->second);
        } else if (order.size() == slots) {
            places.erase(order.back());
            order.pop_back();
        }
        order.push_front(name);
        places[name] = order.begin();
    }
    return static_cast<double>(hits) / static_cast<double>(trace.size());
}

/// The same by the pool: a layer's experts are pinned together, as a step has them.
double replay_pool(const std::vector<uint16_t>& trace, uint32_t slots) {
    cpu::CpuBackend backend(1, cpu::scalar_kernels());
    constexpr uint64_t kBytes = 64;
    ExpertPool pool(backend, kLayers, kExperts, kBytes);
    pool.resize(slots * kBytes);
    size_t hits = 0;
    for (size_t at = 0; at < trace.size(); at += kChosen) {
        const auto layer = static_cast<uint32_t>(at / kChosen % kLayers);
        uint32_t held[kChosen];
        for (uint32_t i = 0; i < kChosen; ++i) {
            held[i] = pool.find(layer, trace[at + i]);
            if (held[i] == ExpertPool::kNone) continue;
            ++hits;
            pool.pin(held[i]);
            pool.mark_used(held[i]);
        }
        for (uint32_t i = 0; i < kChosen; ++i) {
            if (held[i] != ExpertPool::kNone) continue;
            held[i] = pool.take(layer, trace[at + i], kBytes);
            pool.set_ready(held[i]);
        }
        for (const uint32_t range : held) pool.let_go(range);
    }
    return static_cast<double>(hits) / static_cast<double>(trace.size());
}

} // namespace

TEST("on a trace like a real one LRU gets its known figures, and the pool no less") {
    const std::vector<uint16_t> trace = read_trace();
    constexpr struct {
        uint32_t slots;
        double lru;
    } kKnown[] = {{960, 0.4718}, {1440, 0.5877}, {2880, 0.7915}};
    for (const auto& known : kKnown) {
        const double lru = replay_lru(trace, known.slots), pool = replay_pool(trace, known.slots);
        std::printf("%u experts kept: LRU hits %.4f, the pool %.4f\n", known.slots, lru, pool);
        EXPECT(std::fabs(lru - known.lru) < 0.00005);
        EXPECT(pool >= lru);
    }
    // What a pool with room for all can't hit is what comes for the first time.
    EXPECT(std::fabs(replay_pool(trace, kLayers * kExperts) - 0.9017) < 0.00005);
}
