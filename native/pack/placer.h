// Puts a piece of the tape where it belongs: copied, spread over experts, or requantised.
#pragma once

#include "core/file.h"
#include "pack/tape_items.h"
#include "quant/requantise.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace flashmoe::pack {

/// The files of a tape, opened when first used.
class TapeFiles {
  public:
    explicit TapeFiles(const std::vector<TapeFile>& files);

    void write(std::size_t file, const void* from, std::size_t size, std::uint64_t offset);
    void read(std::size_t file, void* to, std::size_t size, std::uint64_t offset);
    /// Syncs what was written since the last time, and the folders of files that are new.
    void sync();
    void release(std::size_t file);

  private:
    struct Entry {
        TapeFile file;
        std::shared_ptr<File> open;
        bool dirty = false;
        bool is_new = true;
    };
    std::shared_ptr<File> opened(std::size_t file);

    std::mutex mutex_;
    std::vector<Entry> entries_;
};

struct Piece {
    std::uint64_t item = 0;
    /// First byte of the piece, counted from the item's first.
    std::uint64_t from = 0;
    std::vector<std::uint8_t> bytes;
};

class Placer {
  public:
    /// `importance`: path of the file of mean squares, or empty.
    Placer(TapeFiles& files, bool search, const std::string& importance);

    /// Any number of threads at once. Returns what requantising left; zeros for bytes that are copied.
    quant::ErrorSums place(const Place& place, const Piece& piece);

  private:
    /// Slices that lie closer than a page: brought together in memory, what is between them stays.
    void weave(const Place& place, const std::uint8_t* bytes, std::uint64_t size, std::uint64_t at);
    /// Of one expert: bytes of one way, `at` counted from the way's first.
    struct Run {
        std::uint64_t expert = 0;
        std::size_t way = 0;
        std::uint64_t at = 0;
        std::vector<std::uint8_t> bytes;
    };
    static std::vector<Run> runs_of(const Place& place, const std::uint8_t* bytes, std::uint64_t size, std::uint64_t at);
    quant::ErrorSums convert(const Place& place, const Run& run);
    void decode(const Place& place, const Run& run, std::vector<float>& values);
    void read_scales(const Place& place, const Run& run, std::uint64_t from, std::vector<std::uint8_t>& to);
    void keep(const Place& place, const Run& run);
    quant::ErrorSums requantise(const Place& place, const std::uint8_t* codes, std::uint64_t size, std::uint64_t at);

    TapeFiles& files_;
    const bool search_;
    File importance_;
    std::mutex weaving_;
};

} // namespace flashmoe::pack
