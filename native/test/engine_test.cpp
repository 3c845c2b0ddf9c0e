// The engine below the C API: instruction sets and thread counts agree, and the token loop allocates nothing.
#include "core/engine.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <unistd.h>

#include "backend/cpu/cpu_backend.h"
#include "core/session.h"
#include "test/harness.h"
#include "test/tiny_model.h"

using namespace flashmoe;

namespace {

std::atomic<uint64_t> allocations{0};
/// Allocated and not yet freed, by the whole process.
std::atomic<int64_t> held{0};

constexpr fm_sampling kWarm{.temperature = 1, .top_p = 0.9, .top_k = 20, .min_p = 0.01, .allowed = nullptr,
                            .allowed_words = 0, .bias_ids = nullptr, .bias_values = nullptr, .bias_count = 0};

std::shared_ptr<Engine> open_best(const TinyModel& model) {
    const EngineOptions options{model.path("."), model.path("."), 2, 2, TinyModel::kVocab, 0, Caching::page_cache};
    return std::make_shared<Engine>(options, std::make_unique<cpu::CpuBackend>(2, cpu::best_kernels()));
}

/// Of this process in memory; 0 where the system doesn't tell.
uint64_t resident_bytes() {
    unsigned long long all = 0, resident = 0;
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    if (file == nullptr) return 0;
    const int read = std::fscanf(file, "%llu %llu", &all, &resident);
    std::fclose(file);
    return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

std::vector<float> logits_of(const TinyModel& model, const cpu::Kernels& kernels, uint32_t threads) {
    const EngineOptions options{model.path("."), model.path("."), threads, threads, TinyModel::kVocab, 0, Caching::page_cache};
    Session session(std::make_shared<Engine>(options, std::make_unique<cpu::CpuBackend>(threads, kernels)), 1024);
    const std::vector<int32_t> tokens = some_tokens(600);
    session.prefill(tokens.data(), tokens.size(), {});
    session.decode(7);
    return session.logits();
}

} // namespace

// Counts what the whole process allocates; the tests compare differences. Not inlined: GCC would see malloc's result
// go to delete and warn.
__attribute__((noinline)) void* operator new(size_t size) {
    allocations.fetch_add(1, std::memory_order_relaxed);
    held.fetch_add(1, std::memory_order_relaxed);
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept {
    if (memory != nullptr) held.fetch_sub(1, std::memory_order_relaxed);
    std::free(memory);
}
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

TEST("every instruction set gives the scalar path's logits, any number of threads the same bits") {
    const TinyModel model;
    const std::vector<float> truth = logits_of(model, cpu::scalar_kernels(), 1);
    float low = INFINITY, high = -INFINITY;
    for (const float value : truth) low = std::min(low, value), high = std::max(high, value);
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
        const std::vector<float> alone = logits_of(model, *kernels, 1);
        float most = 0;
        for (size_t i = 0; i < truth.size(); ++i) most = std::max(most, std::fabs(alone[i] - truth[i]));
        std::printf("%-8s logits differ from scalar by %.1e of their spread\n", kernels->isa, most / (high - low));
        EXPECT(most / (high - low) < 1e-3f);
        EXPECT(logits_of(model, *kernels, 2) == alone);
        EXPECT(logits_of(model, *kernels, 5) == alone);
    }
}

TEST("six thousand tokens decode in memory that grows by one conversation's cache alone, and the later ones allocate nothing") {
    const TinyModel model;
    constexpr uint32_t kContext = 2048;
    Session session(open_best(model), kContext);
    const auto step = [&] { session.decode(static_cast<int32_t>(session.sample(kWarm))); };
    session.decode(1);
    for (int i = 0; i < 20; ++i) step();
    const uint64_t resident = resident_bytes();
    for (int conversation = 0; conversation < 3; ++conversation) {
        session.reset();
        session.decode(1);
        const uint64_t before = allocations.load();
        while (session.length() < kContext) step();
        // Attention's working memory doubles a few times on the way to the longest context so far.
        EXPECT(allocations.load() - before <= (conversation == 0 ? 16u : 0u));
    }
    const uint64_t cache = session.engine().info().kv_bytes_per_token * kContext;
    const uint64_t now = resident_bytes(), grown = now - std::min(resident, now);
    std::printf("3 x %u tokens: %.2f MB more in memory, a cache is %.2f MB\n", kContext, static_cast<double>(grown) / 1e6,
                static_cast<double>(cache) / 1e6);
    // The cache's pages are touched as tokens come, and the last of each layer's is not full.
    EXPECT(grown <= cache + (1u << 20));
}

TEST("conversations that come and go leave nothing behind") {
    const TinyModel model;
    const std::shared_ptr<Engine> engine = open_best(model);
    const std::vector<int32_t> tokens = some_tokens(60);
    const auto converse = [&](uint32_t rounds) {
        for (uint32_t i = 0; i < rounds; ++i) {
            Session session(engine, 128);
            session.mark_at({20, 40});
            session.prefill(tokens.data(), tokens.size(), {});
            session.rewind(40);
            const std::unique_ptr<Session> other = session.fork();
            for (Session* each : {&session, other.get()}) {
                each->prefill(tokens.data(), 10, {});
                for (int step = 0; step < 5; ++step) each->decode(static_cast<int32_t>(each->sample(kWarm)));
            }
        }
    };
    converse(10);
    const int64_t before = held.load();
    const uint64_t resident = resident_bytes();
    converse(200);
    EXPECT_EQ(held.load() - before, 0);
    const uint64_t now = resident_bytes(), grown = now - std::min(resident, now);
    std::printf("200 conversations: %.1f MB more in memory\n", static_cast<double>(grown) / 1e6);
    EXPECT(grown <= 2u << 20);
}
