#include "core/engine.h"

#include <algorithm>
#include <cstring>

#include "core/hash.h"
#include "core/hot_experts.h"
#include "core/step_meter.h"

namespace flashmoe {
namespace {

// What streaming takes at least: two experts, so that a read overlaps a computation, and where that is not much all of a
// token's of one layer, so that a GPU takes them in one go and nobody waits for room.
constexpr uint64_t kStreamMemory = 96u << 20;
constexpr uint32_t kMostStreamed = 32;
// A token's n-gram rows, some sixteen of a hundred bytes, in two rounds of the disk's latency.
constexpr uint32_t kRowReaders = 8;

uint64_t least_expert_bytes(uint64_t stride, uint32_t top_k) {
    return stride * std::clamp<uint64_t>(kStreamMemory / stride, std::clamp(top_k, 2u, kMostStreamed), kMostStreamed);
}

} // namespace

Engine::Engine(const EngineOptions& options, std::unique_ptr<Backend> backend)
    : options_(options), backend_(std::move(backend)),
      manifest_(read_dense_manifest(options.model_dir + "/model_weights.json")),
      weights_(std::make_unique<DenseWeights>(*backend_, options.model_dir, manifest_)),
      files_(std::make_unique<ExpertFiles>(options.experts_dir, manifest_.spec, options.expert_caching)),
      model_(std::make_unique<Model>(manifest_.spec, ModelOptions{options.experts_per_token, options.exact_caches}, *weights_, *files_)) {
    require_features();
    if (files_->largest_stride() != 0) {
        if (options.map_experts && backend_->takes_mapped_files()) files_->map(*backend_);
        const uint64_t least = least_expert_bytes(files_->largest_stride(), model_->max_top_k);
        experts_ = std::make_unique<ExpertStore>(*backend_, *files_, options.expert_bytes == 0 ? least : std::max(options.expert_bytes, files_->largest_stride() * model_->max_top_k),
                                                 std::max(options.io_threads, 1u));
    }
    if (std::any_of(model_->layers.begin(), model_->layers.end(), [](const Layer& layer) { return layer.ngram.has_value(); })) {
        row_reader_ = std::make_unique<RowReader>(kRowReaders);
    }
    together_ = std::make_unique<Activations>(*backend_, *model_, kMaxTogether);
    routing_.mass = options.expert_mass;
    reserve(kMaxTogether, kMaxTogether);
    weights_->require_intact();
}

void Engine::require_features() const {
    const uint32_t missing = (model_->features | files_->features()) & ~backend_->features();
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
                        .residual_size = model_->residual(),
                        .experts_per_token = model_->max_top_k,
                        .dense_bytes = weights_->mapped_bytes(),
                        .expert_bytes_per_token = 0,
                        .state_bytes = 0,
                        .kv_bytes_per_token = 0,
                        .expert_file_bytes = files_->total_bytes(),
                        .largest_expert_bytes = files_->largest_stride(),
                        .expert_pool_bytes = experts_ != nullptr && !files_->is_mapped() ? experts_->pool_bytes() : 0,
                        .experts_held = experts_ != nullptr ? experts_->held() : 0,
                        .experts_mapped = files_->is_mapped() ? 1u : 0u,
                        .prefill_tokens = options_.prefill_tokens,
                        .prefill_bytes_per_token = prefill_bytes_per_token()};
    for (uint32_t i = 0; i < model_->layers.size(); ++i) {
        const Layer& layer = model_->layers[i];
        const StateShape shape = layer.state_shape();
        info.state_bytes += shape.fixed_bytes;
        info.kv_bytes_per_token += shape.bytes_per_token();
        if (const auto* moe = std::get_if<Moe>(&layer.mlp)) {
            info.expert_bytes_per_token += moe->top_k() * files_->layer(i).mean_size();
        }
    }
    return info;
}

uint64_t Engine::state_key(const std::string& program) const {
    uint64_t parts[6] = {manifest_.fingerprint, files_->fingerprint(), model_->max_top_k, options_.exact_caches ? 1u : 0u,
                         options_.fast ? 1u : 0u, 0};
    std::memcpy(&parts[5], &options_.expert_mass, sizeof options_.expert_mass);
    return hash_bytes(parts, sizeof parts, hash_bytes(program.data(), program.size()));
}

void Engine::observe() {
    const std::lock_guard turn(turns);
    if (observer_ == nullptr) observer_ = std::make_unique<ExpertObserver>(*backend_, static_cast<uint32_t>(model_->layers.size()));
}

