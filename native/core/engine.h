// An open model and the machinery that steps it: backend, weights, expert files and readers, room for one step.
// Sessions share it; one step runs at a time.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "core/model.h"
#include "experts/expert_files.h"
#include "experts/expert_store.h"

namespace flashmoe {

struct EngineOptions {
    std::string model_dir, experts_dir;
    uint32_t threads, io_threads, token_limit, experts_per_token;
    Caching expert_caching;
    bool exact_caches;
    /// Experts stay where their files are mapped, if the backend takes that; otherwise in so many bytes of memory.
    bool map_experts = false;
    uint64_t expert_bytes = 0;
};

/// Tokens that go through a layer together in prefill: each chosen expert is read once for all of them.
constexpr uint32_t kChunkTokens = 1024;

/// Where a step's results go; null = not wanted.
struct StepOutput {
    /// [vocab], of the last token.
    float* last_logits = nullptr;
    /// [tokens, vocab].
    float* logits = nullptr;
    /// layers + 1 pointers to [tokens, hidden].
    float* const* hidden = nullptr;
};

/// A session's state as a step sees it: one entry a layer.
struct StepState {
    const std::vector<LayerState>& layers;
    /// Tokens before the step.
    uint32_t position;
};

/// Where a step leaves a copy of what is fixed in size, as it is after its first `tokens` tokens: laid out as the
/// session's own.
struct StepMark {
    uint32_t tokens;
    std::byte* fixed;
};

class Engine {
  public:
    Engine(const EngineOptions& options, std::unique_ptr<Backend> backend);

    const EngineOptions& options() const { return options_; }
    Backend& backend() { return *backend_; }
    const Model& model() const { return *model_; }
    fm_engine_info info() const;
    /// Of weights, experts, top-k and `program`: states of engines with equal keys are exchangeable.
    uint64_t state_key(const std::string& program) const;
    /// From here on steps add up what the experts' channels carry; null from observed() before.
    void observe();
    const ExpertObserver* observed() const { return observer_.get(); }
    BackendCounters device_counters() const { return backend_->counters(); }
    ExpertCounters expert_counters() const { return experts_ ? experts_->counters() : ExpertCounters{}; }
    /// Null when the model has no experts.
    ExpertStore* experts() { return experts_.get(); }

    /// Runs up to kChunkTokens tokens through the model, layer by layer; keep_going is asked before each layer with
    /// the number of layers done. Throws; the caller then owns the question what the state is worth.
    /// `marks`, in ascending order, cost no reads: only the mixers' batches end there.
    void step(const StepState& state, const int32_t* tokens, uint32_t count, const std::vector<StepMark>& marks,
              const StepOutput& output,
              const std::function<bool(uint32_t)>& keep_going);
    /// Sizes the room for steps of up to `tokens` tokens and `logit_rows` rows of logits at a time.
    void reserve(uint32_t tokens, uint32_t logit_rows);
    /// Back to room for single tokens.
    void shrink() noexcept;

    /// Held for the duration of a step.
    std::mutex step_mutex;

  private:
    struct Room {
        PageMemory memory;
        WrappedBuffer buffer;
        uint32_t tokens = 0, logit_rows = 0;
        /// i32 [tokens]; f32 [tokens, hidden] each; f32 [rows, vocab]; the rest of blocks' needs.
        Span ids, h, m, y, logits, scratch;
        /// One a rope of the model, [tokens, dims / 2, 2].
        std::vector<Span> ropes;
    };

    void run_step(const StepState& state, uint32_t count, const std::vector<StepMark>& marks, const StepOutput& output,
                  const std::function<bool(uint32_t)>& keep_going);
    /// Tokens and rotations into the room.
    void prepare(const StepState& state, const int32_t* tokens, uint32_t count, const StepOutput& output);
    /// Waits for whatever is under way, after a failure.
    void require_features() const;
    void settle() noexcept;
    void tabulate_ropes(uint32_t position, uint32_t tokens);
    /// From the normed input in m to the next layer's.
    void run_layer(const StepState& state, uint32_t index, uint32_t tokens, const std::vector<StepMark>& marks);
    void run_mlp(uint32_t index, uint32_t tokens);
    void write_logits(uint32_t count, const StepOutput& output);
    Batch batch_at(uint32_t first, uint32_t count, uint32_t position);
    Span row(Span base, uint32_t index) const { return base + size_t{index} * model_->hidden * sizeof(float); }

    EngineOptions options_;
    std::unique_ptr<Backend> backend_;
    DenseManifest manifest_;
    std::unique_ptr<DenseWeights> weights_;
    std::unique_ptr<ExpertFiles> files_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<ExpertStore> experts_;
    std::unique_ptr<ExpertObserver> observer_;
    Room room_;
    RoutingRoom routing_;
    std::vector<RopeTable> tables_;
};

} // namespace flashmoe
