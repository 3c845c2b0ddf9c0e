// One conversation's state: caches, recurrent state, logits after its last token, its random sequence.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "core/engine.h"
#include "core/planes.h"
#include "core/sampler.h"
#include "core/state_file.h"

namespace flashmoe {

/// A length at which the state can be gone back to. Planes are cut back for nothing; what is fixed in size is a copy.
struct Mark {
    uint32_t length;
    PageMemory fixed;
    /// Empty where only the state is known.
    std::vector<float> logits;
};

/// Rows [from, to) of the planes; equal: what is fixed in size, behind so many tokens.
struct StateFile {
    std::string path;
    uint32_t from, to;
};

class Session {
  public:
    using Progress = std::function<bool(uint64_t done, uint64_t total)>;

    /// Throws FM_CONTEXT when the model or the memory doesn't allow max_tokens.
    Session(std::shared_ptr<Engine> engine, uint32_t max_tokens);

    const Engine& engine() const { return *engine_; }
    uint32_t length() const { return length_; }
    /// Of caches that grow: what there is memory for now.
    uint64_t cache_bytes() const { return planes_.bytes(); }

    /// Lengths at which later prefills leave a mark; replaces the ones asked for before.
    void mark_at(std::vector<uint32_t> lengths);
    /// A mark here, with logits.
    void mark();
    /// The largest length up to `limit` that rewind() takes.
    uint32_t reachable(uint32_t limit) const;
    /// Back to a mark, to the present length, to 0, or anywhere where no layer's state is fixed in size. Also after a
    /// failure that left the state unusable.
    void rewind(uint32_t length);

    fm_step_stats prefill(const int32_t* tokens, size_t count, const Progress& progress);
    fm_step_stats decode(int32_t token);
    void evaluate(const int32_t* tokens, size_t count, float* logits, float* const* hidden, const Progress& progress);

    const std::vector<float>& logits() const;
    uint32_t sample(const fm_sampling& params) { return sampler_.sample(logits().data(), params); }
    void seed(uint64_t seed) { sampler_.seed(seed); }

    void reset();
    std::unique_ptr<Session> fork() const;
    /// Makes the state that of `count` tokens: from `files`, whose ranges follow each other up to there and begin no later
    /// than what the state has of the same tokens already; the last may go on behind. Where state of fixed size is, a
    /// file of that comes last. Leaves a mark, no logits, and of the earlier marks those that are in what stays. When it
    /// throws the state is as before or, where a file's damage showed late, empty.
    void restore(const int32_t* tokens, uint32_t count, uint64_t key, const std::vector<StateFile>& files,
                 const StateProgress& progress);

  private:
    friend class Snapshot;
    friend class Decoder;
    void check(const int32_t* tokens, size_t count) const;
    void usable() const;
    /// Of so many tokens, those that go through the layers together first.
    uint32_t pass_of(size_t count) const;
    void run(const int32_t* tokens, size_t count, float* logits, float* const* hidden, const Progress& progress, StepMeter& meter);
    /// The state is as before when it throws.
    void run_chunk(Activations& activations, const int32_t* tokens, uint32_t count, const StepOutput& output,
                   const std::function<bool(uint32_t)>& keep_going, StepMeter& meter);
    /// What of a step with a token of several sessions is this one's; in somebody's turn. Its references live until end_token().
    Part begin_token(int32_t token);
    void end_token(bool is_done);
    /// The marks that were asked for within the next `count` tokens begin.
    void begin_marks(uint32_t count);
    /// So many tokens are in the state, and the marks that were begun.
    void appended(uint32_t count);
    /// Calls visit(pointer, bytes) for each part of the state that `length` tokens fill.
    template <typename Visit> void for_each_part(uint32_t length, Visit&& visit) const;
    /// What a file of that range holds; the fixed state is that of `mark`, else the session's own.
    std::vector<StatePart> parts_of(uint32_t from, uint32_t to, const Mark* mark) const;
    void keep(std::shared_ptr<const Mark> mark);
    std::shared_ptr<Mark> new_mark(uint32_t length) const;
    const Mark* mark_of(uint32_t length) const;
    void unpinned(uint32_t length) const;

    std::shared_ptr<Engine> engine_;
    uint32_t max_tokens_, length_ = 0;
    Planes planes_;
    PageMemory fixed_;
    WrappedBuffer fixed_buffer_;
    std::vector<LayerState> layers_;
    uint64_t fixed_bytes_ = 0;
    std::vector<float> logits_;
    /// By length.
    std::vector<std::shared_ptr<const Mark>> marks_;
    std::vector<uint32_t> asked_marks_;
    /// Of the step that is made.
    std::vector<std::shared_ptr<Mark>> begun_marks_;
    std::vector<StepMark> places_;
    int32_t token_ = 0;
    StepOutput token_output_;
    /// Tokens of the state that a snapshot reads; 0 = none does.
    std::atomic<uint32_t> pinned_{0};
    Sampler sampler_;
    /// False after a failure that left recurrent state half advanced.
    bool valid_ = true;
};

/// The planes of a session up to a length and its marks up to there, for writing them out while the session goes on:
/// steps only append. Until it is gone the session can't go back below that length.
class Snapshot {
  public:
    /// Throws FM_ENGINE where the session is shorter, or another snapshot is out.
    Snapshot(std::shared_ptr<Session> session, uint32_t length);
    ~Snapshot() { session_->pinned_.store(0); }
    Snapshot(const Snapshot&) = delete;
    Snapshot& operator=(const Snapshot&) = delete;

    /// From any thread. `tokens` are as many as the length; see write_state_file. Throws FM_ENGINE for a range that the
    /// snapshot doesn't have, or a length without a mark.
    uint64_t save(const StateFile& file, const int32_t* tokens, uint64_t key, const StateProgress& progress) const;

  private:
    std::shared_ptr<Session> session_;
    uint32_t length_;
    std::vector<std::shared_ptr<const Mark>> marks_;
};

} // namespace flashmoe
