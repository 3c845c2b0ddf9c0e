// The engine below the C API: instruction sets and thread counts agree, and the token loop allocates nothing.
#include "core/engine.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "backend/cpu/cpu_backend.h"
#include "core/session.h"
#include "test/harness.h"
#include "test/tiny_model.h"

using namespace flashmoe;

namespace {

std::atomic<uint64_t> allocations{0};

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
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

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

TEST("decoding allocates nothing once it is warm") {
    const TinyModel model;
    const EngineOptions options{model.path("."), model.path("."), 2, 2, TinyModel::kVocab, 0, Caching::page_cache};
    Session session(std::make_shared<Engine>(options, std::make_unique<cpu::CpuBackend>(2, cpu::best_kernels())), 256);
    const fm_sampling warm{.temperature = 1, .top_p = 0.9, .top_k = 20, .min_p = 0.01, .allowed = nullptr,
                           .allowed_words = 0, .bias_ids = nullptr, .bias_values = nullptr, .bias_count = 0};
    const auto step = [&] { session.decode(static_cast<int32_t>(session.sample(warm))); };
    session.decode(1);
    for (int i = 0; i < 20; ++i) step();
    const uint64_t before = allocations.load();
    for (int i = 0; i < 100; ++i) step();
    EXPECT_EQ(allocations.load() - before, 0u);
}
