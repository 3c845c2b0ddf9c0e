// Choosing experts and computing them.
#include <algorithm>
#include <cmath>

#include "backend/checks/checker.h"

namespace flashmoe::checks {
namespace {

struct RouterShape {
    uint32_t experts, top_k, groups, top_groups;
    bool sigmoid, normalise, biased;
};

constexpr RouterShape kRouters[] = {
    {512, 10, 1, 1, false, true, false}, {128, 8, 1, 1, false, false, false}, {256, 8, 8, 4, true, true, true},
    {384, 8, 1, 1, true, true, true},    {8, 8, 1, 1, false, true, false},    {60, 3, 4, 2, true, false, true},
    {700, 6, 1, 1, true, true, true},
};

/// What a token's scores make of it, in double.
struct Reference {
    std::vector<double> probabilities, choice;
};

Reference reference(const Router& op, const float* logits) {
    Reference made{std::vector<double>(op.experts), std::vector<double>(op.experts)};
    double sum = 0;
    for (uint32_t e = 0; e < op.experts; ++e) {
        made.probabilities[e] = op.sigmoid ? 1 / (1 + std::exp(-double{logits[e]})) : std::exp(double{logits[e]});
        sum += made.probabilities[e];
    }
    for (uint32_t e = 0; e < op.experts; ++e) {
        if (!op.sigmoid) made.probabilities[e] /= sum;
        made.choice[e] = made.probabilities[e] + (op.choice_bias ? op.choice_bias.as<float>()[e] : 0.0f);
    }
    if (op.groups == 1) return made;
    const uint32_t size = op.experts / op.groups;
    std::vector<std::pair<double, uint32_t>> groups;
    for (uint32_t g = 0; g < op.groups; ++g) {
        std::vector<double> scores(made.choice.begin() + g * size, made.choice.begin() + (g + 1) * size);
        std::sort(scores.rbegin(), scores.rend());
        groups.emplace_back(-(scores[0] + scores[1]), g);
    }
    std::sort(groups.begin(), groups.end());
    for (uint32_t i = op.top_groups; i < op.groups; ++i) {
        std::fill_n(made.choice.begin() + groups[i].second * size, size, -INFINITY);
    }
    return made;
}

void compare(Checker& checker, const Router& op, uint32_t token) {
    const uint32_t* ids = op.ids.as<uint32_t>() + token * op.top_k;
    const float* weights = op.weights.as<float>() + token * op.top_k;
    const Reference wanted = reference(op, op.logits.as<float>() + token * op.experts);
    std::vector<bool> chosen(op.experts, false);
    double total = 0, least = INFINITY, best_left = -INFINITY;
    for (uint32_t k = 0; k < op.top_k; ++k) {
        const bool sound = ids[k] < op.experts && (k == 0 || ids[k - 1] < ids[k]);
        checker.record("router: ids ascend", 0, sound ? 0 : 1);
        if (!sound) return;
        chosen[ids[k]] = true;
        total += wanted.probabilities[ids[k]];
        least = std::min(least, wanted.choice[ids[k]]);
    }
    for (uint32_t e = 0; e < op.experts; ++e) {
        if (!chosen[e]) best_left = std::max(best_left, wanted.choice[e]);
    }
    // Two scores closer than rounding may change places.
    checker.record("router: none left is better", 1e-6, std::max(best_left - least, 0.0));
    for (uint32_t k = 0; k < op.top_k; ++k) {
        const double weight = wanted.probabilities[ids[k]] / (op.normalise ? total : 1) * op.scale;
        checker.record("router: weights", 2e-6, std::fabs(weights[k] - weight) / op.scale);
    }
}

void check_shape(Checker& checker, const RouterShape& shape, bool ties) {
    constexpr uint32_t tokens = 5;
    std::vector<float> logits(size_t{tokens} * shape.experts);
    // With ties every logit is one of three values, so that only the index decides.
    for (float& logit : logits) {
        logit = ties ? static_cast<float>(checker.random().next() % 3) : static_cast<float>(4 * checker.uniform());
    }
    const Router op{.logits = checker.floats(logits),
                    .choice_bias = shape.biased && !ties ? checker.floats(shape.experts) : Span{},
                    .ids = checker.poisoned(tokens * shape.top_k * sizeof(uint32_t)),
                    .weights = checker.poisoned(tokens * shape.top_k * sizeof(float)),
                    .experts = shape.experts,
                    .top_k = shape.top_k,
                    .groups = shape.groups,
                    .top_groups = shape.top_groups,
                    .sigmoid = shape.sigmoid,
                    .normalise = shape.normalise,
                    .scale = 2.5f,
                    .tokens = tokens};
    checker.backend().route(op);
    checker.backend().wait();
    for (uint32_t t = 0; t < tokens; ++t) {
        compare(checker, op, t);
        if (!ties || shape.groups != 1) continue;
        const float* row = logits.data() + size_t{t} * shape.experts;
        std::vector<uint32_t> order(shape.experts);
        for (uint32_t e = 0; e < shape.experts; ++e) order[e] = e;
        std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return row[a] > row[b]; });
        std::sort(order.begin(), order.begin() + shape.top_k);
        const bool same = std::equal(order.begin(), order.begin() + shape.top_k, op.ids.as<uint32_t>() + t * shape.top_k);
        checker.record("router: the lower index wins a tie", 0, same ? 0 : 1);
    }
    checker.clear();
}

