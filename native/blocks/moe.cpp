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
}

void RoutingRoom::plan(uint32_t token_count, uint32_t top_k, uint32_t expert_count) {
    const uint32_t* chosen = ids.as<uint32_t>();
    const float* chosen_weights = weights.as<float>();
    // Counting sort: counts, then starts, then entries, token order kept within an expert.
    counts.assign(expert_count, 0);
    for (size_t i = 0; i < size_t{token_count} * top_k; ++i) {
        if (chosen[i] >= expert_count) fail(FM_ENGINE, "the router chose no expert: what it was given is not finite");
        ++counts[chosen[i]];
    }
    starts.assign(expert_count, 0);
    for (uint32_t e = 1; e < expert_count; ++e) starts[e] = starts[e - 1] + counts[e - 1];
    for (size_t i = 0; i < size_t{token_count} * top_k; ++i) {
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
      scale_(spec.routed_scale), router_(weights.matrix(spec.router, spec.experts, hidden)) {
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
    return std::max<size_t>(experts_, shared);
}

void Moe::append(const Batch& batch, uint32_t tokens, Span x, Span y, const ExpertLayer& files, ExpertReader& reader,
                 RoutingRoom& room, ExpertObserver* observer) const {
    route(batch, tokens, x, room);
    // The only wait of a layer: its answer says which experts to read. Everything before it is done then, the last
    // layer's experts included, so that all slots are free.
    batch.backend.wait();
    room.plan(tokens, top_k_, experts_);
    ExpertReads reads(reader, files, room.experts.data(), static_cast<uint32_t>(room.experts.size()));
    std::memset(y.as<float>(), 0, size_t{tokens} * hidden_ * sizeof(float));
    if (shared_) add_shared(batch, tokens, x, y);
    // A device computes this while the first experts are read.
    batch.backend.submit();
    add_routed(batch.backend, x, y, files, reads, room, observer);
}

void Moe::route(const Batch& batch, uint32_t tokens, Span x, const RoutingRoom& room) const {
    for (uint32_t first = 0; first < tokens; first += kMaxBatchTokens) {
        const uint32_t count = std::min(kMaxBatchTokens, tokens - first);
        batch.backend.linear(router_, x + size_t{first} * hidden_ * sizeof(float), batch.scratch, count);
        batch.backend.route({.logits = batch.scratch,
                             .choice_bias = choice_bias_,
                             .ids = room.ids + size_t{first} * top_k_ * sizeof(uint32_t),
                             .weights = room.weights + size_t{first} * top_k_ * sizeof(float),
                             .experts = experts_,
                             .top_k = top_k_,
                             .groups = groups_,
                             .top_groups = top_groups_,
                             .sigmoid = sigmoid_,
                             .normalise = normalise_,
                             .scale = scale_,
                             .tokens = count});
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

/// Slots whose experts a device may still be reading, oldest first.
class Moe::SlotsInUse {
  public:
    SlotsInUse(Backend& backend, ExpertReads& reader) : backend_(backend), reader_(reader) {}

    void add(uint32_t slots) {
        const uint64_t ticket = backend_.submit();
        if (ticket == 0) return reader_.release(slots);
        groups_[(first_ + count_++) % kMost] = {ticket, slots};
        slots_ += slots;
    }
    /// Gives slots back until at most `slots` are held and another group has room.
    void shrink_to(uint32_t slots) {
        while (count_ > 0 && (slots_ > slots || count_ == kMost)) {
            const Group& oldest = groups_[first_];
            backend_.wait_for(oldest.ticket);
            reader_.release(oldest.slots);
            slots_ -= oldest.slots;
            first_ = (first_ + 1) % kMost;
            --count_;
        }
    }

  private:
    struct Group {
        uint64_t ticket;
        uint32_t slots;
    };
    static constexpr uint32_t kMost = 32;
    Backend& backend_;
    ExpertReads& reader_;
    Group groups_[kMost] = {};
    uint32_t first_ = 0, count_ = 0, slots_ = 0;
};

void Moe::add_routed(Backend& backend, Span x, Span y, const ExpertLayer& files, ExpertReads& reader,
                     const RoutingRoom& room, ExpertObserver* observer) const {
    ExpertWork works[kMaxExpertWorks];
    const auto total = static_cast<uint32_t>(room.experts.size());
    SlotsInUse in_use(backend, reader);
    // What the last group holds is computed while the other half of the slots is read into. A token's experts fit
    // all at once: then nothing waits here.
    const uint32_t keep = total <= reader.slots() ? total : reader.slots() / 2;
    uint32_t done = 0;
    while (done < total) {
        in_use.shrink_to(keep);
        // What is there is computed at once; only the first may have to be waited for.
        uint32_t taken = 0, count = 0, entries = 0;
        const auto flush = [&] {
            if (count != 0) backend.experts({works, count, room.tokens.data(), room.token_weights.data(), x, y});
            count = entries = 0;
        };
        while (done + taken < total && (taken == 0 || reader.is_next_ready())) {
            const Span slot = reader.next();
            const uint32_t index = done + taken++;
            const auto in_slot = [&](Matrix matrix) {
                for (Span* span : {&matrix.weight, &matrix.scales, &matrix.biases}) *span = slot + span->offset;
                return matrix;
            };
            const ExpertWork whole{in_slot(files.gate), in_slot(files.up), in_slot(files.down), 0, 0};
            for (uint32_t first = 0; first < room.counts[index]; first += kMaxBatchTokens) {
                const uint32_t part = std::min(kMaxBatchTokens, room.counts[index] - first);
                if (count == kMaxExpertWorks || entries + part > kMaxExpertEntries) flush();
                works[count] = whole;
                works[count].first = room.starts[index] + first;
                works[count].count = part;
                if (observer != nullptr) {
                    observer->see(layer_, experts_, room.experts[index], works[count], room.tokens.data(),
                                  room.token_weights.data(), x);
                }
                ++count;
                entries += part;
            }
        }
        flush();
        in_use.add(taken);
        done += taken;
    }
}

} // namespace flashmoe
