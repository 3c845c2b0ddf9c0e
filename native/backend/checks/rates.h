// How fast a backend gets through the operations of a token, in the shapes of large models, and what wrapped memory does
// to the system's wired memory. Ships, because only the machine itself can tell.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"

namespace flashmoe::checks {

struct Rate {
    std::string name;
    /// What one call must read and write once.
    double bytes = 0;
    /// Of one call in a chain of calls, the median of several chains; of it, how long the device was at work (0 on the CPU).
    double seconds = 0, device_seconds = 0;
};

struct Rates {
    std::vector<Rate> operations;
    /// The smallest operation alone, with a wait behind it: what a wait costs.
    double wait_seconds = 0;
};

/// Each operation for about `seconds`, its weights spread over `memory` bytes, so that no cache holds them.
Rates measure_rates(Backend& backend, size_t memory, double seconds);

/// Bytes that the system holds in memory for good, all processes together; -1 where it doesn't say.
double wired_bytes();

/// By how many bytes wired memory grew while a device read all of it.
struct WiredGrowth {
    double mapped_file = 0, allocated = 0;
};

/// `file` is mapped, wrapped and read, then as much allocated memory. All is given back. Throws FM_IO.
WiredGrowth measure_wired(Backend& backend, const std::string& file);

} // namespace flashmoe::checks