struct ExpertShape {
    uint32_t hidden, width, group, works, entries_each;
};

constexpr ExpertShape kExperts[] = {{64, 32, 32, 1, 1}, {160, 96, 32, 3, 2}, {4160, 64, 64, 2, 1}, {96, 160, 32, 2, 9},
                                    {128, 64, 64, 10, 1}, {32, 2080, 32, 1, 2}};
/// Enough entries a work that a device may take them together: a tile and a part of one.
constexpr ExpertShape kTiled[] = {{96, 160, 32, 2, 9}, {160, 96, 32, 2, 40}, {64, 32, 32, 3, 4}};
/// So many rows and entries that each simdgroup of a GPU walks through more than a few.
constexpr ExpertShape kManyRows[] = {{32, 2080, 32, 1, 8}, {2080, 32, 32, 1, 8}};

/// What expert outputs add up to in double precision, on top of what was there, and the size of the terms.
class References {
  public:
    References(const float* before, size_t count) : wanted_(before, before + count), size_(count, 1.0) {}

    /// One use of an expert for the token whose values begin at `row`.
    void add(const RandomMatrix& gate, const RandomMatrix& up, const RandomMatrix& down, const ExpertShape& shape,
             const float* input, float weight, size_t row) {
        inner_.resize(shape.width);
        for (uint32_t r = 0; r < shape.width; ++r) {
            const double sum = dot(gate.row(r), input, shape.hidden).sum;
            inner_[r] = sum / (1 + std::exp(-sum)) * dot(up.row(r), input, shape.hidden).sum;
        }
        for (uint32_t c = 0; c < shape.hidden; ++c) {
            const Dot sum = dot(down.row(c), inner_.data(), shape.width);
            wanted_[row + c] += weight * sum.sum;
            size_[row + c] += std::fabs(weight) * sum.size;
        }
    }
    size_t count() const { return wanted_.size(); }
    double error(size_t at, float value) const { return std::fabs(value - wanted_[at]) / size_[at]; }

  private:
    std::vector<double> wanted_, size_, inner_;
};

