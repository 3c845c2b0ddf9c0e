#include "core/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/hash.h"

namespace flashmoe {
namespace {

// What streaming takes at least: two experts, so that a read overlaps a computation, and where that is not much all of a
// token's of one layer, so that a GPU takes them in one go and nobody waits for room.
constexpr uint64_t kStreamMemory = 96u << 20;
constexpr uint32_t kMostStreamed = 32;

uint64_t least_expert_bytes(uint64_t stride, uint32_t top_k) {
    return stride * std::clamp<uint64_t>(kStreamMemory / stride, std::clamp(top_k, 2u, kMostStreamed), kMostStreamed);
}

} // namespace

Engine::Engine(const EngineOptions& options, std::unique_ptr<Backend> backend)
    : options_(options), backend_(std::move(backend)),
      manifest_(read_dense_manifest(options.model_dir + "/model_weights.json")),
      weights_(std::make_unique<DenseWeights>(*backend_, options.model_dir, manifest_)),
      files_(std::make_unique<ExpertFiles>(options.experts_dir, manifest_.spec, options.expert_caching)),
      model_(std::make_unique<Model>(manifest_.spec, ModelOptions{options.experts_per_token, options.exact_caches}, *weights_)) {
    require_features();
    if (files_->largest_stride() != 0) {
        if (options.map_experts && backend_->takes_mapped_files()) files_->map(*backend_);
        const uint64_t least = least_expert_bytes(files_->largest_stride(), model_->max_top_k);
        experts_ = std::make_unique<ExpertStore>(*backend_, *files_, std::max(options.expert_bytes, least),
                                                 std::max(options.io_threads, 1u));
    }
    tables_.resize(model_->ropes.all().size());
    reserve(1, 1);
    weights_->require_intact();
}

void Engine::require_features() const {
    const uint32_t missing = model_->features & ~backend_->features();
    std::string names;
    for (uint32_t i = 0; i < kFeatures; ++i) {
        if ((missing >> i & 1) != 0) names += (names.empty() ? "" : ", ") + std::string(kFeatureNames[i]);
    }
    if (!names.empty()) {
        fail(FM_UNSUPPORTED_MODEL, "the ", backend_->name(), " backend can't compute this model: it has no ", names,
             "; the cpu backend has them");
    }
}

fm_engine_info Engine::info() const {
    fm_engine_info info{.backend = backend_->name(),
                        .isa = backend_->isa(),
                        .vocab_size = model_->vocab,
                        .max_positions = model_->max_positions,
                        .layers = static_cast<uint32_t>(model_->layers.size()),
                        .hidden_size = model_->hidden,
                        .experts_per_token = model_->max_top_k,
                        .dense_bytes = weights_->mapped_bytes(),
                        .expert_bytes_per_token = 0,
                        .state_bytes = 0,
                        .kv_bytes_per_token = 0};
    for (uint32_t i = 0; i < model_->layers.size(); ++i) {
        const Layer& layer = model_->layers[i];
        const StateShape shape = layer.mixer->state_shape();
        info.state_bytes += shape.fixed_bytes;
        info.kv_bytes_per_token += shape.bytes_per_token();
        if (const auto* moe = std::get_if<Moe>(&layer.mlp)) {
            info.expert_bytes_per_token += moe->top_k() * files_->layer(i).expert_size;
        }
    }
    return info;
}

uint64_t Engine::state_key(const std::string& program) const {
    const uint64_t parts[4] = {manifest_.fingerprint, files_->fingerprint(), model_->max_top_k, options_.exact_caches ? 1u : 0u};
    return hash_bytes(parts, sizeof parts, hash_bytes(program.data(), program.size()));
}

void Engine::observe() {
    const std::lock_guard lock(step_mutex);
    if (observer_ == nullptr) observer_ = std::make_unique<ExpertObserver>(*backend_, static_cast<uint32_t>(model_->layers.size()));
}

void Engine::reserve(uint32_t tokens, uint32_t logit_rows) {
    if (tokens == room_.tokens && logit_rows == room_.logit_rows) return;
    const Model& model = *model_;
    const size_t floats = size_t{tokens} * model.hidden;
    const size_t batch = std::min(tokens, kMaxBatchTokens);
    std::vector<std::pair<Span*, size_t>> parts;
    room_.ropes.resize(model.ropes.all().size());
    parts = {{&room_.ids, tokens}, {&room_.h, floats}, {&room_.m, floats}, {&room_.y, floats},
             {&room_.logits, size_t{logit_rows} * model.vocab}, {&room_.scratch, batch * model.scratch_floats + kScratchParts * kScratchAlign},
             {&routing_.ids, size_t{tokens} * model.max_top_k}, {&routing_.weights, size_t{tokens} * model.max_top_k},
             {&routing_.results, std::min<size_t>(kMaxExpertEntries, size_t{tokens} * model.max_top_k) * model.hidden}};
    for (size_t i = 0; i < room_.ropes.size(); ++i) {
        parts.emplace_back(&room_.ropes[i], size_t{tokens} * model.ropes.all()[i].dims);
    }
    size_t total = 0;
    for (auto& [span, count] : parts) {
        *span = room_.buffer.span(total);
        total += round_up(count * sizeof(float), 128);
    }
    room_.buffer.reset();
    room_.memory = PageMemory();
    room_.tokens = 0;
    room_.memory = PageMemory(total);
    room_.buffer = WrappedBuffer(*backend_, room_.memory.data(), room_.memory.size());
    room_.tokens = tokens;
    room_.logit_rows = logit_rows;
    routing_.reserve(tokens, model.max_top_k, model.max_experts);
}

void Engine::shrink() noexcept {
    try {
        backend_->trim();
        reserve(1, 1);
    } catch (const std::exception&) {
        // Without room the next step makes its own, or says why it cannot.
    }
}

void Engine::tabulate_ropes(uint32_t position, uint32_t tokens) {
    for (size_t r = 0; r < tables_.size(); ++r) {
        const RopeSpec& rope = model_->ropes.all()[r];
        tables_[r] = {room_.ropes[r], rope.dims, rope.interleaved};
        float* out = room_.ropes[r].as<float>();
        for (uint32_t t = 0; t < tokens; ++t) {
            for (const double frequency : rope.inv_freq) {
                // In double: at position 250,000 an f32 angle would be off by a hundredth of a radian.
                const double angle = static_cast<double>(position + t) * frequency;
                *out++ = static_cast<float>(std::cos(angle) * rope.magnitude);
                *out++ = static_cast<float>(std::sin(angle) * rope.magnitude);
            }
        }
    }
}

Batch Engine::batch_at(uint32_t first, uint32_t count, uint32_t position) {
    for (size_t r = 0; r < tables_.size(); ++r) {
        tables_[r].cos_sin = room_.ropes[r] + size_t{first} * tables_[r].dims * sizeof(float);
    }
    return {*backend_, position + first, count, tables_.data(), room_.scratch};
}

void Engine::step(const StepState& state, const int32_t* tokens, uint32_t count, const std::vector<StepMark>& marks,
                  const StepOutput& output, const std::function<bool(uint32_t)>& keep_going) {
    try {
        prepare(state, tokens, count, output);
        run_step(state, count, marks, output, keep_going);
        // The host writes this room, and reads the state, before the next step.
        backend_->wait();
    } catch (...) {
        settle();
        throw;
    }
}

void Engine::settle() noexcept {
    // What was under way ends before anyone puts the state back; that it failed is known already.
    try {
        backend_->wait();
    } catch (const std::exception&) {
        return;
    }
}

void Engine::prepare(const StepState& state, const int32_t* tokens, uint32_t count, const StepOutput& output) {
    const uint32_t logit_rows = output.logits != nullptr ? std::min(count, 8u) : 1;
    if (count > room_.tokens || logit_rows > room_.logit_rows) reserve(count, logit_rows);
    std::memcpy(room_.ids.as<int32_t>(), tokens, count * sizeof(int32_t));
    tabulate_ropes(state.position, count);
}

void Engine::run_step(const StepState& state, uint32_t count, const std::vector<StepMark>& marks,
                      const StepOutput& output, const std::function<bool(uint32_t)>& keep_going) {
    for (uint32_t first = 0; first < count; first += kMaxBatchTokens) {
        backend_->embed(model_->embed, room_.ids + first * sizeof(int32_t), row(room_.h, first),
                        std::min(kMaxBatchTokens, count - first));
    }
    const auto copy_hidden = [&](uint32_t index, Span from) {
        if (output.hidden == nullptr) return;
        backend_->wait();
        std::memcpy(output.hidden[index], from.as<float>(), size_t{count} * model_->hidden * sizeof(float));
    };
    const auto layers = static_cast<uint32_t>(model_->layers.size());
    backend_->rms_norm(room_.h, model_->layers[0].input_norm, room_.m, model_->hidden, model_->norm_eps, count);
    for (uint32_t index = 0; index < layers; ++index) {
        if (!keep_going(index)) fail(FM_INTERRUPTED, "stopped on request");
        copy_hidden(index, room_.h);
        run_layer(state, index, count, marks);
    }
    copy_hidden(layers, room_.m);
    write_logits(count, output);
    // Operations may still be under way where no logits were asked for.
    backend_->wait();
    weights_->require_intact();
    files_->require_intact();
}

void Engine::run_layer(const StepState& state, uint32_t index, uint32_t tokens, const std::vector<StepMark>& marks) {
    const Layer& layer = model_->layers[index];
    const size_t fixed_bytes = layer.mixer->state_shape().fixed_bytes;
    auto mark = fixed_bytes == 0 ? marks.end() : marks.begin();
    for (uint32_t first = 0, count = 0; first < tokens; first += count) {
        const uint32_t end = mark == marks.end() ? tokens : mark->tokens;
        count = std::min(kMaxBatchTokens, end - first);
        const Span h = row(room_.h, first), m = row(room_.m, first), y = row(room_.y, first);
        layer.mixer->append(batch_at(first, count, state.position), m, y, state.layers[index]);
        backend_->add_norm(h, y, layer.post_norm, m, model_->hidden, model_->norm_eps, count);
        if (mark == marks.end() || first + count != mark->tokens) continue;
        backend_->wait();
        const Span fixed = state.layers[index].fixed;
        std::memcpy(mark->fixed + fixed.offset, fixed.as<std::byte>(), fixed_bytes);
        ++mark;
    }
    run_mlp(index, tokens);
    // What comes next begins with its norm: the next layer, or the output.
    const bool last = index + 1 == model_->layers.size();
    const Span norm = last ? model_->final_norm : model_->layers[index + 1].input_norm;
    backend_->add_norm(room_.h, room_.y, norm, room_.m, model_->hidden, model_->norm_eps, tokens);
}

void Engine::run_mlp(uint32_t index, uint32_t tokens) {
    const auto& mlp = model_->layers[index].mlp;
    if (const auto* moe = std::get_if<Moe>(&mlp)) {
        moe->append(batch_at(0, 0, 0), tokens, room_.m, room_.y, *experts_, routing_, observer_.get());
        return;
    }
    for (uint32_t first = 0; first < tokens; first += kMaxBatchTokens) {
        const uint32_t count = std::min(kMaxBatchTokens, tokens - first);
        std::get<DenseMlp>(mlp).append(batch_at(first, count, 0), row(room_.m, first), row(room_.y, first));
    }
}

void Engine::write_logits(uint32_t count, const StepOutput& output) {
    const size_t bytes = size_t{model_->vocab} * sizeof(float);
    if (output.logits != nullptr) {
        for (uint32_t first = 0; first < count; first += room_.logit_rows) {
            const uint32_t rows = std::min(room_.logit_rows, count - first);
            backend_->linear(model_->lm_head, row(room_.m, first), room_.logits, rows);
            backend_->wait();
            std::memcpy(output.logits + size_t{first} * model_->vocab, room_.logits.as<float>(), rows * bytes);
        }
    }
    if (output.last_logits == nullptr) return;
    backend_->linear(model_->lm_head, row(room_.m, count - 1), room_.logits, 1);
    backend_->wait();
    std::memcpy(output.last_logits, room_.logits.as<float>(), bytes);
}

} // namespace flashmoe
