// How a long job hears "stop" and tells how far it is.
#pragma once

#include "core/error.h"

#include <atomic>
#include <cstdint>
#include <functional>

namespace flashmoe::pack {

struct Control {
    std::atomic<bool> cancelled{false};
    /// Called from the job's threads, one call at a time; may be empty.
    std::function<void(std::uint64_t done, std::uint64_t total)> progress;

    void check() const {
        if (cancelled.load(std::memory_order_relaxed)) {
            throw Error("ERR_INTERRUPTED", "stopped before the end");
        }
    }
    void report(std::uint64_t done, std::uint64_t total) const {
        if (progress) progress(done, total);
    }
};

} // namespace flashmoe::pack