void check_experts_of(Checker& checker, const ExpertShape& shape, uint32_t bits, ElementType type, bool tiled = false) {
    const size_t slot_bytes = 2 * Checker::matrix_bytes(shape.width, shape.hidden, bits, shape.group, type) +
                              Checker::matrix_bytes(shape.hidden, shape.width, bits, shape.group, type);
    // All slots in one buffer, as reads fill them.
    const Span slots = checker.poisoned(slot_bytes * shape.works);
    size_t at = 0;
    const uint32_t entries = shape.works * shape.entries_each, tokens = shape.entries_each + 1;
    std::vector<ExpertWork> works;
    std::vector<RandomMatrix> gates, ups, downs;
    std::vector<uint32_t> rows;
    std::vector<float> weights;
    for (uint32_t w = 0; w < shape.works; ++w) {
        gates.push_back(checker.matrix_in(slots, at, shape.width, shape.hidden, bits, shape.group, type));
        ups.push_back(checker.matrix_in(slots, at, shape.width, shape.hidden, bits, shape.group, type));
        downs.push_back(checker.matrix_in(slots, at, shape.hidden, shape.width, bits, shape.group, type));
        // Entries of the works lie in another order than the works.
        works.push_back({gates[w].matrix, ups[w].matrix, downs[w].matrix, entries - (w + 1) * shape.entries_each,
                         shape.entries_each});
    }
    for (uint32_t i = 0; i < entries; ++i) {
        rows.push_back(i % shape.entries_each + (i / shape.entries_each) % 2);
        weights.push_back(static_cast<float>(checker.uniform()));
    }
    const Span x = checker.floats(size_t{tokens} * shape.hidden), y = checker.floats(size_t{tokens} * shape.hidden);
    References sums(y.as<float>(), size_t{tokens} * shape.hidden);
    // Two batches, the second half first: results stay apart until they are added in the order of entries.
    const Span results = checker.poisoned(size_t{entries} * shape.hidden * sizeof(float));
    const uint32_t half = shape.works / 2, behind = (shape.works - half) * shape.entries_each;
    checker.backend().experts({works.data() + half, shape.works - half, rows.data(), weights.data(), x, results, 0, 0, tiled});
    if (half != 0) checker.backend().experts({works.data(), half, rows.data(), weights.data(), x, results, behind, 0, tiled});
    std::vector<uint32_t> places(entries);
    for (uint32_t w = 0; w < shape.works; ++w) {
        const uint32_t row = w < half ? behind + w * shape.entries_each : (w - half) * shape.entries_each;
        for (uint32_t i = 0; i < shape.entries_each; ++i) places[works[w].first + i] = row + i;
    }
    checker.backend().add_experts({rows.data(), places.data(), entries, results, y, shape.hidden});
    checker.backend().wait();
    for (uint32_t w = 0; w < shape.works; ++w) {
        for (uint32_t i = 0; i < shape.entries_each; ++i) {
            const uint32_t entry = works[w].first + i;
            const size_t row = size_t{rows[entry]} * shape.hidden;
            sums.add(gates[w], ups[w], downs[w], shape, x.as<float>() + row, weights[entry], row);
        }
    }
    const char* name = bits == 2 ? "experts 2-bit" : bits == 4 ? "experts 4-bit" : bits == 8 ? "experts 8-bit" : "experts plain";
    for (size_t i = 0; i < sums.count(); ++i) checker.record(name, 5e-6, sums.error(i, y.as<float>()[i]));
    checker.clear();
}

