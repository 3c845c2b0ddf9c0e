#include "blocks/moe.h"

#include <algorithm>
#include <cstring>

namespace flashmoe {

void RoutingRoom::reserve(uint32_t max_tokens, uint32_t max_top_k, uint32_t max_experts) {
    const size_t choices = size_t{max_tokens} * max_top_k;
    experts.reserve(max_experts);
    counts.reserve(max_experts);
    starts.reserve(max_experts);
    if (tokens.size() < choices) tokens.resize(choices);
    if (token_weights.size() < choices) token_weights.resize(choices);
    if (rows.size() < choices) rows.resize(choices);
    held.reserve(max_experts);
}

void RoutingRoom::shrink() {
    tokens = rows = {};
    token_weights = {};
}

void RoutingRoom::drop_light(uint32_t token_count, uint32_t top_k, bool normalise) {
    order.resize(top_k);
    for (uint32_t t = 0; t < token_count; ++t) {
        uint32_t* chosen = ids.as<uint32_t>() + size_t{t} * top_k;
        float* carried = weights.as<float>() + size_t{t} * top_k;
        float total = 0, kept = 0;
        for (uint32_t k = 0; k < top_k; ++k) {
            order[k] = k;
            total += carried[k];
        }
        std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return carried[a] != carried[b] ? carried[a] > carried[b] : a < b; });
        uint32_t count = 0;
        while (count < top_k && kept < mass * total) kept += carried[order[count++]];
        for (uint32_t k = count; k < top_k; ++k) chosen[order[k]] = kDropped;
        for (uint32_t k = 0; k < count && normalise; ++k) carried[order[k]] *= total / kept;
    }
}

void RoutingRoom::plan(uint32_t token_count, uint32_t top_k, uint32_t expert_count) {
    const uint32_t* chosen = ids.as<uint32_t>();
    const float* chosen_weights = weights.as<float>();
    // Counting sort: counts, then starts, then entries, token order kept within an expert.
    counts.assign(expert_count, 0);
    for (size_t i = 0; i < size_t{token_count} * top_k; ++i) {
        if (chosen[i] == kDropped) continue;
        if (chosen[i] >= expert_count) fail(FM_ENGINE, kNoExpert);
        ++counts[chosen[i]];
    }
    starts.assign(expert_count, 0);
    for (uint32_t e = 1; e < expert_count; ++e) starts[e] = starts[e - 1] + counts[e - 1];
    for (size_t i = 0; i < size_t{token_count} * top_k; ++i) {
        if (chosen[i] == kDropped) continue;
        const uint32_t entry = starts[chosen[i]]++;
        tokens[entry] = static_cast<uint32_t>(i / top_k);
        token_weights[entry] = chosen_weights[i];
    }
    experts.clear();
    for (uint32_t e = 0, kept = 0; e < expert_count; ++e) {
        if (counts[e] == 0) continue;
        experts.push_back(e);
        starts[kept] = starts[e] - counts[e];
        counts[kept++] = counts[e];
    }
}

Moe::Moe(const MoeSpec& spec, uint32_t layer, uint32_t hidden, uint32_t top_k, DenseWeights& weights)
    : layer_(layer), hidden_(hidden), experts_(spec.experts), top_k_(top_k == 0 ? spec.top_k : top_k), groups_(spec.groups),
      top_groups_(spec.top_groups), sigmoid_(spec.sigmoid_scoring), normalise_(spec.norm_top_k),
      scale_(spec.routed_scale), clamp_(spec.clamp),
      router_(spec.router_bias ? weights.biased(spec.router, spec.experts, hidden) : weights.matrix(spec.router, spec.experts, hidden)) {
    const uint32_t most = top_groups_ * (experts_ / groups_);
    if (top_k_ > most) fail(FM_ENGINE, top_k_, " experts per token: layer ", layer, " can choose at most ", most);
    if (!spec.choice_bias.empty()) choice_bias_ = weights.values(spec.choice_bias, {spec.experts});
    if (spec.shared) {
        shared_.emplace(spec.shared->gate, spec.shared->up, spec.shared->down, spec.shared->intermediate_size, hidden,
                        weights);
        if (!spec.shared->sigmoid_gate.empty()) shared_gate_ = weights.matrix(spec.shared->sigmoid_gate, 1, hidden);
    }
}

size_t Moe::scratch_floats() const {
    const size_t shared = shared_ ? shared_->scratch_floats() + hidden_ + 1 : 0;
    return experts_ + shared;
}

