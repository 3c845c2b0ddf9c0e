// A device that fails in the middle of a step: what was under way then must not show in the next one.
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>

#include "backend/cpu/cpu_backend.h"
#include "core/session.h"
#include "test/harness.h"
#include "test/tiny_model.h"

using namespace flashmoe;

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <sys/syscall.h>

static std::atomic<bool> reads_are_slow{false};

/// The system's, slow when asked to be: every second read takes up to two milliseconds, as a disk's may.
extern "C" ssize_t pread(int descriptor, void* target, size_t bytes, off_t offset) {
    static std::atomic<uint32_t> reads{0};
    const uint32_t number = reads.fetch_add(1);
    if (reads_are_slow.load() && number % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200 + number * 7919 % 1500));
    return syscall(SYS_pread64, descriptor, target, bytes, offset);
}
extern "C" ssize_t pread64(int descriptor, void* target, size_t bytes, off_t offset) { return pread(descriptor, target, bytes, offset); }
#else
static std::atomic<bool> reads_are_slow{false};
#endif

namespace {

/// Computes as the CPU does; fails when told to. Counts what is wrapped.
class FailingDevice final : public Backend {
  public:
    /// The next experts() fails, and the wait after it as well, as a device's queue does once a command has failed.
    bool fails_at_experts = false;
    /// The n-th wrap from now on fails; 0: none.
    uint32_t fails_at_wrap = 0;
    /// Of one buffer.
    uint64_t max_buffer = UINT64_MAX;
    int wrapped = 0;
    uint64_t wrapped_bytes = 0;

    const char* name() const override { return "failing"; }
    uint32_t features() const override { return inner_.features(); }
    const char* isa() const override { return inner_.isa(); }
    uint64_t max_buffer_bytes() const override { return max_buffer; }
    Buffer wrap(void* host, size_t bytes) override {
        if (fails_at_wrap != 0 && --fails_at_wrap == 0) fail(FM_ENGINE, "device: refuses a buffer");
        ++wrapped;
        wrapped_bytes += bytes;
        return inner_.wrap(host, bytes);
    }
    void unwrap(Buffer& buffer) override {
        if (buffer.host != nullptr) {
            --wrapped;
            wrapped_bytes -= buffer.bytes;
        }
        inner_.unwrap(buffer);
    }
    void embed(const Matrix& table, Span ids, Span y, uint32_t tokens) override { inner_.embed(table, ids, y, tokens); }
    void rms_norm(Span x, Span weight, Span y, uint32_t width, float eps, uint32_t tokens) override {
        inner_.rms_norm(x, weight, y, width, eps, tokens);
    }
    void linear(const Matrix& matrix, Span x, Span y, uint32_t tokens) override { inner_.linear(matrix, x, y, tokens); }
    void add(Span y, Span x, size_t count) override { inner_.add(y, x, count); }
    void add_gated(Span y, Span x, Span gate, uint32_t width, uint32_t tokens) override { inner_.add_gated(y, x, gate, width, tokens); }
    void swiglu(Span gate, Span up, Span y, size_t count) override { inner_.swiglu(gate, up, y, count); }
    void gqa_append(const GqaAppend& op) override { inner_.gqa_append(op); }
    void gqa_attend(const GqaAttend& op) override { inner_.gqa_attend(op); }
    void delta_net(const DeltaNet& op) override { inner_.delta_net(op); }
    void mla_append(const MlaAppend& op) override { inner_.mla_append(op); }
    void mla_attend(const MlaAttend& op) override { inner_.mla_attend(op); }
    void route(const Router& op) override { inner_.route(op); }
    void experts(const ExpertBatch& op) override {
        if (fails_at_experts) {
            fails_at_experts = false;
            wait_fails_ = true;
            fail(FM_ENGINE, "device: gives no command buffer");
        }
        inner_.experts(op);
    }
    void add_experts(const ExpertSum& op) override { inner_.add_experts(op); }
    void wait() override {
        if (wait_fails_) {
            wait_fails_ = false;
            fail(FM_ENGINE, "device: ignored for causing prior errors");
        }
    }
    void trim() override { inner_.trim(); }

  private:
    cpu::CpuBackend inner_{1, cpu::best_kernels()};
    bool wait_fails_ = false;
};

EngineOptions options_of(const TinyModel& model) {
    return {.model_dir = model.path("."),
            .experts_dir = model.path("."),
            .threads = 1,
            .io_threads = 8,
            .token_limit = TinyModel::kVocab,
            .experts_per_token = 0,
            .expert_caching = Caching::page_cache};
}

} // namespace

TEST("a device that fails while experts are read leaves nothing in the next request's slots") {
    const TinyModel model;
    auto owned = std::make_unique<FailingDevice>();
    FailingDevice& device = *owned;
    const auto engine = std::make_shared<Engine>(options_of(model), std::move(owned));
    const std::vector<int32_t> first{5}, second{61};
    Session reference(engine, 64);
    reference.prefill(second.data(), second.size(), {});
    const std::vector<float> right = reference.logits();
    // So that a read which outlives its step lands in the middle of the next.
    reads_are_slow = true;
    uint32_t wrong = 0;
    for (int round = 0; round < 100; ++round) {
        Session session(engine, 64);
        device.fails_at_experts = true;
        EXPECT_THROWS(session.prefill(first.data(), first.size(), {}), "device: ");
        session.prefill(second.data(), second.size(), {});
        if (session.logits() != right) ++wrong;
    }
    reads_are_slow = false;
    EXPECT_EQ(wrong, 0u);
}

