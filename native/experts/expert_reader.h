// Reads experts ahead of the computation: persistent threads, one pread an expert, a ring of page-aligned slots.
// ExpertReads names a layer's experts in the order they will be used, and hands them out in that order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/memory.h"
#include "core/thread_group.h"
#include "core/wrapped_buffer.h"
#include "experts/expert_files.h"

namespace flashmoe {

struct ReadCounters {
    uint64_t bytes = 0, reads = 0;
    /// How long next() stood still.
    double waited_seconds = 0;
};

class ExpertReader {
  public:
    ExpertReader(Backend& backend, uint64_t slot_bytes, uint32_t slots, uint32_t threads);
    ExpertReader(const ExpertReader&) = delete;
    ExpertReader& operator=(const ExpertReader&) = delete;

    uint32_t slots() const { return static_cast<uint32_t>(slots_.size()); }

    ReadCounters counters() const;

  private:
    enum class State : uint8_t { empty, reading, ready, failed };

    friend class ExpertReads;
    void begin(const ExpertLayer& layer, const uint32_t* experts, uint32_t count);
    Span next();
    bool is_next_ready();
    void release(uint32_t count);
    void finish();
    void work();
    void stop();
    std::string read_expert(uint32_t expert, std::byte* target);

    PageMemory memory_;
    WrappedBuffer buffer_;
    uint64_t slot_bytes_;

    mutable std::mutex mutex_;
    std::condition_variable work_changed_, result_changed_;
    const ExpertLayer* layer_ = nullptr;
    const uint32_t* experts_ = nullptr;
    /// Jobs [0, count_): claimed by readers up to issued_, handed out up to taken_, their slots free up to released_.
    uint32_t count_ = 0, issued_ = 0, taken_ = 0, released_ = 0, in_flight_ = 0;
    /// Of slot i; job j uses slot j % slots.
    std::vector<State> slots_;
    std::vector<std::string> failures_;
    ReadCounters counters_;
    bool stopping_ = false;
    /// Last: its end comes before that of all it looks at.
    ThreadGroup threads_;
};

/// A layer's reads under way, the only way to have any. Its end stops reading ahead and waits for what is in flight, so
/// that no read outlives the step that asked for it, however that step ends.
class ExpertReads {
  public:
    /// `experts` stays valid for the extent of this. Of one reader there is one at a time.
    ExpertReads(ExpertReader& reader, const ExpertLayer& layer, const uint32_t* experts, uint32_t count) : reader_(reader) {
        reader_.begin(layer, experts, count);
    }
    ~ExpertReads() { reader_.finish(); }
    ExpertReads(const ExpertReads&) = delete;
    ExpertReads& operator=(const ExpertReads&) = delete;

    uint32_t slots() const { return reader_.slots(); }
    /// Start of the next expert's bytes. Waits; throws FM_IO naming file, expert and offset when its read failed.
    Span next() { return reader_.next(); }
    /// True when next() wouldn't wait.
    bool is_next_ready() { return reader_.is_next_ready(); }
    /// Gives back the oldest `count` slots that next() handed out.
    void release(uint32_t count) { reader_.release(count); }

  private:
    ExpertReader& reader_;
};

} // namespace flashmoe