void Moe::append(const Batch& batch, uint32_t tokens, Span x, Span y, ExpertStore& store, RoutingRoom& room,
                 ExpertObserver* observer) const {
    // A token's experts are computed as they come, hits first, and kept apart; a prompt's are too many for that, and come in
    // order. Either way each token's are added by ascending number.
    const bool apart = tokens * top_k_ <= kMaxExpertEntries;
    if (apart && tokens <= kMaxBatchTokens && room.mass == 1 && observer == nullptr) {
        if (const ExpertTable* table = store.table(layer_)) return append_chosen(batch, tokens, x, y, *table, room);
    }
    route(batch, tokens, x, room);
    // The only wait of a layer: its answer says which experts to read. Everything before it is done then, the last
    // layer's experts included, so that their places are free.
    batch.backend.wait();
    store.device_is_done();
    if (room.mass < 1) room.drop_light(tokens, top_k_, normalise_);
    room.plan(tokens, top_k_, experts_);
    ExpertLease lease(store, layer_, room.experts.data(), room.counts.data(), static_cast<uint32_t>(room.experts.size()), !apart);
    if (apart) std::memset(y.as<float>(), 0, size_t{tokens} * hidden_ * sizeof(float));
    else batch.backend.clear(y, size_t{tokens} * hidden_);
    if (shared_) add_shared(batch, tokens, x, y);
    // A device computes this while the first experts are read; where none is, it goes with them.
    if (lease.reads()) batch.backend.submit();
    add_routed(batch.backend, x, y, store, lease, apart, room, observer);
}

void Moe::append_chosen(const Batch& batch, uint32_t tokens, Span x, Span y, const ExpertTable& table, RoutingRoom& room) const {
    Backend& backend = batch.backend;
    const uint32_t count = tokens * top_k_;
    const Batch whole{backend, batch.position, tokens, batch.ropes, batch.scratch};
    ScratchCursor scratch(batch.scratch);
    const Span logits = scratch.take(size_t{tokens} * experts_);
    ChosenExperts op{.table = &table,
                     .ids = room.chosen_by(layer_),
                     .weights = room.weights,
                     .x = x,
                     .results = room.results,
                     .y = y,
                     .shared_down = {},
                     .shared_inner = {},
                     .shared_gate = {},
                     .shared_room = {},
                     .tokens = tokens,
                     .top_k = top_k_,
                     .hidden = hidden_,
                     .clamp = clamp_};
    Span up;
    if (shared_) {
        const size_t inner = size_t{tokens} * shared_->width();
        op.shared_down = shared_->down();
        op.shared_inner = scratch.take(inner);
        up = scratch.take(inner);
        op.shared_room = scratch.take(size_t{tokens} * hidden_);
        if (shared_gate_.rows != 0) op.shared_gate = scratch.take(tokens);
    }
    {
        const SideBySide maps(backend);
        backend.linear(router_, x, logits, tokens);
        if (op.shared_gate) backend.linear(shared_gate_, x, op.shared_gate, tokens);
        if (shared_) shared_->begin(whole, x, op.shared_inner, up);
    }
    {
        const SideBySide both(backend);
        backend.route(router_of(tokens, logits, op.ids, op.weights));
        if (shared_) shared_->unite(whole, op.shared_inner, up);
    }
    backend.chosen_experts(op);
    room.unseen.push_back({layer_, count});
}

Router Moe::router_of(uint32_t tokens, Span logits, Span ids, Span weights) const {
    return {.logits = logits,
            .choice_bias = choice_bias_,
            .ids = ids,
            .weights = weights,
            .experts = experts_,
            .top_k = top_k_,
            .groups = groups_,
            .top_groups = top_groups_,
            .sigmoid = sigmoid_,
            .normalise = normalise_,
            .scale = scale_,
            .tokens = tokens};
}

void Moe::route(const Batch& batch, uint32_t tokens, Span x, const RoutingRoom& room) const {
    for (uint32_t first = 0; first < tokens; first += kMaxBatchTokens) {
        const uint32_t count = std::min(kMaxBatchTokens, tokens - first);
        batch.backend.linear(router_, x + size_t{first} * hidden_ * sizeof(float), batch.scratch, count);
        batch.backend.route(router_of(count, batch.scratch, room.ids + size_t{first} * top_k_ * sizeof(uint32_t),
                                      room.weights + size_t{first} * top_k_ * sizeof(float)));
    }
}

void Moe::add_shared(const Batch& batch, uint32_t tokens, Span x, Span y) const {
    for (uint32_t first = 0; first < tokens; first += kMaxBatchTokens) {
        const uint32_t count = std::min(kMaxBatchTokens, tokens - first);
        const size_t offset = size_t{first} * hidden_ * sizeof(float);
        ScratchCursor scratch(batch.scratch);
        const Span out = scratch.take(size_t{count} * hidden_);
        Span gate;
        if (shared_gate_.rows != 0) {
            gate = scratch.take(count);
            batch.backend.linear(shared_gate_, x + offset, gate, count);
        }
        const Span inner = scratch.take(0);
        shared_->append(Batch{batch.backend, batch.position, count, batch.ropes, inner}, x + offset, out);
        batch.backend.add_gated(y + offset, out, gate, hidden_, count);
    }
}

/// Experts that a device may still be reading, oldest first.
class Moe::InUse {
  public:
    InUse(Backend& backend, ExpertLease& lease, std::vector<uint32_t>& room) : backend_(backend), lease_(lease), held_(room) {
        held_.clear();
    }

