#include "core/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/hash.h"

namespace flashmoe {
namespace {

struct StateHeader {
    char magic[8];
    uint32_t version, length;
    uint64_t key, payload_bytes, payload_hash;
};
constexpr char kMagic[8] = {'F', 'M', 'S', 'T', 'A', 'T', 'E', '\n'};
constexpr uint32_t kVersion = 1;

fm_step_stats stats_since(const Engine& engine, const ReadCounters& before,
                          std::chrono::steady_clock::time_point start, size_t tokens) {
    const ReadCounters now = engine.read_counters();
    return {.tokens = static_cast<uint32_t>(tokens),
            .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
            .expert_bytes_read = now.bytes - before.bytes,
            .expert_reads = now.reads - before.reads,
            .io_seconds = now.waited_seconds - before.waited_seconds};
}

} // namespace

Session::Session(std::shared_ptr<Engine> engine, uint32_t max_tokens)
    : engine_(std::move(engine)), max_tokens_(max_tokens),
      sampler_(engine_->model().vocab, engine_->options().token_limit) {
    const Model& model = engine_->model();
    if (max_tokens == 0 || max_tokens > model.max_positions) {
        fail(FM_CONTEXT, "a context of ", max_tokens, " tokens: the model allows 1 to ", model.max_positions);
    }
    const fm_engine_info info = engine_->info();
    const uint64_t needed = info.state_bytes + info.kv_bytes_per_token * max_tokens;
    if (const uint64_t available = available_memory(); needed > available) {
        fail(FM_CONTEXT, "a context of ", max_tokens, " tokens needs ", needed, " bytes of memory; ", available,
             " are available");
    }
    size_t planes = 0, fixed = 0;
    for (const Layer& layer : model.layers) {
        const StateShape shape = layer.mixer->state_shape();
        LayerState& state = layers_.emplace_back();
        for (size_t i = 0; i < kMaxPlanes; ++i) {
            state.planes[i] = Span{&planes_buffer_, planes};
            planes += round_up(shape.plane_bytes[i] * max_tokens, 128);
        }
        state.fixed = Span{&fixed_buffer_, fixed};
        fixed += round_up(shape.fixed_bytes, 128);
    }
    planes_ = PageMemory(planes);
    fixed_ = PageMemory(fixed);
    fixed_bytes_ = fixed;
    planes_buffer_ = engine_->backend().wrap(planes_.data(), planes_.size());
    fixed_buffer_ = engine_->backend().wrap(fixed_.data(), fixed_.size());
}

Session::~Session() {
    engine_->backend().unwrap(planes_buffer_);
    engine_->backend().unwrap(fixed_buffer_);
}

void Session::usable() const {
    if (!valid_) {
        fail(FM_ENGINE, "the session's state was lost by an earlier failure; reset it or restore a saved state");
    }
}

void Session::check(const int32_t* tokens, size_t count) const {
    usable();
    if (count == 0) fail(FM_ENGINE, "no tokens to compute");
    if (count > max_tokens_ - length_) {
        fail(FM_CONTEXT, count, " tokens after ", length_, " exceed the session's context of ", max_tokens_);
    }
    for (size_t i = 0; i < count; ++i) {
        if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= engine_->model().vocab) {
            fail(FM_ENGINE, "token ", tokens[i], " at ", i, ": the vocabulary has ", engine_->model().vocab);
        }
    }
}

fm_step_stats Session::prefill(const int32_t* tokens, size_t count, const Progress& progress) {
    check(tokens, count);
    const std::lock_guard lock(engine_->step_mutex);
    const ReadCounters before = engine_->read_counters();
    const auto start = std::chrono::steady_clock::now();
    run(tokens, count, nullptr, nullptr, progress);
    return stats_since(*engine_, before, start, count);
}

fm_step_stats Session::decode(int32_t token) {
    check(&token, 1);
    const std::lock_guard lock(engine_->step_mutex);
    const ReadCounters before = engine_->read_counters();
    const auto start = std::chrono::steady_clock::now();
    logits_.resize(engine_->model().vocab);
    run_chunk(&token, 1, {.last_logits = logits_.data()}, [](uint32_t) { return true; });
    return stats_since(*engine_, before, start, 1);
}

void Session::evaluate(const int32_t* tokens, size_t count, float* logits, float* const* hidden,
                       const Progress& progress) {
    check(tokens, count);
    const std::lock_guard lock(engine_->step_mutex);
    run(tokens, count, logits, hidden, progress);
}

void Session::run(const int32_t* tokens, size_t count, float* logits, float* const* hidden, const Progress& progress) {
    const Model& model = engine_->model();
    const auto layers = static_cast<uint32_t>(model.layers.size());
    // Gives the long steps' room back, however this ends.
    struct Shrink {
        Engine& engine;
        ~Shrink() { engine.shrink(); }
    } shrink{*engine_};
    engine_->reserve(static_cast<uint32_t>(std::min<size_t>(count, kChunkTokens)), logits != nullptr ? 8 : 1);
    std::vector<float*> hidden_rows(hidden != nullptr ? layers + 1 : 0);
    std::vector<float> last(model.vocab);
    for (size_t done = 0; done < count;) {
        const auto chunk = static_cast<uint32_t>(std::min<size_t>(kChunkTokens, count - done));
        for (size_t i = 0; i < hidden_rows.size(); ++i) hidden_rows[i] = hidden[i] + done * model.hidden;
        const StepOutput output{.last_logits = done + chunk == count ? last.data() : nullptr,
                                .logits = logits != nullptr ? logits + done * model.vocab : nullptr,
                                .hidden = hidden != nullptr ? hidden_rows.data() : nullptr};
        run_chunk(tokens + done, chunk, output, [&](uint32_t layers_done) {
            return !progress || progress(done + uint64_t{chunk} * layers_done / layers, count);
        });
        done += chunk;
    }
    logits_ = std::move(last);
    if (progress) progress(count, count);
}

