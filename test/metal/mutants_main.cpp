// Leaves out each barrier in turn, of kernels and between dispatches, and demands that something notices: a check
// against the references, a divergence that the executor reports, or a model's logits. Each mutant runs in a child of
// its own, so that one that crashes is a mutant caught. Usage: metal-mutants METAL_DIR MODEL_DIR...
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/metal/kernel_source.h"
#include "backend/metal/metal_backend.h"
#include "core/session.h"
#include "device/test_device.h"
#include "guarded_place.h"

using namespace flashmoe;

namespace {

constexpr uint64_t SEED = 11;
/// Seconds after which a mutant counts as hung.
constexpr unsigned PATIENCE = 120;
/// Of the logits' spread; two runs of the same program differ by nothing.
constexpr double NOTICED = 1e-4;
constexpr std::pair<const char *, fm_msl::Schedule> SCHEDULES[] = {
    {"forward", fm_msl::Schedule::forward}, {"reverse", fm_msl::Schedule::reverse}, {"random", fm_msl::Schedule::random}};

/// Runs `work` in a child; what it returns, or how the child ended. Empty: nothing was noticed.
std::string in_child(const std::function<std::string()> &work) {
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0) return "no pipe";
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        alarm(PATIENCE);
        if (freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
        const std::string verdict = work();
        const auto written = write(ends[1], verdict.data(), verdict.size());
        _exit(written == static_cast<ssize_t>(verdict.size()) ? 0 : 1);
    }
    close(ends[1]);
    std::string verdict;
    char part[256];
    for (ssize_t got = read(ends[0], part, sizeof part); got > 0; got = read(ends[0], part, sizeof part)) {
        verdict.append(part, static_cast<size_t>(got));
    }
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGALRM ? "it hangs" : std::string("it dies: ") + strsignal(WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? verdict : "it ends with an error";
}

struct Noticed {
    std::string what;
};

/// The first check of these groups that fails, under any schedule.
std::string failing_check(const std::string &source, const std::vector<std::string> &groups) {
    for (const auto &[name, schedule] : SCHEDULES) {
        fm_msl::ExecutedOptions options;
        options.schedule = schedule;
        try {
            metal::MetalBackend backend(open_test_device(options), source);
            for (const checks::CheckGroup &group : checks::check_groups()) {
                if (std::find(groups.begin(), groups.end(), group.name) == groups.end()) continue;
                checks::Checker checker(backend, SEED, fm_msl::allocate_guarded);
                checker.watch([](const checks::Check &check) {
                    if (!check.ok()) throw Noticed{check.name};
                });
                group.run(checker);
            }
        } catch (const Noticed &noticed) {
            return std::string(name) + ": " + noticed.what;
        } catch (const Error &error) {
            return std::string(name) + ": " + error.what();
        }
    }
    return "";
}

/// Logits of a few tokens read at once and one more, of the model in `folder`: with experts that the host asks for, and with
/// all of them in memory, taken by number.
std::vector<float> logits_of(const std::string &source, const std::string &folder) {
    constexpr int32_t TOKENS[] = {1, 5, 9, 2, 7, 3, 11, 4, 8};
    std::vector<float> all;
    for (const bool resident : {false, true}) {
        auto backend = std::make_unique<metal::MetalBackend>(open_test_device({}), source);
        EngineOptions options{folder, folder + "/packed_experts", 1, 2, 0, 0, Caching::page_cache};
        if (resident) options.expert_bytes = UINT64_MAX;
        auto engine = std::make_shared<Engine>(options, std::move(backend));
        if (resident) engine->experts()->finish_warming();
        Session session(engine, 16);
        session.prefill(TOKENS, std::size(TOKENS), {});
        all.insert(all.end(), session.logits().begin(), session.logits().end());
        session.decode(6);
        all.insert(all.end(), session.logits().begin(), session.logits().end());
    }
    return all;
}

/// The model whose logits differ from what they should be.
std::string differing_model(const std::string &source, const std::vector<std::string> &folders,
                            const std::vector<std::vector<float>> &wanted) {
    for (size_t i = 0; i < folders.size(); i++) {
        try {
            const std::vector<float> got = logits_of(source, folders[i]);
            double largest = 0, spread = 0;
            for (size_t j = 0; j < got.size(); j++) {
                const double difference = std::fabs(got[j] - wanted[i][j]);
                if (std::isnan(difference)) return "logits of " + std::filesystem::path(folders[i]).filename().string() + " are no numbers";
                largest = std::max(largest, difference);
                spread = std::max(spread, std::fabs(double{wanted[i][j]}));
            }
            if (!(largest <= NOTICED * spread)) return "logits of " + std::filesystem::path(folders[i]).filename().string();
        } catch (const Error &error) {
            return error.what();
        }
    }
    return "";
}

struct Site {
    std::string file;
    int line;
    std::string what;
};

/// Every barrier in the kernels' text, whether or not anything runs it.
std::vector<Site> kernel_barriers(const std::string &folder) {
    std::vector<Site> sites;
    for (const auto &entry : std::filesystem::directory_iterator(folder)) {
        std::ifstream text(entry.path());
        int number = 0;
        for (std::string line; std::getline(text, line);) {
            number++;
            for (const char *what : {"threadgroup_barrier", "simdgroup_barrier"}) {
                if (line.find(std::string(what) + "(mem_flags") != std::string::npos) {
                    sites.push_back({entry.path().filename().string(), number, what});
                }
            }
        }
    }
    std::sort(sites.begin(), sites.end(), [](const Site &a, const Site &b) { return std::tie(a.file, a.line) < std::tie(b.file, b.line); });
    return sites;
}

/// Which checks run the kernels of a file.
std::vector<std::string> groups_of_file(const std::string &file) {
    if (file == "router.metal") return {"router"};
    if (file == "attention.metal") return {"attention"};
    if (file == "experts.metal" || file == "expert_tiles.metal") return {"experts"};
    if (file == "delta_net.metal") return {"delta_net"};
    if (file == "mla.metal") return {"mla"};
    return {"dense"};
}

int caught = 0, missed = 0;

void tell(const std::string &place, const std::string &what, const std::string &verdict, double seconds) {
    printf("| %s | %s | %s | %.1f |\n", place.c_str(), what.c_str(), verdict.empty() ? "NOTHING" : verdict.c_str(), seconds);
    fflush(stdout);
    ++(verdict.empty() ? missed : caught);
}

} // namespace

