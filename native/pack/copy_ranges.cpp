#include "pack/copy_ranges.h"

#include "core/file.h"
#include "pack/sha256.h"

#include <algorithm>
#include <map>

namespace flashmoe::pack {

namespace {

// Large enough for a disk to stream, small enough to stop within milliseconds.
constexpr std::uint64_t kChunk = std::uint64_t{4} << 20;
// File offsets are signed 64-bit; half of that leaves every sum below exact.
constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 62;

void check_ranges(const CopyJob& job) {
    std::vector<const CopyRange*> sorted;
    for (const auto& range : job.ranges) {
        for (const auto value : {range.source_offset, range.target_offset, range.size}) {
            if (value >= kMaxOffset) fail_plan(range.source + ": a range beyond any file");
        }
        sorted.push_back(&range);
    }
    std::sort(sorted.begin(), sorted.end(),
              [](auto* a, auto* b) { return a->target_offset < b->target_offset; });
    std::uint64_t end = 0;
    for (const auto* range : sorted) {
        if (range->target_offset < end) {
            fail_plan(job.target + ": two ranges claim offset " + std::to_string(range->target_offset));
        }
        end = range->target_offset + range->size;
    }
}

} // namespace

std::uint64_t copy_ranges(const CopyJob& job, const Control& control) {
    check_ranges(job);
    std::map<std::string, File> sources;
    std::uint64_t total = 0;
    for (const auto& range : job.ranges) {
        auto [entry, is_new] = sources.try_emplace(range.source);
        if (is_new) entry->second = File::open_source(range.source);
        if (range.source_offset + range.size > entry->second.size()) {
            throw Error("ERR_IO", range.source + ": is " + std::to_string(entry->second.size()) +
                                        " bytes, but bytes up to " +
                                        std::to_string(range.source_offset + range.size) + " are needed");
        }
        total += range.size;
    }
    const File target = File::open_target(job.target, false);
    std::vector<std::byte> buffer(std::min(kChunk, total));
    std::uint64_t done = 0;
    for (const auto& range : job.ranges) {
        const File& source = sources.at(range.source);
        for (std::uint64_t at = 0; at < range.size;) {
            control.check();
            const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), range.size - at));
            source.read_at(buffer.data(), size, range.source_offset + at);
            target.write_at(buffer.data(), size, range.target_offset + at);
            at += size;
            done += size;
            control.report(done, total);
        }
    }
    if (job.sync) target.sync();
    return done;
}

namespace {

std::uint64_t block_count(std::uint64_t size) { return size == 0 ? 1 : (size + kBlockBytes - 1) / kBlockBytes; }

constexpr std::size_t kWordBytes = 32;

/// The inner state alone: at the end of a block nothing is left over.
std::string words_hex(const Sha256& hash) {
    const auto state = hash.save();
    return hex_of(state.data(), kWordBytes);
}

Sha256 after_block(const std::string& link, std::uint64_t length) {
    Sha256::State state{};
    const auto words = bytes_of_hex(link);
    if (words.size() != kWordBytes) fail_plan("checkBlocks: a link of the chain is no state of sha256");
    std::copy(words.begin(), words.end(), state.begin());
    for (std::size_t i = 0; i < 8; ++i) state[kWordBytes + i] = static_cast<std::uint8_t>(length >> (8 * i));
    return Sha256::restore(state);
}

} // namespace

FileHash hash_file(const std::string& path, const Control& control) {
    const File file = File::open_source(path);
    std::vector<std::byte> buffer(std::min(kChunk, file.size()));
    Sha256 hash;
    FileHash result;
    while (hash.length() < file.size()) {
        control.check();
        const auto size =
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size() - hash.length()));
        file.read_at(buffer.data(), size, hash.length());
        hash.update(buffer.data(), size);
        // Chunks divide blocks.
        const bool ends_block = hash.length() % kBlockBytes == 0 && hash.length() < file.size();
        if (ends_block) result.chain.push_back(words_hex(hash));
        control.report(hash.length(), file.size());
    }
    result.sha256 = hash.hex();
    result.bytes = hash.length();
    result.chain.push_back(result.sha256);
    return result;
}

BlockCheck check_blocks(const std::string& path, const std::vector<std::string>& chain, const Control& control) {
    const File file = File::open_source(path);
    if (chain.size() != block_count(file.size())) {
        fail_plan("checkBlocks: " + path + " has " + std::to_string(block_count(file.size())) + " blocks, the chain " +
                  std::to_string(chain.size()));
    }
    std::vector<std::byte> buffer(std::min(kChunk, file.size()));
    BlockCheck result;
    for (std::size_t block = 0; block < chain.size(); ++block) {
        const std::uint64_t start = block * kBlockBytes;
        const std::uint64_t end = std::min(start + kBlockBytes, file.size());
        Sha256 hash = block == 0 ? Sha256() : after_block(chain[block - 1], start);
        for (std::uint64_t at = start; at < end;) {
            control.check();
            const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - at));
            file.read_at(buffer.data(), size, at);
            hash.update(buffer.data(), size);
            at += size;
            control.report(at, file.size());
        }
        const bool is_last = block + 1 == chain.size();
        if ((is_last ? hash.hex() : words_hex(hash)) != chain[block]) result.bad.push_back(block);
        result.bytes = end;
    }
    return result;
}

} // namespace flashmoe::pack
