// Byte ranges of source files into places of one target file.
#pragma once

#include "pack/control.h"

#include <string>
#include <vector>

namespace flashmoe::pack {

struct CopyRange {
    std::string source;
    std::uint64_t source_offset = 0;
    std::uint64_t target_offset = 0;
    std::uint64_t size = 0;
};

struct CopyJob {
    std::string target;
    std::vector<CopyRange> ranges;
    bool sync = true;
};

/// Bytes copied. Ranges of the target must not overlap; every source is checked to be long enough before the first
/// byte is written.
std::uint64_t copy_ranges(const CopyJob& job, const Control& control);

/// sha256 in hex of a whole file, and its size.
struct FileHash {
    std::string sha256;
    std::uint64_t bytes = 0;
};
FileHash hash_file(const std::string& path, const Control& control);

} // namespace flashmoe::pack