void Engine::resize_experts(uint64_t bytes) {
    if (experts_ == nullptr) return;
    const std::lock_guard turn(turns);
    backend_->wait();
    experts_->device_is_done();
    if (bytes == UINT64_MAX && backend_->takes_mapped_files() && !files_->is_mapped()) files_->map(*backend_);
    if (bytes == UINT64_MAX) bytes = files_->total_bytes();
    experts_->resize(std::max(bytes, files_->largest_stride() * model_->max_top_k));
}

void Engine::save_hottest(const std::string& path) {
    if (experts_ == nullptr || files_->is_mapped()) return;
    write_hot_experts(path, files_->fingerprint(), experts_->hottest(kMostHot));
}

void Engine::warm_from(const std::string& path) {
    if (experts_ == nullptr || files_->is_mapped()) return;
    std::vector<ExpertName> names = read_hot_experts(path, files_->fingerprint());
    std::erase_if(names, [&](const ExpertName& name) {
        return name.layer >= model_->layers.size() || name.expert >= files_->experts() ||
               !std::holds_alternative<Moe>(model_->layers[name.layer].mlp);
    });
    experts_->warm(std::move(names));
}

uint64_t Engine::prefill_bytes_per_token() const {
    const uint64_t routing = uint64_t{model_->max_top_k} * (2 + 3) * sizeof(float);
    return Activations::bytes_per_token(*model_) + routing;
}

void Engine::reserve(uint32_t tokens, uint32_t logit_rows) {
    if (tokens == scratch_.tokens && logit_rows == scratch_.logit_rows) return;
    // In the middle of a step operations may be under way in the room that goes.
    backend_->wait();
    see_chosen();
    const Model& model = *model_;
    const size_t batch = std::min(tokens, kMaxBatchTokens), choices = size_t{tokens} * model.max_top_k;
    const size_t most_entries = std::min<size_t>(kMaxExpertEntries, choices);
    const std::pair<Span*, size_t> parts[] = {
        {&scratch_.logits, size_t{logit_rows} * model.vocab},
        {&scratch_.scratch, batch * model.scratch_floats + kScratchParts * kScratchAlign},
        {&routing_.ids, choices},
        {&routing_.weights, choices},
        {&routing_.chosen, model.layers.size() * most_entries},
        {&routing_.results, most_entries * model.hidden}};
    size_t total = 0;
    for (const auto& [span, count] : parts) {
        *span = scratch_.buffer.span(total);
        total += round_up(count * sizeof(float), 128);
    }
    scratch_.buffer.reset();
    scratch_.memory = PageMemory();
    scratch_.tokens = 0;
    scratch_.memory = PageMemory(total);
    scratch_.buffer = WrappedBuffer(*backend_, scratch_.memory.data(), scratch_.memory.size());
    scratch_.tokens = tokens;
    scratch_.logit_rows = logit_rows;
    routing_.chosen_each = most_entries;
    routing_.reserve(tokens, model.max_top_k, model.max_experts);
}

void Engine::shrink() noexcept {
    if (scratch_.tokens == kMaxTogether && scratch_.logit_rows == kMaxTogether) return;
    try {
        backend_->trim();
        routing_.shrink();
        reserve(kMaxTogether, kMaxTogether);
    } catch (const std::exception&) {
        // Without room the next step makes its own, or says why it cannot.
    }
}

Batch Engine::batch_at(const Pass& pass, uint32_t row, uint32_t count, uint32_t position) {
    return {*backend_, position, count, pass.activations.ropes_at(row), scratch_.scratch, pass.activations.shared_at(row)};
}

void Engine::step(const Pass& pass, const std::function<bool(uint32_t)>& keep_going, StepMeter& meter) {
    try {
        uint32_t row = 0;
        for (uint32_t i = 0; i < pass.part_count; ++i) {
            const Part& part = pass.parts[i];
            pass.activations.begin(row, part.tokens, part.count, part.state.position);
            row += part.count;
        }
        read_ahead(pass);
        run(pass, keep_going, meter);
        // The host writes these rooms, and reads the state, before the next step.
        backend_->wait();
    } catch (...) {
        settle();
        throw;
    }
}

void Engine::read_ahead(const Pass& pass) {
    if (row_reader_ == nullptr) return;
    const size_t layers = model_->layers.size();
    pass.activations.rows.assign(layers * pass.part_count, nullptr);
    for (size_t i = 0; i < layers; ++i) {
        const Layer& layer = model_->layers[i];
        if (!layer.ngram) continue;
        for (uint32_t p = 0; p < pass.part_count; ++p) {
            const Part& part = pass.parts[p];
            auto& rows = pass.activations.rows[p * layers + i];
            rows = layer.ngram->rows(part.tokens, part.count, part.state.layers[i].fixed + layer.ngram_offset());
            row_reader_->begin(rows);
        }
    }
}