    /// What was computed since the last call.
    void add(const uint32_t* indexes, uint32_t count) {
        const uint64_t ticket = backend_.submit();
        if (ticket == 0) {
            for (uint32_t i = 0; i < count; ++i) lease_.release(indexes[i]);
            return;
        }
        held_.insert(held_.end(), indexes, indexes + count);
        if (groups_ == kMost) shrink_to(kMost - 1);
        group_[groups_++] = {ticket, static_cast<uint32_t>(held_.size())};
    }
    /// Gives back what the device is done with, and waits for it, until at most `groups` are left.
    void shrink_to(uint32_t groups) {
        while (groups_ > groups) {
            backend_.wait_for(group_[0].ticket);
            while (given_back_ < group_[0].end) lease_.release(held_[given_back_++]);
            std::copy(group_ + 1, group_ + groups_, group_);
            --groups_;
        }
    }

  private:
    struct Group {
        uint64_t ticket;
        /// Of `held_`.
        uint32_t end;
    };
    static constexpr uint32_t kMost = 32;
    Backend& backend_;
    ExpertLease& lease_;
    std::vector<uint32_t>& held_;
    Group group_[kMost] = {};
    uint32_t groups_ = 0, given_back_ = 0;
};

/// The works that go to the backend together.
struct Moe::Works {
    ExpertWork works[kMaxExpertWorks];
    uint32_t count = 0, entries = 0;
    /// Which shape of the layer's all of them have: a backend takes one at a time.
    uint32_t shape = 0;
    /// Row of the results that the next one begins with.
    uint32_t row = 0;
};

void Moe::flush(Backend& backend, Works& made, Span x, Span y, bool apart, const RoutingRoom& room) const {
    if (made.count == 0) return;
    backend.experts({made.works, made.count, room.tokens.data(), room.token_weights.data(), x, room.results, made.row, clamp_, !apart});
    if (apart) {
        made.row += made.entries;
    } else {
        const uint32_t first = made.works[0].first;
        backend.add_experts({room.tokens.data() + first, room.rows.data() + first, made.entries, room.results, y, hidden_});
    }
    made.count = made.entries = 0;
}

void Moe::add_routed(Backend& backend, Span x, Span y, const ExpertStore& store, ExpertLease& lease, bool apart,
                     RoutingRoom& room, ExpertObserver* observer) const {
    const ExpertLayer& files = store.layer(layer_);
    InUse in_use(backend, lease, room.held);
    Works made;
    const auto add = [&](uint32_t index) {
        const uint32_t shape = files.shape_of(room.experts[index]);
        if (made.shape != shape) flush(backend, made, x, y, apart, room);
        made.shape = shape;
        const ExpertShape& of = files.shapes[shape];
        const Span start = lease.at(index);
        const auto in_place = [&](Matrix matrix) {
            for (Span* span : {&matrix.weight, &matrix.scales, &matrix.biases, &matrix.bias}) *span = start + span->offset;
            return matrix;
        };
        const ExpertWork whole{in_place(of.gate), in_place(of.up), in_place(of.down), 0, 0};
        for (uint32_t done = 0; done < room.counts[index]; done += kMaxBatchTokens) {
            const uint32_t part = std::min(kMaxBatchTokens, room.counts[index] - done);
            if (made.count == kMaxExpertWorks || made.entries + part > kMaxExpertEntries) flush(backend, made, x, y, apart, room);
            ExpertWork& work = made.works[made.count++];
            work = whole;
            work.first = room.starts[index] + done;
            work.count = part;
            for (uint32_t i = 0; i < part; ++i) room.rows[work.first + i] = made.row + made.entries + i;
            made.entries += part;
            if (observer != nullptr) {
                observer->see(layer_, experts_, room.experts[index], work, room.tokens.data(), room.token_weights.data(), x, clamp_);
            }
        }
    };
    for (;;) {
        // What is there is computed at once; only the first may have to be waited for.
        uint32_t taken[kMaxExpertWorks], count = 0;
        while (count < kMaxExpertWorks) {
            uint32_t index = lease.next(false);
            if (index == ExpertLease::kNone && count == 0) {
                if (lease.wants_room()) in_use.shrink_to(0);
                index = lease.next(true);
            }
            if (index == ExpertLease::kNone) break;
            taken[count++] = index;
        }
        if (count == 0) break;
        // Kept apart they may be computed in any order, so those of one shape go together.
        if (apart && files.shapes.size() > 1) {
            const auto key = [&](uint32_t index) { return std::pair(files.shape_of(room.experts[index]), index); };
            std::sort(taken, taken + count, [&](uint32_t a, uint32_t b) { return key(a) < key(b); });
        }
        for (uint32_t i = 0; i < count; ++i) add(taken[i]);
        flush(backend, made, x, y, apart, room);
        // What comes last goes with what comes after the experts, and is given back at the wait behind that.
        if (apart && lease.is_done()) break;
        in_use.add(taken, count);
        // The last group is computed while places of those before it are read into.
        if (lease.wants_room()) in_use.shrink_to(1);
    }
    if (apart) {
        const auto entries = static_cast<uint32_t>(room.starts[room.experts.size() - 1] + room.counts[room.experts.size() - 1]);
        backend.add_experts({room.tokens.data(), room.rows.data(), entries, room.results, y, hidden_});
    }
}

} // namespace flashmoe
