// An open model and the machinery that steps it: backend, weights, expert files and readers, room for one step.
// Sessions share it; one layer of one step runs at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/activations.h"
#include "core/decoder.h"
#include "core/model.h"
#include "core/turns.h"
#include "experts/expert_files.h"
#include "experts/expert_store.h"

namespace flashmoe {

struct EngineOptions {
    std::string model_dir, experts_dir;
    uint32_t threads, io_threads, token_limit, experts_per_token;
    Caching expert_caching;
    bool exact_caches = false;
    /// Experts stay where their files are mapped, if the backend takes that; otherwise in so many bytes of memory.
    bool map_experts = false;
    uint64_t expert_bytes = 0;
    /// Of the router's weight, what the experts that are computed carry together; 1: all that were chosen.
    float expert_mass = 1;
    /// The CPU multiplies activations of 8 bits; of the backend, and here for the key of states.
    bool fast = false;
    /// Tokens that go through a layer together in prefill: each chosen expert is there once for all of them.
    uint32_t prefill_tokens = 1024;
};

/// Where a step's results go; null = not wanted.
struct StepOutput {
    /// [vocab], of the last token.
    float* last_logits = nullptr;
    /// [tokens, vocab].
    float* logits = nullptr;
    /// layers + 1 pointers to [tokens, residual], the last to [tokens, hidden].
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

/// Consecutive tokens of one session.
struct Part {
    StepState state;
    const int32_t* tokens;
    uint32_t count;
    const std::vector<StepMark>& marks;
    const StepOutput& output;
};

/// Tokens that a decoding step takes together at most, one of each session. Below what turns a device to products that add in
/// another order (kMatmulTokens): each token's results are those that it has alone.
constexpr uint32_t kMaxTogether = 4;

/// What goes through all layers together, part by part in consecutive rows: a prompt's tokens, or a token of each of several
/// sessions.
struct Pass {
    Activations& activations;
    const Part* parts;
    uint32_t part_count, tokens;
};

class StepMeter;

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

    /// Memory that a pass of prefill takes a token.
    uint64_t prefill_bytes_per_token() const;
    /// Between steps: experts stay in so many bytes of memory from here on.
    void resize_experts(uint64_t bytes);
    /// The pool's most used experts into a file, and those of such a file into the pool while nobody waits. A file of another
    /// model, or none, is no error: nothing is warm then.
    void save_hottest(const std::string& path);
    void warm_from(const std::string& path);

    /// Runs a pass of tokens through the model, layer by layer; keep_going is asked before each layer with the number of
    /// layers done. With more tokens than one of a session shorter steps of others come in between; `meter` stands still for them. Throws; the
    /// caller, who has the turn and has it again, then owns the question what the state is worth.
    /// `marks`, in ascending order, cost no reads: only the mixers' batches end there.
    void step(const Pass& pass, const std::function<bool(uint32_t)>& keep_going, StepMeter& meter);
    /// Room for a token of each session that decodes.
    Activations& together() { return *together_; }
    /// Back to room for those.
    void shrink() noexcept;

    /// Had for the duration of a step.
    Turns turns;
    /// Brings sessions' next tokens together.
    Decoder decoder;

  private:
    /// What a layer needs while it is computed; nothing of it is needed between two.
    struct Scratch {
        PageMemory memory;
        WrappedBuffer buffer;
        uint32_t tokens = 0, logit_rows = 0;
        /// f32 [rows, vocab]; the rest of blocks' needs.
        Span logits, scratch;
    };

    /// The model's features that the backend lacks are an error that names them.
    void require_features() const;
    void reserve(uint32_t tokens, uint32_t logit_rows);
    void run(const Pass& pass, const std::function<bool(uint32_t)>& keep_going, StepMeter& meter);
    /// To steps that are no longer.
    void give_way(const Pass& pass, StepMeter& meter);
    void see_chosen();
    /// Waits for whatever is under way, after a failure.
    void settle() noexcept;
    /// The pass's n-gram rows begin to be read.
    void read_ahead(const Pass& pass);
    /// From the residual, and where it is one stream its norm in m, to the next layer's.
    void run_layer(const Pass& pass, uint32_t index, StepMeter& meter);
    /// The mixer's part of a layer for the part that begins at row `begin`, and the mlp's input in m.
    void run_mixer(const Pass& pass, uint32_t part, uint32_t begin, uint32_t index, StepMeter& meter);
    void run_mixer(const Pass& pass, uint32_t part, uint32_t begin, uint32_t index, uint32_t first, uint32_t count);
    /// What `connection` makes of all streams in m.
    void take(const Pass& pass, const HyperConnection& connection);
    void run_mlp(const Pass& pass, uint32_t index);
    void write_logits(const Pass& pass);
    /// Rows from `row` on, whose first token is behind `position`.
    Batch batch_at(const Pass& pass, uint32_t row, uint32_t count, uint32_t position);

    EngineOptions options_;
    std::unique_ptr<Backend> backend_;
    DenseManifest manifest_;
    std::unique_ptr<DenseWeights> weights_;
    std::unique_ptr<ExpertFiles> files_;
    std::unique_ptr<Model> model_;
    /// Null without n-gram rows.
    std::unique_ptr<RowReader> row_reader_;
    std::unique_ptr<ExpertStore> experts_;
    std::unique_ptr<ExpertObserver> observer_;
    std::unique_ptr<Activations> together_;
    Scratch scratch_;
    RoutingRoom routing_;
};

} // namespace flashmoe
