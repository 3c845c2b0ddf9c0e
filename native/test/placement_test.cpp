// What a model computes doesn't depend on where its experts lie, how many threads there are, how a prompt is cut, or who else
// has a turn: the same bits, exact and fast.
#include <atomic>
#include <barrier>
#include <filesystem>
#include <memory>
#include <thread>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/fast_kernels.h"
#include "core/session.h"
#include "test/harness.h"
#include "test/tiny_model.h"

using namespace flashmoe;

namespace {

constexpr uint64_t kStride = 16384;

struct Case {
    const char* name;
    bool mapped;
    uint64_t experts;
    uint32_t threads, io_threads, prefill_tokens;
};

constexpr Case kCases[] = {
    {"least pool", false, 3, 2, 2, 1024},      {"small pool, small passes", false, 5, 1, 4, 64},
    {"half a pool", false, 12, 3, 1, 100},     {"all in the pool", false, 100, 2, 3, 4096},
    {"mapped", true, 0, 2, 2, 1024},           {"mapped, one thread, passes of 7", true, 0, 1, 1, 7},
};

std::shared_ptr<Engine> open(const TinyModel& model, const Case& each, bool fast, float mass = 1) {
    EngineOptions options{.model_dir = model.path("."),
                          .experts_dir = model.path("."),
                          .threads = each.threads,
                          .io_threads = each.io_threads,
                          .token_limit = TinyModel::kVocab,
                          .experts_per_token = 0,
                          .expert_caching = Caching::page_cache,
                          .exact_caches = false,
                          .map_experts = each.mapped,
                          .expert_bytes = each.experts * kStride,
                          .expert_mass = mass,
                          .fast = fast,
                          .prefill_tokens = each.prefill_tokens};
    const cpu::Kernels& exact = cpu::best_kernels();
    return std::make_shared<Engine>(options, std::make_unique<cpu::CpuBackend>(each.threads, fast ? cpu::fast_kernels(exact) : exact));
}

/// A prompt in pieces of `piece`, then three tokens.
std::vector<float> logits_of(const std::shared_ptr<Engine>& engine, size_t piece) {
    Session session(engine, 512);
    const std::vector<int32_t> tokens = some_tokens(300);
    for (size_t at = 0; at < tokens.size(); at += piece) session.prefill(tokens.data() + at, std::min(piece, tokens.size() - at), {});
    for (const int32_t token : {7, 8, 9}) session.decode(token);
    return session.logits();
}

} // namespace

TEST("the same bits wherever experts lie, through live changes of the pool, on any number of threads and in any pieces") {
    const TinyModel model;
    for (const bool fast : {false, true}) {
        const std::vector<float> right = logits_of(open(model, kCases[0], fast), 300);
        for (const Case& each : kCases) {
            const auto engine = open(model, each, fast);
            for (const size_t piece : {300u, 77u, 1u}) {
                if (logits_of(engine, piece) != right) harness::fail_at(__FILE__, __LINE__, each.name, ", pieces of ", piece, fast ? ", fast" : "");
            }
            for (const uint64_t experts : {4u, 30u, 3u, 9u}) {
                engine->resize_experts(experts * kStride);
                if (logits_of(engine, 150) != right) harness::fail_at(__FILE__, __LINE__, each.name, ", resized");
            }
        }
    }
}

TEST("a pool that holds every expert reads each once, whatever comes after; a mapped one asks for each once") {
    const TinyModel model;
    for (const Case& each : {kCases[3], kCases[4]}) {
        const auto engine = open(model, each, false);
        logits_of(engine, 300);
        const ExpertCounters first = engine->expert_counters();
        EXPECT(first.reads <= 24);
        for (int i = 0; i < 5; ++i) logits_of(engine, 100);
        EXPECT_EQ(engine->expert_counters().reads, 24u);
        EXPECT(engine->expert_counters().hits > first.hits);
    }
}

