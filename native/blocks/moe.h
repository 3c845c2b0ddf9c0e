// Mixture of experts over a whole pass of tokens: route them all, have each chosen expert once, multiply it with all of its
// tokens. A token's experts are added by ascending number, so results don't depend on where they lay and when they came.
#pragma once

#include <optional>
#include <vector>

#include "blocks/block.h"
#include "blocks/dense_mlp.h"
#include "blocks/expert_observer.h"
#include "experts/expert_store.h"

namespace flashmoe {

/// Host and device room for routing a chunk; sized once, for the longest chunk.
struct RoutingRoom {
    /// u32 and f32 [tokens, top_k].
    Span ids, weights;
    /// f32 [min(tokens * top_k, kMaxExpertEntries), hidden]: what experts give, before it is added.
    Span results;
    /// u32 [layers, chosen_each]: what routers chose whose experts a device took by number, and which
    /// layers' those are. The host looks at them after the next wait.
    Span chosen;
    size_t chosen_each = 0;
    struct Chosen {
        uint32_t layer, count;
    };
    std::vector<Chosen> unseen;
    /// Chosen experts, ascending; and, expert by expert, the tokens with their weights.
    std::vector<uint32_t> experts, counts, tokens;
    std::vector<float> token_weights;
    /// Where each expert's tokens start; and each entry's row of the results.
    std::vector<uint32_t> starts, rows;
    /// Experts that a device may still be reading.
    std::vector<uint32_t> held, order;
    Span chosen_by(uint32_t layer) const { return chosen + layer * chosen_each * sizeof(uint32_t); }
    static constexpr uint32_t kDropped = UINT32_MAX - 1;

    /// Of a token's chosen weight, what the experts that are computed carry together at least; 1: all of them are.
    float mass = 1;

    /// Takes from each of [tokens, top_k] choices those that `mass` can do without, the lightest first. `normalise`: the rest
    /// carries what all did.
    void drop_light(uint32_t token_count, uint32_t top_k, bool normalise);
    /// Gives a long pass's memory back.
    void shrink();
    /// Sizes the vectors; afterwards plan() allocates nothing.
    void reserve(uint32_t max_tokens, uint32_t max_top_k, uint32_t max_experts);
    /// Sorts [tokens, top_k] choices by expert. Expert i of `experts` has tokens [starts[i], starts[i] + counts[i]).
    void plan(uint32_t token_count, uint32_t top_k, uint32_t expert_count);
};

class Moe {
  public:
    Moe(const MoeSpec& spec, uint32_t layer, uint32_t hidden, uint32_t top_k, DenseWeights& weights);
    size_t scratch_floats() const;
    uint32_t top_k() const { return top_k_; }
    uint32_t experts() const { return experts_; }
    uint32_t features() const { return clamp_ != 0 ? bit(kClampedUnits) : 0; }

    /// y = moe(x), both [tokens, hidden], any number of tokens; batch.tokens and position are not looked at. `observer` may
    /// be null.
    void append(const Batch& batch, uint32_t tokens, Span x, Span y, ExpertStore& store, RoutingRoom& room,
                ExpertObserver* observer) const;

  private:
    class InUse;
    struct Works;

    /// Without the host's knowing what was chosen: nothing is waited for.
    void append_chosen(const Batch& batch, uint32_t tokens, Span x, Span y, const ExpertTable& table, RoutingRoom& room) const;
    Router router_of(uint32_t tokens, Span logits, Span ids, Span weights) const;
    void route(const Batch& batch, uint32_t tokens, Span x, const RoutingRoom& room) const;
    void add_shared(const Batch& batch, uint32_t tokens, Span x, Span y) const;
    void add_routed(Backend& backend, Span x, Span y, const ExpertStore& store, ExpertLease& lease, bool apart,
                    RoutingRoom& room, ExpertObserver* observer) const;
    void flush(Backend& backend, Works& made, Span x, Span y, bool apart, const RoutingRoom& room) const;

    uint32_t layer_, hidden_, experts_, top_k_, groups_, top_groups_;
    bool sigmoid_, normalise_;
    float scale_, clamp_;
    Matrix router_;
    Span choice_bias_;
    std::optional<DenseMlp> shared_;
    /// rows 0 = the shared expert has no gate.
    Matrix shared_gate_;
};

} // namespace flashmoe
