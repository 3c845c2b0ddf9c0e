// One conversation's state: caches, recurrent state, logits after its last token, its random sequence.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/engine.h"
#include "core/sampler.h"

namespace flashmoe {

class Session {
  public:
    using Progress = std::function<bool(uint64_t done, uint64_t total)>;

    /// Throws FM_CONTEXT when the model or the memory doesn't allow max_tokens.
    Session(std::shared_ptr<Engine> engine, uint32_t max_tokens);
    ~Session();

    const Engine& engine() const { return *engine_; }
    uint32_t length() const { return length_; }

    fm_step_stats prefill(const int32_t* tokens, size_t count, const Progress& progress);
    fm_step_stats decode(int32_t token);
    void evaluate(const int32_t* tokens, size_t count, float* logits, float* const* hidden, const Progress& progress);

    const std::vector<float>& logits() const;
    uint32_t sample(const fm_sampling& params) { return sampler_.sample(logits().data(), params); }
    void seed(uint64_t seed) { sampler_.seed(seed); }

    void reset();
    std::unique_ptr<Session> fork() const;
    size_t save_size() const;
    void save(uint8_t* bytes, size_t size) const;
    void restore(const uint8_t* bytes, size_t size);

  private:
    void check(const int32_t* tokens, size_t count) const;
    void usable() const;
    void run(const int32_t* tokens, size_t count, float* logits, float* const* hidden, const Progress& progress);
    void run_chunk(const int32_t* tokens, uint32_t count, const StepOutput& output,
                   const std::function<bool(uint32_t)>& keep_going);
    /// Calls visit(pointer, bytes) for each part of the state that `length` tokens fill.
    template <typename Visit> void for_each_part(uint32_t length, Visit&& visit) const;

    std::shared_ptr<Engine> engine_;
    uint32_t max_tokens_, length_ = 0;
    PageMemory planes_, fixed_;
    Buffer planes_buffer_, fixed_buffer_;
    std::vector<LayerState> layers_;
    uint64_t fixed_bytes_ = 0;
    std::vector<float> logits_;
    Sampler sampler_;
    /// False after a failure that left recurrent state half advanced.
    bool valid_ = true;
};

} // namespace flashmoe