TEST("where nothing stays a prompt costs its passes times its experts, and longer passes cost less") {
    const TinyModel model;
    for (const uint32_t pass : {100u, 300u, 512u}) {
        // A pool so small that the next layer leaves nothing of the last.
        const auto engine = open(model, {"", false, 3, 2, 2, pass}, false);
        Session session(engine, 1024);
        const std::vector<int32_t> tokens = some_tokens(900);
        const fm_step_stats stats = session.prefill(tokens.data(), tokens.size(), {});
        const uint64_t passes = (900 + pass - 1) / pass;
        // All of 8 experts in each of 3 layers are chosen by hundreds of tokens; two or three of a layer's last may be left from
        // the pass before.
        EXPECT(stats.expert_reads <= passes * 24);
        EXPECT(stats.expert_reads >= passes * 24 - (passes - 1) * 3);
        EXPECT_EQ(stats.expert_uses, passes * 24);
    }
}

TEST("another session's tokens come between the layers of a prompt, and both get what they get alone") {
    const TinyModel model;
    const auto engine = open(model, kCases[2], false);
    const std::vector<int32_t> tokens = some_tokens(1500);
    std::vector<float> prompt_alone, chat_alone;
    {
        Session prompt(engine, 2048);
        prompt.prefill(tokens.data(), tokens.size(), {});
        prompt_alone = prompt.logits();
        Session chat(engine, 256);
        for (int32_t i = 0; i < 40; ++i) chat.decode(i % 90);
        chat_alone = chat.logits();
    }
    Session prompt(engine, 2048), chat(engine, 256);
    std::atomic<uint32_t> decoded{0}, between{0};
    std::atomic<bool> reading{false};
    std::thread other([&] {
        while (!reading) std::this_thread::yield();
        for (int32_t i = 0; i < 40; ++i) {
            chat.decode(i % 90);
            ++decoded;
        }
    });
    prompt.prefill(tokens.data(), tokens.size(), [&](uint64_t, uint64_t) {
        reading = true;
        between = decoded.load();
        return true;
    });
    other.join();
    EXPECT(prompt.logits() == prompt_alone);
    EXPECT(chat.logits() == chat_alone);
    // Alone a prompt of fifteen passes is sixty layers; without turns all tokens would come behind it.
    EXPECT(between.load() > 0);
}

TEST("a short prompt waits for a part of a long one's layer, not for a layer of it at each of its own") {
    const TinyModel model;
    const auto engine = open(model, kCases[3], false);
    const std::vector<int32_t> tokens = some_tokens(1800), few = some_tokens(20);
    std::vector<float> long_alone, short_alone;
    {
        Session prompt(engine, 2048), chat(engine, 64);
        prompt.prefill(tokens.data(), tokens.size(), {});
        chat.prefill(few.data(), few.size(), {});
        long_alone = prompt.logits();
        short_alone = chat.logits();
    }
    Session prompt(engine, 2048), chat(engine, 64);
    std::atomic<uint32_t> layers{0};
    std::atomic<bool> over{false};
    std::vector<uint32_t> between;
    std::thread other([&] {
        while (!over) {
            while (layers == 0 && !over) std::this_thread::yield();
            const uint32_t before = layers;
            chat.reset();
            chat.prefill(few.data(), few.size(), {});
            if (!over) between.push_back(layers - before);
        }
    });
    prompt.prefill(tokens.data(), tokens.size(), [&](uint64_t, uint64_t) {
        ++layers;
        return true;
    });
    over = true;
    other.join();
    EXPECT(prompt.logits() == long_alone);
    EXPECT(chat.logits() == short_alone);
    EXPECT(!between.empty());
    // Four layers of its own. It may come in when the long one has just begun one, and be seen when that one has begun the next.
    for (const uint32_t count : between) EXPECT(count <= 2);
}