int main(int count, char **arguments) {
    if (count < 3) return 64;
    const std::string folder = arguments[1], source = metal::kernel_source(folder);
    const std::vector<std::string> models(arguments + 2, arguments + count);
    const auto timed = [](const std::function<std::string()> &work) {
        const auto start = std::chrono::steady_clock::now();
        const std::string verdict = in_child(work);
        return std::pair(verdict, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    };
    printf("| barrier left out | kind | noticed by | seconds |\n|---|---|---|---|\n");
    for (const Site &site : kernel_barriers(folder)) {
        const auto [verdict, seconds] = timed([&] {
            fm_msl::leave_out_barrier(site.file.c_str(), site.line);
            return failing_check(source, groups_of_file(site.file));
        });
        tell(site.file + ":" + std::to_string(site.line), site.what, verdict, seconds);
    }
    std::vector<std::vector<float>> wanted;
    for (const std::string &model : models) wanted.push_back(logits_of(source, model));
    for (const std::string &kernel : fm_msl::recorded_barriers()) {
        const auto [verdict, seconds] = timed([&] {
            fm_msl::leave_out_barriers_after(kernel);
            return differing_model(source, models, wanted);
        });
        tell("after " + kernel, "memory barrier", verdict, seconds);
    }
    printf("%d caught, %d missed\n", caught, missed);
    return missed == 0 && caught > 0 ? 0 : 1;
}
