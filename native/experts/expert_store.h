// Where experts are when they are needed: in the mapped layer files, in a pool of memory, or on their way from the disk.
// Threads of its own read what isn't there, straight to its place. A step asks for a layer's experts by an ExpertLease,
// which is the only way to have any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/thread_group.h"
#include "experts/expert_files.h"
#include "experts/expert_pool.h"

namespace flashmoe {

struct ExpertCounters {
    /// Read from the files, whether or not the page cache had them.
    uint64_t bytes = 0, reads = 0;
    /// Experts that steps asked for, and those of them that were in memory already.
    uint64_t uses = 0, hits = 0;
    /// How often and how long computing stood still for an expert.
    uint64_t waits = 0;
    double waited_seconds = 0;
};

/// Of a router's answer that is none.
inline constexpr const char* kNoExpert = "the router chose no expert: what it was given is not finite";

/// An expert by layer and number.
struct ExpertName {
    uint32_t layer, expert;
    bool operator==(const ExpertName&) const = default;
};

class ExpertStore {
  public:
    /// `pool_bytes` is not looked at where the files are mapped.
    ExpertStore(Backend& backend, ExpertFiles& files, uint64_t pool_bytes, uint32_t threads);
    ExpertStore(const ExpertStore&) = delete;

    /// Between steps. What is cached stays as far as it fits.
    void resize(uint64_t bytes);
    /// Bytes of the pool, and experts in it.
    uint64_t pool_bytes() const;
    uint32_t held() const;
    ExpertCounters counters() const;
    const ExpertLayer& layer(uint32_t index) const { return files_.layer(index); }
    /// Of experts that are all in memory, where those of a layer lie; null where they aren't, or the backend can't use it. Good
    /// until the next resize().
    const ExpertTable* table(uint32_t layer);
    /// That a table was used: [tokens, top_k] numbers as the device wrote them. Throws FM_ENGINE where one is none.
    void used(uint32_t layer, const uint32_t* ids, uint32_t count);
    /// The device has done everything: what it read may be overwritten.
    void device_is_done();

    /// Experts in the pool, most used first, at most `most`.
    std::vector<ExpertName> hottest(size_t most) const;
    /// Reads experts into the pool while nobody waits for others, as long as there is free room.
    void warm(std::vector<ExpertName> experts);
    /// Waits until all of those are there, or there is no more room.
    void finish_warming();

  private:
    friend class ExpertLease;
    enum class State : uint8_t { waiting, reading, ready, failed, taken };
    /// One expert of the lease.
    struct Item {
        uint32_t range = ExpertPool::kNone;
        State state = State::waiting;
        /// It was not there; and it stays when it is done with.
        bool was_read = false, keep = true;
    };
    struct Job {
        ExpertName name;
        /// kNone: of a mapped file, whose pages are to be there.
        uint32_t range;
    };

    void take_room(uint64_t bytes);
    void make_tables();
    void heat_up(uint32_t layer, uint32_t expert, uint32_t times);
    void begin(uint32_t layer, const uint32_t* experts, const uint32_t* counts, uint32_t count, bool in_order);
    void issue();
    void end() noexcept;
    void stop();
    void work();
    uint32_t claim(Job* jobs);
    bool claim_warming(Job* jobs);
    void read(const Job* jobs, uint32_t count, std::unique_lock<std::mutex>& lock);
    void settle(const Job& job, bool whole, const std::string& failure);
    void choose_kept(const uint32_t* counts);
    uint32_t most_ahead() const;

    Backend& backend_;
    ExpertFiles& files_;
    const uint32_t experts_;
    ExpertPool pool_;
    /// How often each expert was chosen, halved now and then.
    std::vector<uint32_t> heat_;
    /// By layer, and the memory of their places; empty until all is there.
    std::vector<ExpertTable> tables_;
    PageMemory places_;
    WrappedBuffer places_buffer_;
    /// Of mapped files: read once already.
    std::vector<bool> touched_;

    mutable std::mutex mutex_;
    std::condition_variable work_changed_, result_changed_;
    /// The lease's.
    const uint32_t* asked_ = nullptr;
    uint32_t layer_ = 0, count_ = 0, issued_ = 0, next_ = 0, taken_ = 0;
    /// Read or being read, and not given back.
    uint32_t ahead_ = 0;
    bool in_order_ = false;
    std::vector<Item> items_;
    std::string failure_;
    /// Ranges that a device may still read.
    std::vector<uint32_t> in_use_;
    std::vector<uint32_t> ranks_;

    /// Read by one of the threads or about to be; demanded ones first.
    std::vector<Job> jobs_;
    size_t claimed_ = 0;
    std::vector<ExpertName> warming_;
    /// Reads under way; experts of those that somebody waits for.
    uint32_t in_flight_ = 0, demanded_ = 0;
    ExpertCounters counters_;
    bool stopping_ = false;
    /// Last: its end comes before that of all it looks at.
    std::optional<ThreadGroup> threads_;
};

/// A layer's experts, asked for together. Its end stops reading ahead and waits for what is in flight, so that no read
/// outlives the step that asked for it, however that step ends; what was handed out keeps its place until
/// ExpertStore::device_is_done().
class ExpertLease {
  public:
    /// `experts`, ascending, and `counts`, how many tokens chose each, stay valid for the extent of this. Of one store there is
    /// one at a time. `in_order`: they are wanted in that order and are many; of those that have to be read only the layer's most
    /// chosen stay, so that a prompt doesn't cost the pool what was hot before.
    ExpertLease(ExpertStore& store, uint32_t layer, const uint32_t* experts, const uint32_t* counts, uint32_t count, bool in_order)
        : store_(store) {
        store_.begin(layer, experts, counts, count, in_order);
    }
    ~ExpertLease() { store_.end(); }
    ExpertLease(const ExpertLease&) = delete;
    ExpertLease& operator=(const ExpertLease&) = delete;

    static constexpr uint32_t kNone = UINT32_MAX;

    /// The index of an expert whose bytes are there, each once; kNone when none is there that wasn't handed out. `wait`: waits for
    /// one as long as one is to come. Throws FM_IO naming file, expert and offset when a read failed.
    uint32_t next(bool wait);
    Span at(uint32_t index) const;
    /// Some of them weren't there when they were asked for; and all have been handed out.
    bool reads() const;
    bool is_done() const;
    /// Reading can't go on until something is given back.
    bool wants_room() const;
    /// Computed: its place may be used again.
    void release(uint32_t index);

  private:
    ExpertStore& store_;
};

} // namespace flashmoe
