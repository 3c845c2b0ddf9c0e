#include "core/session.h"

#include <algorithm>
#include <cstring>

#include "core/step_meter.h"

namespace flashmoe {
namespace {

/// What copies of fixed state may take, within 4 to kMostMarks of them.
constexpr uint64_t kMarkMemory = 768u << 20;
/// One in 256 tokens of 128k.
constexpr size_t kMostMarks = 512;

std::vector<StateShape> shapes_of(const Model& model) {
    std::vector<StateShape> shapes;
    for (const Layer& layer : model.layers) shapes.push_back(layer.state_shape());
    return shapes;
}

/// `max_tokens` where the model and the memory allow it. Memory is asked whether all of it would fit now: caches take it only
/// as tokens come.
uint32_t allowed(const Engine& engine, Backend& backend, uint32_t max_tokens) {
    const fm_engine_info info = engine.info();
    if (max_tokens == 0 || max_tokens > info.max_positions) {
        fail(FM_CONTEXT, "a context of ", max_tokens, " tokens: the model allows 1 to ", info.max_positions);
    }
    const uint64_t needed = info.state_bytes + info.kv_bytes_per_token * max_tokens;
    if (const uint64_t available = std::min(available_memory(), backend.memory_left()); needed > available) {
        fail(FM_CONTEXT, "a context of ", max_tokens, " tokens needs ", needed, " bytes of memory; ", available,
             " are available");
    }
    return max_tokens;
}

} // namespace

Session::Session(std::shared_ptr<Engine> engine, uint32_t max_tokens)
    : engine_(std::move(engine)), max_tokens_(allowed(*engine_, engine_->backend(), max_tokens)),
      planes_(engine_->backend(), shapes_of(engine_->model()), max_tokens),
      sampler_(engine_->model().vocab, engine_->options().token_limit) {
    const Model& model = engine_->model();
    size_t fixed = 0;
    for (size_t index = 0; index < model.layers.size(); ++index) {
        LayerState& state = layers_.emplace_back();
        for (size_t i = 0; i < kMaxPlanes; ++i) state.planes[i] = planes_.at(index, i);
        state.fixed = fixed_buffer_.span(fixed);
        fixed += round_up(model.layers[index].state_shape().fixed_bytes, 128);
    }
    fixed_ = PageMemory(fixed);
    fixed_bytes_ = fixed;
    fixed_buffer_ = WrappedBuffer(engine_->backend(), fixed_.data(), fixed_.size());
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
    engine_->turns.lock(pass_of(count));
    const std::lock_guard turn(engine_->turns, std::adopt_lock);
    planes_.grow(length_ + static_cast<uint32_t>(count));
    StepMeter meter(*engine_);
    run(tokens, count, nullptr, nullptr, progress, meter);
    meter.pause();
    return meter.stats(count);
}

fm_step_stats Session::decode(int32_t token) {
    check(&token, 1);
    return engine_->decoder.decode(*engine_, *this, token);
}

Part Session::begin_token(int32_t token) {
    planes_.grow(length_ + 1);
    logits_.resize(engine_->model().vocab);
    begin_marks(1);
    token_ = token;
    token_output_ = {.last_logits = logits_.data()};
    return {{layers_, length_}, &token_, 1, places_, token_output_};
}

void Session::end_token(bool is_done) {
    if (is_done) return appended(1);
    // A copy of recurrent state, to go back to, would cost as much as the step's own traffic.
    if (fixed_bytes_ != 0) valid_ = false;
}

void Session::evaluate(const int32_t* tokens, size_t count, float* logits, float* const* hidden,
                       const Progress& progress) {
    check(tokens, count);
    engine_->turns.lock(pass_of(count));
    const std::lock_guard turn(engine_->turns, std::adopt_lock);
    planes_.grow(length_ + static_cast<uint32_t>(count));
    StepMeter meter(*engine_);
    run(tokens, count, logits, hidden, progress, meter);
}

uint32_t Session::pass_of(size_t count) const {
    return static_cast<uint32_t>(std::min<size_t>(count, engine_->options().prefill_tokens));
}

void Session::run(const int32_t* tokens, size_t count, float* logits, float* const* hidden, const Progress& progress,
                  StepMeter& meter) {
    const Model& model = engine_->model();
    const auto layers = static_cast<uint32_t>(model.layers.size());
    // Gives the long steps' room back, however this ends.
    struct Shrink {
        Engine& engine;
        ~Shrink() { engine.shrink(); }
    } shrink{*engine_};
    Activations activations(engine_->backend(), model, pass_of(count));
    std::vector<float*> hidden_rows(hidden != nullptr ? layers + 1 : 0);
    std::vector<float> last(model.vocab);
    for (size_t done = 0; done < count;) {
        const uint32_t chunk = pass_of(count - done);
        for (size_t i = 0; i < hidden_rows.size(); ++i) hidden_rows[i] = hidden[i] + done * (i < layers ? model.residual() : model.hidden);
        const StepOutput output{.last_logits = done + chunk == count ? last.data() : nullptr,
                                .logits = logits != nullptr ? logits + done * model.vocab : nullptr,
                                .hidden = hidden != nullptr ? hidden_rows.data() : nullptr};
        const auto keep_going = [&](uint32_t layers_done) {
            return !progress || progress(done + uint64_t{chunk} * layers_done / layers, count);
        };
        run_chunk(activations, tokens + done, chunk, output, keep_going, meter);
        done += chunk;
        // Those of before are no longer the last token's, should the next chunk fail.
        logits_.clear();
    }
    logits_ = std::move(last);
    if (progress) progress(count, count);
}

void Session::begin_marks(uint32_t count) {
    begun_marks_.clear();
    places_.clear();
    for (const uint32_t length : asked_marks_) {
        if (length <= length_ || length > length_ + count) continue;
        begun_marks_.push_back(new_mark(length));
        places_.push_back({length - length_, begun_marks_.back()->fixed.data()});
    }
}

void Session::appended(uint32_t count) {
    length_ += count;
    for (auto& mark : begun_marks_) keep(std::move(mark));
    begun_marks_.clear();
}

void Session::run_chunk(Activations& activations, const int32_t* tokens, uint32_t count, const StepOutput& output,
                        const std::function<bool(uint32_t)>& keep_going, StepMeter& meter) {
    // The planes roll back by themselves: what lies beyond length_ is never read. Recurrent state is copied aside.
    PageMemory aside;
    if (fixed_bytes_ != 0) {
        aside = PageMemory(fixed_bytes_);
        std::memcpy(aside.data(), fixed_.data(), fixed_bytes_);
    }
    begin_marks(count);
    const Part part{{layers_, length_}, tokens, count, places_, output};
    try {
        engine_->step({activations, &part, 1, count}, keep_going, meter);
    } catch (...) {
        begun_marks_.clear();
        if (aside.size() != 0) std::memcpy(fixed_.data(), aside.data(), fixed_bytes_);
        throw;
    }
    appended(count);
}

const std::vector<float>& Session::logits() const {
    usable();
    if (length_ == 0 || logits_.empty()) fail(FM_ENGINE, "the session has no logits yet: prefill or decode first");
    return logits_;
}

void Session::reset() {
    unpinned(0);
    length_ = 0;
    valid_ = true;
    logits_.clear();
    marks_.clear();
    std::memset(fixed_.data(), 0, fixed_bytes_);
    planes_.shrink(0);
}

void Session::mark_at(std::vector<uint32_t> lengths) {
    std::sort(lengths.begin(), lengths.end());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
    asked_marks_ = std::move(lengths);
}

void Session::mark() {
    usable();
    auto mark = new_mark(length_);
    std::memcpy(mark->fixed.data(), fixed_.data(), fixed_bytes_);
    mark->logits = logits_;
    keep(std::move(mark));
}

std::shared_ptr<Mark> Session::new_mark(uint32_t length) const {
    return std::make_shared<Mark>(Mark{.length = length, .fixed = PageMemory(fixed_bytes_), .logits = {}});
}

/// Where there is no room for all, the one goes whose loss costs the fewest tokens; the first and the newest stay.
void Session::keep(std::shared_ptr<const Mark> mark) {
    const auto at = std::lower_bound(marks_.begin(), marks_.end(), mark->length,
                                     [](const auto& other, uint32_t length) { return other->length < length; });
    if (at != marks_.end() && (*at)->length == mark->length) {
        *at = std::move(mark);
        return;
    }
    marks_.insert(at, std::move(mark));
    const size_t most = fixed_bytes_ == 0 ? kMostMarks : std::clamp<size_t>(kMarkMemory / fixed_bytes_, 4, kMostMarks);
    if (marks_.size() <= most) return;
    size_t least = 1;
    for (size_t i = 1; i + 1 < marks_.size(); ++i) {
        const auto loss = [&](size_t index) { return marks_[index]->length - marks_[index - 1]->length; };
        if (loss(i) < loss(least)) least = i;
    }
    marks_.erase(marks_.begin() + static_cast<long>(least));
}

const Mark* Session::mark_of(uint32_t length) const {
    for (const auto& mark : marks_) {
        if (mark->length == length) return mark.get();
    }
    return nullptr;
}

uint32_t Session::reachable(uint32_t limit) const {
    if (fixed_bytes_ == 0) return std::min(limit, length_);
    if (valid_ && length_ <= limit) return length_;
    uint32_t reached = 0;
    for (const auto& mark : marks_) {
        if (mark->length <= limit) reached = mark->length;
    }
    return reached;
}

void Session::unpinned(uint32_t length) const {
    if (length < pinned_.load()) fail(FM_ENGINE, "the state is being saved; wait for that");
}

void Session::rewind(uint32_t length) {
    if (length == length_ && valid_) return;
    if (length == 0) return reset();
    unpinned(length);
    const Mark* mark = mark_of(length);
    if (length > length_ || (mark == nullptr && fixed_bytes_ != 0)) {
        fail(FM_ENGINE, "the state can't be gone back to at ", length, " tokens");
    }
    if (mark != nullptr) {
        std::memcpy(fixed_.data(), mark->fixed.data(), fixed_bytes_);
        logits_ = mark->logits;
    } else {
        logits_.clear();
    }
    length_ = length;
    valid_ = true;
    std::erase_if(marks_, [&](const auto& other) { return other->length > length; });
    planes_.shrink(length);
}

template <typename Visit> void Session::for_each_part(uint32_t length, Visit&& visit) const {
    for (size_t i = 0; i < layers_.size(); ++i) {
        const StateShape shape = engine_->model().layers[i].state_shape();
        for (size_t plane = 0; plane < kMaxPlanes; ++plane) {
            const size_t bytes = size_t{length} * shape.plane_bytes[plane];
            if (bytes != 0) visit(planes_.host(i, plane), bytes);
        }
        if (shape.fixed_bytes != 0) visit(layers_[i].fixed.as<std::byte>(), size_t{shape.fixed_bytes});
    }
}

std::unique_ptr<Session> Session::fork() const {
    usable();
    auto copy = std::make_unique<Session>(engine_, max_tokens_);
    std::vector<std::byte*> targets;
    copy->planes_.grow(std::max(length_, 1u));
    copy->for_each_part(length_, [&](std::byte* at, size_t) { targets.push_back(at); });
    size_t next = 0;
    for_each_part(length_, [&](const std::byte* at, size_t bytes) { std::memcpy(targets[next++], at, bytes); });
    copy->length_ = length_;
    copy->logits_ = logits_;
    copy->sampler_ = sampler_;
    return copy;
}

std::vector<StatePart> Session::parts_of(uint32_t from, uint32_t to, const Mark* mark) const {
    std::vector<StatePart> parts;
    if (from == to) {
        if (fixed_bytes_ != 0) parts.push_back({mark != nullptr ? mark->fixed.data() : fixed_.data(), fixed_bytes_});
        return parts;
    }
    for (size_t i = 0; i < layers_.size(); ++i) {
        const StateShape shape = engine_->model().layers[i].state_shape();
        for (size_t plane = 0; plane < kMaxPlanes; ++plane) {
            const size_t row = shape.plane_bytes[plane];
            if (row != 0) parts.push_back({planes_.host(i, plane) + from * row, (to - from) * row});
        }
    }
    return parts;
}

void Session::restore(const int32_t* tokens, uint32_t count, uint64_t key, const std::vector<StateFile>& files,
                      const StateProgress& progress) {
    if (count == 0) fail(FM_ENGINE, "a saved state has at least one token");
    if (count > max_tokens_) {
        fail(FM_CONTEXT, "saved state: ", count, " tokens exceed the session's context of ", max_tokens_);
    }
    const uint32_t kept = files.empty() || files.front().from == files.front().to ? count : files.front().from;
    uint32_t reached = kept;
    bool has_fixed = fixed_bytes_ == 0;
    for (const StateFile& file : files) {
        const bool is_fixed = file.from == file.to;
        if (is_fixed ? file.to != count || reached < count : file.from != reached || file.from >= count) {
            fail(FM_ENGINE, "the files of a saved state don't follow each other");
        }
        if (is_fixed) has_fixed = true;
        else reached = file.to;
    }
    if (kept > length_ || reached < count || !has_fixed) fail(FM_ENGINE, "the files are no whole state");
    unpinned(kept);
    planes_.grow(count);
    bool touched = false;
    try {
        for (const StateFile& file : files) {
            const StateIdentity identity{key, tokens, file.from, file.to};
            const auto parts = parts_of(file.from, std::min(file.to, count), nullptr);
            read_state_file(file.path, identity, count, parts, [&] { touched = true; }, progress);
        }
    } catch (...) {
        if (touched) reset();
        throw;
    }
    std::erase_if(marks_, [&](const auto& mark) { return mark->length > kept; });
    length_ = count;
    valid_ = true;
    logits_.clear();
    mark();
}

Snapshot::Snapshot(std::shared_ptr<Session> session, uint32_t length) : session_(std::move(session)), length_(length) {
    if (length == 0 || length > session_->length_) fail(FM_ENGINE, "there are no ", length, " tokens to save");
    for (const auto& mark : session_->marks_) {
        if (mark->length <= length) marks_.push_back(mark);
    }
    uint32_t none = 0;
    if (!session_->pinned_.compare_exchange_strong(none, length)) fail(FM_ENGINE, "the state is being saved already");
}

uint64_t Snapshot::save(const StateFile& file, const int32_t* tokens, uint64_t key,
                        const StateProgress& progress) const {
    const Mark* mark = nullptr;
    for (const auto& other : marks_) {
        if (other->length == file.to) mark = other.get();
    }
    if (file.from > file.to || file.to > length_ || (file.from == file.to && mark == nullptr && session_->fixed_bytes_ != 0)) {
        fail(FM_ENGINE, "there is nothing to save at ", file.from, " to ", file.to, " tokens");
    }
    return write_state_file(file.path, {key, tokens, file.from, file.to}, session_->parts_of(file.from, file.to, mark),
                            progress);
}

} // namespace flashmoe