void Engine::settle() noexcept {
    // What was under way ends before anyone puts the state back; that it failed is known already.
    routing_.unseen.clear();
    try {
        backend_->wait();
    } catch (const std::exception&) {
        return;
    }
}

/// What this step handed to the device fails here, not in somebody else's turn.
void Engine::give_way(const Pass& pass, StepMeter& meter) {
    if (pass.tokens == pass.part_count || !turns.wanted(pass.tokens)) return;
    backend_->wait();
    see_chosen();
    meter.pause();
    turns.give_way(pass.tokens);
    meter.resume();
    // The other may have made it smaller.
    if (pass.tokens > scratch_.tokens) reserve(pass.tokens, scratch_.logit_rows);
}

void Engine::run(const Pass& pass, const std::function<bool(uint32_t)>& keep_going, StepMeter& meter) {
    Activations& at = pass.activations;
    const uint32_t count = pass.tokens;
    const bool has_streams = model_->streams > 1;
    const Span embedded = has_streams ? at.m : at.h;
    for (uint32_t first = 0; first < count; first += kMaxBatchTokens) {
        backend_->embed(model_->embed, at.ids + first * sizeof(int32_t), at.row(embedded, first), std::min(kMaxBatchTokens, count - first));
    }
    const auto copy_hidden = [&](uint32_t index, Span from, size_t width) {
        size_t row = 0;
        for (uint32_t i = 0; i < pass.part_count; row += pass.parts[i++].count) {
            const Part& part = pass.parts[i];
            if (part.output.hidden == nullptr) continue;
            backend_->wait();
            std::memcpy(part.output.hidden[index], from.as<float>() + row * width, size_t{part.count} * width * sizeof(float));
        }
    };
    const auto layers = static_cast<uint32_t>(model_->layers.size());
    if (has_streams) backend_->repeat_streams(at.m, at.h, model_->streams, model_->hidden, count);
    else backend_->rms_norm(at.h, model_->layers[0].input_norm, at.m, model_->hidden, model_->norm_eps, count);
    for (uint32_t index = 0; index < layers; ++index) {
        give_way(pass, meter);
        if (!keep_going(index)) fail(FM_INTERRUPTED, "stopped on request");
        copy_hidden(index, at.h, model_->residual());
        if (count > scratch_.tokens) reserve(count, scratch_.logit_rows);
        run_layer(pass, index, meter);
    }
    copy_hidden(layers, at.m, model_->hidden);
    write_logits(pass);
    // Operations may still be under way where no logits were asked for.
    backend_->wait();
    see_chosen();
    weights_->require_intact();
    files_->require_intact();
}

/// What routers chose that nobody waited for: that they are experts at all, and which are used how often.
void Engine::see_chosen() {
    for (const auto& [layer, count] : routing_.unseen) experts_->used(layer, routing_.chosen_by(layer).as<uint32_t>(), count);
    routing_.unseen.clear();
}

void Engine::run_layer(const Pass& pass, uint32_t index, StepMeter& meter) {
    Activations& at = pass.activations;
    const Layer& layer = model_->layers[index];
    uint32_t row = 0;
    for (uint32_t part = 0; part < pass.part_count; row += pass.parts[part++].count) run_mixer(pass, part, row, index, meter);
    if (model_->streams > 1) take(pass, *layer.mlp_connection);
    run_mlp(pass, index);
    // What comes next begins with its norm: the next layer, or the output.
    const bool last = index + 1 == model_->layers.size();
    if (model_->streams > 1) {
        layer.mlp_connection->inject(*backend_, at.h, at.y, at.inject, pass.tokens);
        if (last) take(pass, *model_->final_connection);
        return;
    }
    const Span norm = last ? model_->final_norm : model_->layers[index + 1].input_norm;
    backend_->add_norm(at.h, at.y, norm, at.m, model_->hidden, model_->norm_eps, pass.tokens);
}

