// Runs a packed model through the Metal backend's host code and the executed kernels, and writes logits as raw f32.
// Usage: metal-model [--max-buffer=BYTES] METAL_DIR MODEL_DIR EXPERTS_DIR OUT.f32 PIECE SCHEDULE resident|cached [TOKEN...]; cached: half of the experts
// Without tokens they come from MODEL_DIR/tokens.txt, and MODEL_DIR/reference.f32 is what the logits are held against.
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "backend/metal/kernel_source.h"
#include "backend/metal/metal_backend.h"
#include "core/session.h"
#include "device/test_device.h"

static unsigned expert_layers(const flashmoe::Model &model) {
    unsigned count = 0;
    for (const flashmoe::Layer &layer : model.layers) count += std::holds_alternative<flashmoe::Moe>(layer.mlp);
    return count;
}

static uint64_t expert_bytes(const std::string &folder) {
    uint64_t bytes = 0;
    for (const auto &entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().filename().string().starts_with("layer_")) bytes += entry.file_size();
    }
    return bytes;
}

/// Largest difference over the reference's spread; the CPU engine is held to the same.
static bool agrees(const std::string &path, const std::vector<float> &logits) {
    constexpr double tolerance = 5e-4;
    std::vector<float> wanted(logits.size());
    std::ifstream file(path, std::ios::binary);
    file.read(reinterpret_cast<char *>(wanted.data()), static_cast<std::streamsize>(wanted.size() * sizeof(float)));
    if (!file) return false;
    double largest = 0;
    for (size_t i = 0; i < logits.size(); i++) {
        const double difference = std::fabs(double{logits[i]} - wanted[i]);
        if (std::isnan(difference)) return false;
        largest = std::max(largest, difference);
    }
    const auto [low, high] = std::minmax_element(wanted.begin(), wanted.end());
    const double share = largest / (double{*high} - *low);
    printf("largest difference %.1e of the spread, tolerance %.0e\n", share, tolerance);
    return share < tolerance;
}

/// The next tokens of three conversations in steps of all of them, against each by itself: the same bits.
static bool together_as_alone(const std::shared_ptr<flashmoe::Engine> &engine, const std::vector<int32_t> &tokens) {
    constexpr size_t sessions = 3, steps = 2;
    const auto begin = [&](size_t i) {
        auto session = std::make_unique<flashmoe::Session>(engine, 64);
        session->prefill(tokens.data(), std::min(tokens.size(), 1 + i), {});
        return session;
    };
    const auto token = [&](size_t i, size_t step) { return tokens[(i + 2 * step) % tokens.size()]; };
    std::vector<std::vector<float>> alone;
    std::vector<std::unique_ptr<flashmoe::Session>> all;
    for (size_t i = 0; i < sessions; i++) {
        const auto session = begin(i);
        for (size_t step = 0; step < steps; step++) session->decode(token(i, step));
        alone.push_back(session->logits());
        all.push_back(begin(i));
    }
    std::barrier all_there(sessions);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < sessions; i++) {
        threads.emplace_back([&, i] {
            for (size_t step = 0; step < steps; step++) {
                all_there.arrive_and_wait();
                all[i]->decode(token(i, step));
            }
        });
    }
    for (std::thread &thread : threads) thread.join();
    printf("tokens of up to %u sessions in one step\n", engine->decoder.most_together());
    for (size_t i = 0; i < sessions; i++) {
        if (all[i]->logits() != alone[i]) return false;
    }
    return engine->decoder.most_together() > 1;
}

int main(int argc, char **argv) {
    using namespace flashmoe;
    fm_msl::ExecutedOptions executed;
    constexpr char option[] = "--max-buffer=";
    if (argc > 1 && strncmp(argv[1], option, strlen(option)) == 0) {
        executed.shortcomings.max_buffer = strtoull(argv[1] + strlen(option), nullptr, 10);
        ++argv, --argc;
    }
    if (argc < 8) return 64;
    EngineOptions options{argv[2], argv[3], 1, 2, 0, 0, Caching::page_cache};
    const bool resident = strcmp(argv[7], "resident") == 0;
    options.expert_bytes = resident ? UINT64_MAX : expert_bytes(argv[3]) / 2;
    const size_t piece = strtoull(argv[5], nullptr, 10);
    if (strcmp(argv[6], "reverse") == 0) executed.schedule = fm_msl::Schedule::reverse;
    if (strcmp(argv[6], "random") == 0) executed.schedule = fm_msl::Schedule::random;
    std::vector<int32_t> tokens;
    for (int i = 8; i < argc; i++) tokens.push_back(atoi(argv[i]));
    if (argc == 8) {
        std::ifstream file(std::string(argv[2]) + "/tokens.txt");
        for (int32_t token; file >> token;) tokens.push_back(token);
    }
    try {
        auto backend = std::make_unique<metal::MetalBackend>(open_test_device(executed), metal::kernel_source(argv[1]));
        const metal::MetalBackend &metal = *backend;
        auto engine = std::make_shared<Engine>(options, std::move(backend));
        if (resident) engine->experts()->finish_warming();
        Session session(engine, static_cast<uint32_t>(tokens.size()) + 1);
        const size_t vocab = engine->info().vocab_size;
        std::vector<float> logits(tokens.size() * vocab);
        for (size_t at = 0; at < tokens.size(); at += piece) {
            const size_t count = std::min(piece, tokens.size() - at);
            session.evaluate(tokens.data() + at, count, logits.data() + at * vocab, nullptr, {});
        }
        // Another token, as generation does it: what the host waits for.
        const BackendCounters before = metal.counters();
        const fm_step_stats step = session.decode(tokens.back());
        logits.insert(logits.end(), session.logits().begin(), session.logits().end());
        FILE *out = fopen(argv[4], "wb");
        if (out == nullptr || fwrite(logits.data(), sizeof(float), logits.size(), out) != logits.size()) return 1;
        fclose(out);
        logits.resize(tokens.size() * vocab);
        if (argc == 8 && !agrees(std::string(argv[2]) + "/reference.f32", logits)) return 1;
        const auto since = [&](uint64_t BackendCounters::*what) { return static_cast<unsigned long long>(metal.counters().*what - before.*what); };
        printf("a token: dispatches %llu, command buffers %llu, waits %llu, experts read %llu, layers %u, of experts %u\n",
               since(&BackendCounters::dispatches), since(&BackendCounters::submits), static_cast<unsigned long long>(step.device_waits),
               static_cast<unsigned long long>(step.expert_reads), engine->info().layers, expert_layers(engine->model()));
        // Once a model is enough.
        if (piece == 1 && !together_as_alone(engine, tokens)) {
            fprintf(stderr, "tokens of several sessions together are not what they are alone\n");
            return 1;
        }
    } catch (const Error &error) {
        fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    if (leftover_objects() != 0) {
        fprintf(stderr, "%d device objects left\n", leftover_objects());
        return 1;
    }
    return 0;
}