void Session::run_chunk(const int32_t* tokens, uint32_t count, const StepOutput& output,
                        const std::function<bool(uint32_t)>& keep_going) {
    // The planes roll back by themselves: what lies beyond length_ is never read. Recurrent state is copied aside,
    // except for a single token, where the copy would cost as much as the step's own traffic.
    PageMemory aside;
    if (count > 1 && fixed_bytes_ != 0) {
        aside = PageMemory(fixed_bytes_);
        std::memcpy(aside.data(), fixed_.data(), fixed_bytes_);
    }
    try {
        engine_->step({layers_, length_}, tokens, count, output, keep_going);
    } catch (...) {
        if (aside.size() != 0) std::memcpy(fixed_.data(), aside.data(), fixed_bytes_);
        else if (fixed_bytes_ != 0) valid_ = false;
        throw;
    }
    length_ += count;
}

const std::vector<float>& Session::logits() const {
    usable();
    if (length_ == 0 || logits_.empty()) fail(FM_ENGINE, "the session has no logits yet: prefill or decode first");
    return logits_;
}

void Session::reset() {
    length_ = 0;
    valid_ = true;
    logits_.clear();
    std::memset(fixed_.data(), 0, fixed_bytes_);
}

template <typename Visit> void Session::for_each_part(uint32_t length, Visit&& visit) const {
    for (size_t i = 0; i < layers_.size(); ++i) {
        const StateShape shape = engine_->model().layers[i].mixer->state_shape();
        for (size_t plane = 0; plane < kMaxPlanes; ++plane) {
            const size_t bytes = size_t{length} * shape.plane_bytes[plane];
            if (bytes != 0) visit(layers_[i].planes[plane].as<std::byte>(), bytes);
        }
        if (shape.fixed_bytes != 0) visit(layers_[i].fixed.as<std::byte>(), size_t{shape.fixed_bytes});
    }
}

std::unique_ptr<Session> Session::fork() const {
    usable();
    auto copy = std::make_unique<Session>(engine_, max_tokens_);
    std::vector<std::byte*> targets;
    copy->for_each_part(length_, [&](std::byte* at, size_t) { targets.push_back(at); });
    size_t next = 0;
    for_each_part(length_, [&](const std::byte* at, size_t bytes) { std::memcpy(targets[next++], at, bytes); });
    copy->length_ = length_;
    copy->logits_ = logits_;
    copy->sampler_ = sampler_;
    return copy;
}

size_t Session::save_size() const {
    usable();
    size_t bytes = sizeof(StateHeader) + logits_.size() * sizeof(float);
    for_each_part(length_, [&](const std::byte*, size_t part) { bytes += part; });
    return bytes;
}

void Session::save(uint8_t* bytes, size_t size) const {
    if (size != save_size()) fail(FM_ENGINE, "the state takes ", save_size(), " bytes, not ", size);
    uint8_t* at = bytes + sizeof(StateHeader);
    const auto put = [&](const void* from, size_t part) {
        if (part != 0) std::memcpy(at, from, part);
        at += part;
    };
    put(logits_.data(), logits_.size() * sizeof(float));
    for_each_part(length_, put);
    const size_t payload = size - sizeof(StateHeader);
    StateHeader header{.magic = {},
                       .version = kVersion,
                       .length = length_,
                       .key = engine_->state_key(),
                       .payload_bytes = payload,
                       .payload_hash = hash_bytes(bytes + sizeof(StateHeader), payload)};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    std::memcpy(bytes, &header, sizeof header);
}

void Session::restore(const uint8_t* bytes, size_t size) {
    StateHeader header;
    if (size < sizeof header) fail(FM_ENGINE, "saved state: ", size, " bytes are too few");
    std::memcpy(&header, bytes, sizeof header);
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.version != kVersion) {
        fail(FM_ENGINE, "saved state: not of this version");
    }
    if (header.key != engine_->state_key()) fail(FM_ENGINE, "saved state: of another model, quantisation or top-k");
    if (header.length > max_tokens_) {
        fail(FM_CONTEXT, "saved state: ", header.length, " tokens exceed the session's context of ", max_tokens_);
    }
    const size_t logit_bytes = header.length == 0 ? 0 : size_t{engine_->model().vocab} * sizeof(float);
    size_t expected = logit_bytes;
    for_each_part(header.length, [&](const std::byte*, size_t part) { expected += part; });
    const uint8_t* payload = bytes + sizeof header;
    if (header.payload_bytes != expected || size - sizeof header != expected ||
        header.payload_hash != hash_bytes(payload, expected)) {
        fail(FM_ENGINE, "saved state: damaged");
    }
    logits_.resize(logit_bytes / sizeof(float));
    const auto take = [&](void* to, size_t part) {
        if (part != 0) std::memcpy(to, payload, part);
        payload += part;
    };
    take(logits_.data(), logit_bytes);
    for_each_part(header.length, take);
    length_ = header.length;
    valid_ = true;
}

} // namespace flashmoe
