// The writing end of a tape: bytes of shards in, in any order; hashed and placed in the order of the tape, so that
// nothing is held but pieces under way. docs/provisioning.md says what a tape is and what a crash costs.
#pragma once

#include "pack/control.h"
#include "core/file.h"
#include "pack/mark.h"
#include "pack/placer.h"
#include "pack/sha256.h"
#include "pack/tape_items.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace flashmoe::pack {

/// The digest of a shard that was not what its seal says.
struct Mismatch {
    std::uint64_t item = 0;
    std::string sha256;
};

struct TapeProgress {
    std::uint64_t placed = 0;
    std::uint64_t sealed = 0;
    std::vector<Interval> received;
    std::optional<Mismatch> mismatch;
};

struct Checkpoint {
    TapeState state;
    /// Of what is placed, by items that the journal may not know; the last one may be under way.
    ItemErrors errors;
};

class TapeWriter {
  public:
    /// Called once from a thread of the writer: null, or why the bytes were not taken.
    using Done = std::function<void(std::exception_ptr)>;

    /// Goes on from the mark where it is of this tape, this boot and further than `job.from`; starts the threads.
    explicit TapeWriter(TapeJob job);
    ~TapeWriter();
    TapeWriter(const TapeWriter&) = delete;
    TapeWriter& operator=(const TapeWriter&) = delete;

    /// The spans must stay as they are until `done`. Bytes that are there already are ignored.
    void put(std::uint64_t position, std::vector<std::span<const std::uint8_t>> spans, Done done);
    TapeProgress progress();
    /// Syncs every file written since the last checkpoint. With `drain` all that was put is placed first. The errors of
    /// the items before `journalled` need not be told any more.
    Checkpoint checkpoint(bool drain, std::uint64_t journalled, const Control& control);
    /// Seals before an item.
    std::uint64_t sealed(std::uint64_t item) const { return seals_[item]; }
    void release(std::size_t file) { files_.release(file); }
    /// Ends the threads; waiting puts fail with ERR_INTERRUPTED.
    void close();

  private:
    struct Put {
        std::uint64_t position;
        std::uint64_t size;
        std::vector<std::span<const std::uint8_t>> spans;
        Done done;
    };
    /// A step of the cursor that is not yet in its file; `after` is where the tape stands once it is.
    struct Step {
        Piece piece;
        TapeState after;
        quant::ErrorSums sums;
        bool done = false;
    };
    using Lock = std::unique_lock<std::mutex>;

    void spool_loop();
    void cursor_loop();
    void place_loop();
    void take_bytes(const TapeItem& item);
    void recall(const TapeItem& item);
    void seal(const TapeItem& item);
    void pass(Piece piece, bool to_place);
    void settle();
    void wait(Lock& lock, const std::function<bool()>& until);
    void write_to_spool(const Put& put, std::uint64_t from);
    void read_from_spool(std::vector<std::uint8_t>& to, std::uint64_t at) const;
    void receive(std::uint64_t start, std::uint64_t end);
    void write_mark();
    bool has(std::uint64_t start, std::uint64_t end) const;
    /// The cursor goes no further with what was put so far.
    bool starved() const { return ended_ || (needed_ && !has(needed_->start, needed_->end)); }
    std::vector<std::uint8_t> buffer(std::uint64_t size);
    void fail(std::exception_ptr failure);
    void run(void (TapeWriter::*loop)());

    const TapeJob job_;
    const std::vector<std::uint64_t> starts_;
    std::vector<std::uint64_t> seals_;
    const std::uint64_t piece_bytes_;
    TapeFiles files_;
    Placer placer_;
    File spool_;
    MarkFile mark_;

    std::mutex mutex_;
    std::mutex syncing_;
    std::mutex ending_;
    std::condition_variable changed_;
    std::deque<Put> puts_;
    bool spooling_ = false;
    /// Of what was put and is not placed: start → end, disjoint.
    std::map<std::uint64_t, std::uint64_t> received_;
    std::deque<std::shared_ptr<Step>> steps_;
    std::deque<std::shared_ptr<Step>> to_place_;
    TapeState placed_;
    /// Added up in the order of the tape, so that neither threads nor interruptions change them.
    ItemErrors errors_;
    std::optional<Mismatch> mismatch_;
    std::exception_ptr failure_;
    bool closing_ = false;
    /// Bytes that the cursor waits for; and whether it has come to the end.
    std::optional<Interval> needed_;
    bool ended_ = false;
    std::vector<std::vector<std::uint8_t>> free_;

    /// The cursor thread's own.
    TapeState cursor_;
    Sha256 hash_;

    std::vector<std::thread> threads_;
};

} // namespace flashmoe::pack
