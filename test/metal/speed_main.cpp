// How fast a packed model answers through the Metal host code with a share of its experts in memory: tokens a second, hits, waits,
// and for what share of a token its kernels work. Tokens are random, so that answers don't run into a circle.
// Usage: metal-speed METAL_DIR MODEL_DIR PERCENT PASS PROMPT TOKENS [kernels]; 100 per cent are resident. `kernels`: what each kernel
// takes, launched alone and waited for, some microseconds of which are the launch.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#include "backend/metal/kernel_source.h"
#include "backend/metal/metal_backend.h"
#include "core/random.h"
#include "core/session.h"
#include "device/test_device.h"

using namespace flashmoe;

namespace {

constexpr uint32_t READERS = 8;

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

uint64_t expert_bytes(const std::string &folder) {
    uint64_t bytes = 0;
    for (const auto &entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().filename().string().starts_with("layer_")) bytes += entry.file_size();
    }
    return bytes;
}

/// Of a decoded token, on average.
struct Token {
    double seconds = 0, device_seconds = 0, waits = 0, uses = 0, hits = 0, submits = 0, dispatches = 0;
    double read_bytes = 0, expert_waits = 0;
};

/// What kernels took since the last time.
class KernelTable {
  public:
    void print(const char *what) {
        double all = 0;
        std::map<std::string, KernelTime> now, since;
        for (const KernelTime &time : kernel_times()) {
            now[time.name] = time;
            const KernelTime &before = before_[time.name];
            since[time.name] = {time.name, time.launches - before.launches, time.seconds - before.seconds};
            all += time.seconds - before.seconds;
        }
        printf("kernels of %s, one by one: %.3f s\n| kernel | launches | ms | µs each | %% |\n|---|---|---|---|---|\n", what, all);
        std::vector<KernelTime> longest;
        for (const auto &[name, time] : since) longest.push_back(time);
        std::sort(longest.begin(), longest.end(), [](const KernelTime &a, const KernelTime &b) { return a.seconds > b.seconds; });
        for (const KernelTime &time : longest) {
            if (time.launches == 0 || time.seconds < all / 200) continue;
            printf("| %s | %llu | %.2f | %.1f | %.1f |\n", time.name.c_str(), static_cast<unsigned long long>(time.launches), time.seconds * 1e3,
                   time.seconds / static_cast<double>(time.launches) * 1e6, 100 * time.seconds / all);
        }
        before_ = std::move(now);
    }

  private:
    std::map<std::string, KernelTime> before_;
};

class Speed {
  public:
    Speed(const metal::MetalBackend &metal, Session &session) : metal_(metal), session_(session), vocab_(session.engine().info().vocab_size) {}

    std::vector<int32_t> tokens(uint32_t count) {
        std::vector<int32_t> some(count);
        for (int32_t &token : some) token = static_cast<int32_t>(random_.next() % vocab_);
        return some;
    }
    Token decode(uint32_t count) {
        const BackendCounters before = metal_.counters();
        const double start = seconds_now();
        Token sum;
        for (const int32_t token : tokens(count)) {
            const fm_step_stats step = session_.decode(token);
            sum.waits += static_cast<double>(step.device_waits) / count;
            sum.uses += static_cast<double>(step.expert_uses) / count;
            sum.hits += static_cast<double>(step.expert_hits) / count;
            sum.read_bytes += static_cast<double>(step.expert_bytes_read) / count;
            sum.expert_waits += step.io_seconds / count;
        }
        const BackendCounters after = metal_.counters();
        sum.seconds = (seconds_now() - start) / count;
        sum.device_seconds = (after.device_seconds - before.device_seconds) / count;
        sum.submits = static_cast<double>(after.submits - before.submits) / count;
        sum.dispatches = static_cast<double>(after.dispatches - before.dispatches) / count;
        return sum;
    }

  private:
    const metal::MetalBackend &metal_;
    Session &session_;
    const uint32_t vocab_;
    Random random_{5};
};

} // namespace

int main(int count, char **arguments) {
    if (count != 7 && count != 8) return 64;
    setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string folder = arguments[2];
    const double percent = atof(arguments[3]);
    const auto number = [&](int index) { return static_cast<uint32_t>(atoi(arguments[index])); };
    const uint32_t pass = number(4), prompt = number(5), decoded = number(6);
    EngineOptions options{folder, folder, 1, READERS, 0, 0, Caching::page_cache};
    options.prefill_tokens = pass;
    options.expert_bytes = percent >= 100 ? UINT64_MAX : static_cast<uint64_t>(static_cast<double>(expert_bytes(folder)) * percent / 100);
    try {
        KernelTable table;
        time_kernels(count == 8);
        const double begun = seconds_now();
        auto backend = std::make_unique<metal::MetalBackend>(open_test_device({}), metal::kernel_source(arguments[1]));
        const metal::MetalBackend &metal = *backend;
        auto engine = std::make_shared<Engine>(options, std::move(backend));
        if (percent >= 100) engine->experts()->finish_warming();
        Session session(engine, prompt + 3 * decoded + 16);
        Speed speed(metal, session);
        printf("%s, %g %% of experts in memory, loaded in %.1f s\n", engine->info().isa, percent, seconds_now() - begun);
        const double start = seconds_now();
        if (prompt != 0) {
            const std::vector<int32_t> tokens = speed.tokens(prompt);
            const fm_step_stats read = session.prefill(tokens.data(), tokens.size(), {});
            const double took = seconds_now() - start;
            printf("prefill of %u in passes of %u: %.2f s, %.0f tokens/s, expert reads %llu, kernels %.2f s, waits %llu\n", prompt, pass, took,
                   prompt / took, static_cast<unsigned long long>(read.expert_reads), read.device_seconds,
                   static_cast<unsigned long long>(read.device_waits));
            if (count == 8) table.print("the prompt");
        }
        if (decoded == 0) return 0;
        speed.decode(decoded);
        const Token token = speed.decode(decoded);
        if (count == 8) table.print("twice as many tokens as were asked for");
        printf("| %% in memory | tokens/s | ms | hits | read, MB | ms for reads | waits | command buffers | dispatches | kernels, ms | share |\n"
               "|---|---|---|---|---|---|---|---|---|---|---|\n");
        printf("| %g | %.1f | %.2f | %.1f %% | %.0f | %.1f | %.0f | %.1f | %.0f | %.2f | %.2f |\n", percent, 1 / token.seconds, token.seconds * 1e3,
               100 * token.hits / token.uses, token.read_bytes / 1e6, token.expert_waits * 1e3, token.waits, token.submits, token.dispatches,
               token.device_seconds * 1e3, token.device_seconds / token.seconds);
    } catch (const Error &error) {
        fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
