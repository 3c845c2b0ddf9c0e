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

/// Of which a chain has one link each; a multiple of sha256's own 64 bytes.
constexpr std::uint64_t kBlockBytes = std::uint64_t{16} << 20;

/// sha256 in hex of a whole file, its size, and its chain: the hash's inner state in hex after each block but the last,
/// where it is the sha256.
struct FileHash {
    std::string sha256;
    std::uint64_t bytes = 0;
    std::vector<std::string> chain;
};
FileHash hash_file(const std::string& path, const Control& control);

/// Blocks of a file that don't lead from one link of its chain to the next. ERR_PLAN for a chain of another length.
struct BlockCheck {
    std::vector<std::uint64_t> bad;
    std::uint64_t bytes = 0;
};
BlockCheck check_blocks(const std::string& path, const std::vector<std::string>& chain, const Control& control);

} // namespace flashmoe::pack
