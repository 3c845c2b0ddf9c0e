#include "core/thread_group.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/cpu/cpu_backend.h"
#include "core/thread_pool.h"
#include "test/harness.h"

using namespace flashmoe;

namespace {

/// Runs `body` in a process whose address space has room for hardly more than it has now: threads are refused there.
/// True when it came to its end.
template <typename Body> bool ends_without_room(Body&& body) {
    const pid_t child = fork();
    if (child == 0) {
        unsigned long long pages = 0;
        if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
            if (std::fscanf(file, "%llu", &pages) != 1) pages = 0;
            std::fclose(file);
        }
        const rlim_t room = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (24u << 20);
        const rlimit limit{room, room};
        setrlimit(RLIMIT_AS, &limit);
        _exit(body() ? 0 : 3);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

template <typename Make> bool refuses(Make&& make) {
    try {
        make();
    } catch (const Error& error) {
        return error.status() == FM_ENGINE && std::string(error.what()).find("threads for") != std::string::npos;
    }
    return false;
}

} // namespace

TEST("threads end with their group, whatever they wait for") {
    std::mutex mutex;
    std::condition_variable changed;
    bool stopping = false;
    std::atomic<uint32_t> ended{0};
    {
        const ThreadGroup group(
            "a test", 3, 4,
            [&](uint32_t index) {
                std::unique_lock lock(mutex);
                changed.wait(lock, [&] { return stopping; });
                ended += index;
            },
            [&] {
                const std::lock_guard lock(mutex);
                stopping = true;
                changed.notify_all();
            });
        EXPECT_EQ(group.size(), 4u);
    }
    EXPECT_EQ(ended.load(), 3u + 4 + 5 + 6);
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST("a thread that the system refuses is an error of whoever needs it, and the process lives") {
    EXPECT(ends_without_room([] {
        return refuses([] { ThreadPool pool(64); }) && refuses([] { cpu::CpuBackend backend(64, cpu::scalar_kernels()); });
    }));
}
#endif
