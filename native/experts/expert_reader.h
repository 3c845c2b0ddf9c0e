// Reads experts ahead of the computation: persistent threads, one pread an expert, a ring of page-aligned slots.
// begin() names a layer's experts in the order they will be used; next() hands them out in that order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "core/memory.h"
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
    ~ExpertReader();
    ExpertReader(const ExpertReader&) = delete;
    ExpertReader& operator=(const ExpertReader&) = delete;

    uint32_t slots() const { return static_cast<uint32_t>(slots_.size()); }

    /// `experts` stays valid until finish(). Nothing else may be under way.
    void begin(const ExpertLayer& layer, const uint32_t* experts, uint32_t count);
    /// Start of the next expert's bytes. Waits; throws FM_IO naming file, expert and offset when its read failed.
    Span next();
    /// True when next() wouldn't wait.
    bool is_next_ready();
    /// Gives back the oldest `count` slots that next() handed out.
    void release(uint32_t count);
    /// Stops reading ahead and waits for reads in flight; also after a failure.
    void finish();

    ReadCounters counters() const;

  private:
    enum class State : uint8_t { empty, reading, ready, failed };

    void work();
    std::string read_expert(uint32_t expert, std::byte* target);

    Backend& backend_;
    PageMemory memory_;
    Buffer buffer_;
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
    std::vector<std::thread> threads_;
};

} // namespace flashmoe