void Engine::run_mixer(const Pass& pass, uint32_t part, uint32_t begin, uint32_t index, StepMeter& meter) {
    const Part& of = pass.parts[part];
    const LayerState& state = of.state.layers[index];
    const Layer& layer = model_->layers[index];
    const size_t fixed_bytes = layer.state_shape().fixed_bytes;
    if (layer.ngram) pass.activations.rows[part * model_->layers.size() + index]->wait();
    auto mark = fixed_bytes == 0 ? of.marks.end() : of.marks.begin();
    for (uint32_t first = 0, count = 0; first < of.count; first += count) {
        // Attention to a long context takes longer than experts do. Who is asked often has half of the time all the same.
        if (first != 0 && meter.has_had_its_share()) give_way(pass, meter);
        const uint32_t end = mark == of.marks.end() ? of.count : mark->tokens;
        count = std::min(kMaxBatchTokens, end - first);
        run_mixer(pass, part, begin, index, first, count);
        if (mark == of.marks.end() || first + count != mark->tokens) continue;
        backend_->wait();
        std::memcpy(mark->fixed + state.fixed.offset, state.fixed.as<std::byte>(), fixed_bytes);
        ++mark;
    }
}

void Engine::run_mixer(const Pass& pass, uint32_t part, uint32_t begin, uint32_t index, uint32_t first, uint32_t count) {
    Activations& at = pass.activations;
    const Layer& layer = model_->layers[index];
    const StepState& of = pass.parts[part].state;
    const LayerState& state = of.layers[index];
    const uint32_t row = begin + first;
    const Batch batch = batch_at(pass, row, count, of.position + first);
    const Span h = at.residual(row), m = at.row(at.m, row), y = at.row(at.y, row);
    if (model_->streams == 1) {
        layer.mixer->append(batch, m, y, state);
        backend_->add_norm(h, y, layer.post_norm, m, model_->hidden, model_->norm_eps, count);
        return;
    }
    if (layer.ngram) {
        const RowRead& rows = *at.rows[part * model_->layers.size() + index];
        layer.ngram->append(batch, at.ids.as<const int32_t>() + row, rows, size_t{first} * layer.ngram->heads(), h, state.fixed + layer.ngram_offset());
    }
    const Span inject = at.logits_of_streams(row);
    layer.mixer_connection->take(batch, h, m, inject);
    layer.mixer->append(batch, m, y, state);
    layer.mixer_connection->inject(*backend_, h, y, inject, count);
}

void Engine::take(const Pass& pass, const HyperConnection& connection) {
    Activations& at = pass.activations;
    for (uint32_t first = 0; first < pass.tokens; first += kMaxBatchTokens) {
        const uint32_t count = std::min(kMaxBatchTokens, pass.tokens - first);
        connection.take(batch_at(pass, first, count, 0), at.residual(first), at.row(at.m, first), at.logits_of_streams(first));
    }
}

void Engine::run_mlp(const Pass& pass, uint32_t index) {
    Activations& at = pass.activations;
    const auto& mlp = model_->layers[index].mlp;
    if (const auto* moe = std::get_if<Moe>(&mlp)) {
        moe->append(batch_at(pass, 0, 0, 0), pass.tokens, at.m, at.y, *experts_, routing_, observer_.get());
        return;
    }
    for (uint32_t first = 0; first < pass.tokens; first += kMaxBatchTokens) {
        const uint32_t count = std::min(kMaxBatchTokens, pass.tokens - first);
        std::get<DenseMlp>(mlp).append(batch_at(pass, first, count, 0), at.row(at.m, first), at.row(at.y, first));
    }
}

void Engine::write_logits(const Pass& pass) {
    // One token each: all of them are there once for the output's weights.
    if (pass.part_count > 1) {
        backend_->linear(model_->lm_head, pass.activations.m, scratch_.logits, pass.part_count);
        backend_->wait();
        for (uint32_t i = 0; i < pass.part_count; ++i) {
            const float* row = scratch_.logits.as<float>() + size_t{i} * model_->vocab;
            std::memcpy(pass.parts[i].output.last_logits, row, size_t{model_->vocab} * sizeof(float));
        }
        return;
    }
    const Part& part = pass.parts[0];
    const StepOutput& output = part.output;
    const Span m = pass.activations.m;
    const size_t bytes = size_t{model_->vocab} * sizeof(float);
    if (output.logits != nullptr) {
        const uint32_t most = std::min(part.count, 8u);
        if (most > scratch_.logit_rows) reserve(scratch_.tokens, most);
        for (uint32_t first = 0; first < part.count; first += most) {
            const uint32_t rows = std::min(most, part.count - first);
            backend_->linear(model_->lm_head, pass.activations.row(m, first), scratch_.logits, rows);
            backend_->wait();
            std::memcpy(output.logits + size_t{first} * model_->vocab, scratch_.logits.as<float>(), rows * bytes);
        }
    }
    if (output.last_logits == nullptr) return;
    backend_->linear(model_->lm_head, pass.activations.row(m, part.count - 1), scratch_.logits, 1);
    backend_->wait();
    std::memcpy(output.last_logits, scratch_.logits.as<float>(), bytes);
}

} // namespace flashmoe
