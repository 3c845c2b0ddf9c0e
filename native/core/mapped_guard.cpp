#include "core/mapped_guard.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"

namespace flashmoe {
namespace {

/// Read in a signal handler: fixed memory, no locks.
struct Range {
    std::atomic<uintptr_t> begin{0}, end{0};
    std::atomic<bool> damaged{false};
};
/// A dense file and some hundred layer files, for a few engines at once.
constexpr size_t kMost = 1024;
std::array<Range, kMost> ranges;
std::array<bool, kMost> taken;
std::mutex mutex;
uintptr_t page_size = 0;
struct sigaction previous;

void pass_on(int signal, siginfo_t* info, void* context) {
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else {
        // Not ours: the fault happens again, and ends the process as it would have.
        std::signal(signal, SIG_DFL);
    }
}

void on_fault(int signal, siginfo_t* info, void* context) {
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    for (Range& range : ranges) {
        if (address < range.begin.load() || address >= range.end.load()) continue;
        range.damaged.store(true);
        void* page = reinterpret_cast<void*>(address & ~(page_size - 1));
        if (mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) return;
    }
    pass_on(signal, info, context);
}

void install() {
    static bool installed = false;
    if (installed) return;
    page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &previous) != 0) fail(FM_ENGINE, "no handler for faults in mapped files");
    installed = true;
}

} // namespace

MappedGuard::MappedGuard(const std::byte* data, size_t bytes) {
    const std::lock_guard lock(mutex);
    install();
    for (slot_ = 0; slot_ < taken.size() && taken[slot_]; ++slot_) {
    }
    if (slot_ == taken.size()) fail(FM_ENGINE, "too many mapped files at once");
    taken[slot_] = true;
    Range& range = ranges[slot_];
    range.damaged.store(false);
    range.begin.store(reinterpret_cast<uintptr_t>(data));
    range.end.store(reinterpret_cast<uintptr_t>(data) + bytes);
}

MappedGuard::~MappedGuard() {
    const std::lock_guard lock(mutex);
    ranges[slot_].end.store(0);
    ranges[slot_].begin.store(0);
    taken[slot_] = false;
}

bool MappedGuard::damaged() const { return ranges[slot_].damaged.load(); }

} // namespace flashmoe
