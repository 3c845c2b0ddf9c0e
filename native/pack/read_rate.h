// What a volume delivers for reads of one expert, past the page cache: the rate that bounds tokens per second of a
// model larger than memory. Reads only.
#pragma once

#include "pack/control.h"

#include <cstdint>
#include <string>
#include <vector>

namespace flashmoe::pack {

struct ReadRateJob {
    /// Files to read from, e.g. a model's layer files; those shorter than one read are passed over.
    std::vector<std::string> files;
    /// Bytes of a read; rounded down to whole pages of 16 KiB, since uncached reads are aligned.
    uint64_t read_bytes = 0;
    /// Reads under way at once, each in a thread of its own.
    uint32_t depth = 1;
    double seconds = 1;
    /// Where the pseudo-random walk over the files begins; two jobs of one seed read the same places.
    uint64_t seed = 0;
    /// Through the page cache, as it finds it, for comparing.
    bool cached = false;
};

struct ReadRate {
    uint64_t bytes = 0, reads = 0;
    double seconds = 0;
    /// False where the file system takes no uncached reads: then the figures are partly memory's.
    bool uncached = true;
};

/// Throws ERR_IO for a failed or short read, ERR_INTERRUPTED after a cancel; bytes is 0 when no file is long enough.
ReadRate measure_reads(const ReadRateJob& job, Control& control);

} // namespace flashmoe::pack