/// Experts by the numbers that a router wrote give the very numbers that the same experts give in a list, wherever they lie.
void check_chosen_of(Checker& checker, uint32_t bits, ElementType type, bool shared) {
    constexpr uint32_t hidden = 128, width = 64, group = 32, experts = 5, top_k = 2, tokens = 3, entries = tokens * top_k;
    Backend& backend = checker.backend();
    const size_t bytes = 2 * Checker::matrix_bytes(width, hidden, bits, group, type) + Checker::matrix_bytes(hidden, width, bits, group, type);
    // Two buffers, and neither in the order of numbers.
    constexpr uint32_t part_of[experts] = {1, 0, 1, 1, 0}, place_of[experts] = {2, 1, 0, 1, 0};
    const Span slots[] = {checker.poisoned(2 * bytes), checker.poisoned(3 * bytes)};
    std::vector<ExpertWork> all(experts);
    ExpertTable table{.parts = {}, .places = {}, .experts = experts};
    std::vector<uint32_t> places;
    for (uint32_t e = 0; e < experts; ++e) {
        const Span slot = slots[part_of[e]];
        size_t at = place_of[e] * bytes;
        const Span start = slot + at;
        all[e].gate = checker.matrix_in(slot, at, width, hidden, bits, group, type).matrix;
        all[e].up = checker.matrix_in(slot, at, width, hidden, bits, group, type).matrix;
        all[e].down = checker.matrix_in(slot, at, hidden, width, bits, group, type).matrix;
        places.push_back(part_of[e]);
        places.push_back(static_cast<uint32_t>(start.offset));
    }
    for (uint32_t part = 0; part < 2; ++part) {
        ExpertWork shape = all[part == 0 ? 4 : 2];
        const size_t start = slots[part].offset;
        for (Matrix* matrix : {&shape.gate, &shape.up, &shape.down}) {
            for (Span* span : {&matrix->weight, &matrix->scales, &matrix->biases}) *span = {nullptr, span->offset - (*span ? start : span->offset)};
        }
        table.parts.push_back({{slots[part].buffer, 0}, shape.gate, shape.up, shape.down});
    }
    table.places = checker.words(places);
    const std::vector<uint32_t> ids{1, 3, 0, 4, 2, 3};
    std::vector<float> weights;
    for (uint32_t i = 0; i < entries; ++i) weights.push_back(static_cast<float>(checker.uniform()));
    const Span x = checker.floats(tokens * hidden), inner = checker.floats(tokens * width), gate = checker.floats(tokens);
    const RandomMatrix down = checker.matrix(hidden, width, bits, group, type);
    const Span results = checker.poisoned(entries * hidden * sizeof(float)), y = checker.poisoned(tokens * hidden * sizeof(float));
    const Span room = checker.poisoned(tokens * hidden * sizeof(float));
    backend.chosen_experts({.table = &table,
                            .ids = checker.words(ids),
                            .weights = checker.floats(weights),
                            .x = x,
                            .results = results,
                            .y = y,
                            .shared_down = shared ? down.matrix : Matrix{},
                            .shared_inner = inner,
                            .shared_gate = shared ? gate : Span{},
                            .shared_room = room,
                            .tokens = tokens,
                            .top_k = top_k,
                            .hidden = hidden});
    std::vector<ExpertWork> works;
    std::vector<uint32_t> rows, order;
    for (uint32_t i = 0; i < entries; ++i) {
        works.push_back(all[ids[i]]);
        works.back().first = i;
        works.back().count = 1;
        rows.push_back(i / top_k);
        order.push_back(i);
    }
    const Span listed = checker.floats(std::vector<float>(tokens * hidden)), apart = checker.poisoned(entries * hidden * sizeof(float));
    if (shared) {
        const Span out = checker.poisoned(tokens * hidden * sizeof(float));
        backend.linear(down.matrix, inner, out, tokens);
        backend.add_gated(listed, out, gate, hidden, tokens);
    }
    for (uint32_t i = 0; i < entries; ++i) backend.experts({&works[i], 1, rows.data(), weights.data(), x, apart, i});
    backend.add_experts({rows.data(), order.data(), entries, apart, listed, hidden});
    backend.wait();
    uint32_t other = 0;
    for (uint32_t i = 0; i < tokens * hidden; ++i) other += y.as<float>()[i] == listed.as<float>()[i] ? 0 : 1;
    checker.record("experts by number: the bits of the same in a list", 0, other);
    checker.clear();
}

} // namespace

void check_router(Checker& checker) {
    for (const RouterShape& shape : kRouters) {
        check_shape(checker, shape, false);
        check_shape(checker, shape, true);
    }
}

void check_experts(Checker& checker) {
    for (const uint32_t bits : {0u, 2u, 4u, 8u}) {
        for (const ElementType type : {ElementType::bf16, ElementType::f16, ElementType::f32}) {
            for (const ExpertShape& shape : kExperts) check_experts_of(checker, shape, bits, type);
            for (const ExpertShape& shape : kTiled) check_experts_of(checker, shape, bits, type, true);
            for (const bool shared : {true, false}) {
                if (checker.backend().chooses_experts()) check_chosen_of(checker, bits, type, shared);
            }
            if (bits != 4 || type != ElementType::bf16) continue;
            for (const ExpertShape& shape : kManyRows) check_experts_of(checker, shape, bits, type);
        }
    }
}

} // namespace flashmoe::checks