TEST("a device that refuses a buffer keeps none of those before it") {
    const TinyModel model;
    auto owned = std::make_unique<FailingDevice>();
    FailingDevice& device = *owned;
    const auto engine = std::make_shared<Engine>(options_of(model), std::move(owned));
    const int before = device.wrapped;
    uint32_t buffers = 0;
    {
        const Session session(engine, 64);
        buffers = static_cast<uint32_t>(device.wrapped - before);
    }
    EXPECT(buffers >= 2);
    for (uint32_t nth = 1; nth <= buffers; ++nth) {
        device.fails_at_wrap = nth;
        EXPECT_THROWS(Session(engine, 64), "refuses a buffer");
        EXPECT_EQ(device.wrapped, before);
    }
}

TEST("a context, or an expert, that no buffer of the device holds is refused by name before any work") {
    const TinyModel model;
    auto owned = std::make_unique<FailingDevice>();
    FailingDevice& device = *owned;
    const auto engine = std::make_shared<Engine>(options_of(model), std::move(owned));
    const int before = device.wrapped;
    device.max_buffer = kPage;
    EXPECT_THROWS(Session(engine, 2048), "a context of 2048 tokens needs ");
    EXPECT_THROWS(Session(engine, 2048), "the GPU takes buffers of at most 16384: enough for ");
    EXPECT_EQ(device.wrapped, before);
    { const Session short_one(engine, 8); }
    // All experts are in memory already; fewer of them need a pool of another kind.
    device.max_buffer = 0;
    EXPECT_THROWS(engine->resize_experts(0), " is larger than a buffer of the GPU, at most 0 bytes");
}

TEST("a device is told of a conversation's caches as they grow, and no longer of what was cut back") {
    const TinyModel model;
    auto owned = std::make_unique<FailingDevice>();
    FailingDevice& device = *owned;
    const auto engine = std::make_shared<Engine>(options_of(model), std::move(owned));
    const uint64_t before = device.wrapped_bytes, per_token = engine->info().kv_bytes_per_token;
    Session session(engine, 2048);
    const uint64_t first = device.wrapped_bytes - before;
    EXPECT_EQ(session.cache_bytes(), 1024 * per_token);
    std::vector<int32_t> tokens(1500);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 7 % TinyModel::kVocab);
    session.prefill(tokens.data(), tokens.size(), {});
    EXPECT(device.wrapped_bytes - before >= 2048 * per_token);
    EXPECT_EQ(session.cache_bytes(), 2048 * per_token);
    const std::vector<float> right = session.logits();
    session.reset();
    EXPECT_EQ(device.wrapped_bytes - before, first);
    for (const int32_t token : {1, 2, 3}) session.decode(token);
    session.reset();
    session.prefill(tokens.data(), tokens.size(), {});
    EXPECT(session.logits() == right);
}

TEST("caches that can't grow are an error before any work, and the conversation goes on as it was") {
    const TinyModel model;
    auto owned = std::make_unique<FailingDevice>();
    FailingDevice& device = *owned;
    const auto engine = std::make_shared<Engine>(options_of(model), std::move(owned));
    Session session(engine, 2048), reference(engine, 2048);
    const std::vector<int32_t> some{1, 2, 3}, many(1500, 5);
    session.prefill(some.data(), some.size(), {});
    reference.prefill(some.data(), some.size(), {});
    const uint64_t bytes = device.wrapped_bytes;
    for (uint32_t nth = 1; nth <= 4; ++nth) {
        device.fails_at_wrap = nth;
        EXPECT_THROWS(session.prefill(many.data(), many.size(), {}), "refuses a buffer");
        EXPECT_EQ(device.wrapped_bytes, bytes);
        EXPECT_EQ(session.length(), 3u);
    }
    session.decode(9);
    reference.decode(9);
    EXPECT(session.logits() == reference.logits());
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST("caches take memory as tokens come, and give it back when a conversation is cut back") {
    const auto resident = [] {
        std::ifstream file("/proc/self/status");
        std::string word;
        while (file >> word && word != "RssAnon:") {
        }
        uint64_t kib = 0;
        file >> kib;
        return kib * 1024;
    };
    PageMemory memory(64u << 20);
    const uint64_t before = resident();
    std::memset(memory.data(), 1, 48u << 20);
    EXPECT(resident() - before > 40u << 20);
    memory.give_back(16u << 20, 32u << 20);
    EXPECT(resident() - before < 20u << 20);
    EXPECT(memory.data()[(16u << 20) - 1] == std::byte{1});
    EXPECT(memory.data()[16u << 20] == std::byte{0});
}
#endif