TEST("tokens of several sessions go through the layers together, read each expert once, and are what they are alone") {
    const TinyModel model;
    constexpr size_t kSessions = 4, kTokens = 40;
    for (const Case& each : {kCases[0], kCases[2], kCases[4]}) {
        for (const bool fast : {false, true}) {
            const auto engine = open(model, each, fast);
            // Of different lengths, and one with a mark on its way.
            const auto begin = [&](size_t i) {
                auto session = std::make_unique<Session>(engine, 256);
                const std::vector<int32_t> tokens = some_tokens(5 + 30 * i);
                if (i == 1) session->mark_at({40, 50});
                session->prefill(tokens.data(), tokens.size(), {});
                return session;
            };
            const auto token = [](size_t i, size_t at) { return static_cast<int32_t>((7 * at + 13 * i) % 90); };
            std::vector<std::vector<float>> alone;
            uint64_t reads_alone = 0;
            for (size_t i = 0; i < kSessions; ++i) {
                const auto session = begin(i);
                for (size_t at = 0; at < kTokens; ++at) reads_alone += session->decode(token(i, at)).expert_uses;
                alone.push_back(session->logits());
            }
            EXPECT_EQ(engine->decoder.most_together(), 1u);
            std::vector<std::unique_ptr<Session>> sessions;
            for (size_t i = 0; i < kSessions; ++i) sessions.push_back(begin(i));
            std::atomic<uint64_t> reads{0};
            std::barrier all_there(kSessions);
            std::vector<std::thread> threads;
            for (size_t i = 0; i < kSessions; ++i) {
                threads.emplace_back([&, i] {
                    for (size_t at = 0; at < kTokens; ++at) {
                        all_there.arrive_and_wait();
                        reads += sessions[i]->decode(token(i, at)).expert_uses;
                    }
                });
            }
            for (std::thread& thread : threads) thread.join();
            for (size_t i = 0; i < kSessions; ++i) EXPECT(sessions[i]->logits() == alone[i]);
            EXPECT_EQ(sessions[1]->reachable(45), 40u);
            EXPECT(engine->decoder.most_together() > 1);
            // Two of eight experts a token: of any two tokens, some are the same.
            EXPECT(reads.load() < reads_alone);
        }
    }
}

TEST("a mapped layer file that is cut short fails the step by name, and the process lives") {
    const TinyModel model;
    const auto engine = open(model, kCases[4], false);
    Session session(engine, 64);
    session.decode(1);
    std::filesystem::resize_file(model.path("layer_02.bin"), 4096);
    const std::vector<int32_t> tokens = some_tokens(30);
    EXPECT_THROWS(session.prefill(tokens.data(), tokens.size(), {}), "layer_02.bin");
    EXPECT_EQ(session.length(), 1u);
}

TEST("experts that carry the wanted share of a token's weight are computed, and no others") {
    const TinyModel model;
    const auto all = open(model, kCases[0], false), most = open(model, kCases[0], false, 0.75f), one = open(model, kCases[0], false, 0.01f);
    const auto uses = [](const std::shared_ptr<Engine>& engine) {
        Session session(engine, 64);
        for (int32_t i = 0; i < 20; ++i) session.decode(i);
        for (const float value : session.logits()) EXPECT(value == value);
        return engine->expert_counters().uses;
    };
    EXPECT_EQ(uses(all), 20u * 3 * 3);
    // The heaviest alone.
    EXPECT_EQ(uses(one), 20u * 3);
    const uint64_t some = uses(most);
    EXPECT(some > 20u * 3 && some < 20u * 3 * 3);
    EXPECT(all->state_key("x") != most->state_key("x"));
}

TEST("the most used experts are written down and there again at the next start; a file that isn't right warms nothing") {
    const TinyModel model;
    const std::string path = model.path("hot");
    {
        const auto engine = open(model, kCases[3], false);
        logits_of(engine, 300);
        engine->save_hottest(path);
    }
    const auto engine = open(model, kCases[3], false);
    engine->warm_from(path);
    for (int i = 0; i < 2000 && engine->experts()->held() < 24; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(engine->experts()->held(), 24u);
    logits_of(engine, 300);
    EXPECT_EQ(engine->expert_counters().reads, 24u);
    for (const char* text : {"", "flashmoe-hot-experts 1 0123456789abcdef\n1 1\n", "flashmoe-hot-experts 2\n", "\xff\xff"}) {
        model.write("hot", text);
        const auto cold = open(model, kCases[3], false);
        cold->warm_from(path);
        EXPECT_EQ(cold->experts()->held(), 0u);
    }
}
