// Routing and routed experts as dispatches.
#include "backend/metal/metal_backend.h"

#include <algorithm>

#include "../../../metal/args.h"
#include "core/error.h"

namespace flashmoe::metal {

void MetalBackend::route(const Router& op) {
    if (op.experts > 1024 || op.top_k > kSimd || op.groups > 32) {
        fail(FM_ENGINE, op.experts, " experts, ", op.top_k, " a token: the Metal router goes to 1024 and 32");
    }
    recorder_.begin(op.experts <= 256 ? kernels_.route_256 : op.experts <= 512 ? kernels_.route_512 : kernels_.route_1024);
    recorder_.bind(0, op.logits);
    recorder_.bind(1, op.choice_bias ? op.choice_bias : op.logits);
    recorder_.bind(2, op.ids);
    recorder_.bind(3, op.weights);
    recorder_.bytes(4, FmRouterArgs{op.experts, op.top_k, op.groups, op.top_groups, op.sigmoid ? 1u : 0u, op.normalise ? 1u : 0u,
                          op.choice_bias ? 1u : 0u, op.scale});
    recorder_.dispatch({op.tokens, 1, 1}, kSimd);
}

void MetalBackend::dispatch_expert_rows(const Matrix& matrix, uint32_t hidden, uint32_t width, const ExpertChoice& choice) {
    const uint32_t entries = choice.entries;
    const RowShare share = share_rows(matrix.rows, matrix.cols, entries);
    const ChosenExperts* chosen = choice.chosen;
    recorder_.bytes(5, FmExpertArgs{hidden, width, matrix.group, choice.works, share.parts, share.rows_each, FM_CODE_EXPONENT,
                                    chosen ? chosen->top_k : 0, chosen ? chosen->table->experts : 0, choice.part});
    if (matrix.bits == 0) recorder_.dispatch({groups_of(matrix.rows, kSimds), entries, 1}, kThreads);
    else recorder_.dispatch({share.groups, entries, 1}, FM_ROW_SIMDS * kSimd);
}

/// Entries of a work that share a tile of its weights: 0, each reads them for itself.
static uint32_t tile_of(const ExpertBatch& op, const ExpertWork& work) {
    constexpr uint32_t kFewest = 4, kMany = 16;
    if (!op.tiled || work.gate.bits == 0 || work.down.bits == 0 || work.count < kFewest) return 0;
    return work.count > kMany ? 32 : 8;
}

void MetalBackend::experts(const ExpertBatch& op) {
    // The pool lies in several buffers: a dispatch takes what lies in one of them, and what has tiles of one size.
    uint32_t row = op.first_row;
    // Experts begin with x, while the shared expert is added to what they will be added to.
    if (recorder_.counters().dispatches == gated_) recorder_.beside_last();
    for (uint32_t first = 0, count = 0; first < op.count; first += count) {
        const auto kind = [&](uint32_t index) { return std::pair(op.works[index].gate.weight.buffer, tile_of(op, op.works[index])); };
        for (count = 1; first + count < op.count && kind(first + count) == kind(first);) ++count;
        row += experts_of_one_buffer(op, first, count, row);
    }
}

uint32_t MetalBackend::experts_of_one_buffer(const ExpertBatch& op, uint32_t first, uint32_t count, uint32_t row) {
    const Matrix& gate = op.works[first].gate;
    const Matrix& down = op.works[first].down;
    const Buffer* slots = gate.weight.buffer;
    FmExpertWork works[kMaxExpertWorks];
    uint32_t tokens[kMaxExpertEntries];
    float weights[kMaxExpertEntries];
    uint32_t entries = 0;
    const auto place = [&](const Span& span) {
        if (!span) return 0u; // unquantised: no scales
        // 32-bit byte offsets reach 4 GiB.
        if (span.buffer != slots || span.offset > UINT32_MAX) fail(FM_ENGINE, "an expert lies in more than one buffer");
        return static_cast<uint32_t>(span.offset);
    };
    for (uint32_t w = 0; w < count; ++w) {
        const ExpertWork& work = op.works[first + w];
        works[w] = {place(work.gate.weight), place(work.gate.scales), place(work.gate.biases),
                    place(work.up.weight),   place(work.up.scales),   place(work.up.biases),
                    place(work.down.weight), place(work.down.scales), place(work.down.biases),
                    entries,                 work.count};
        for (uint32_t i = 0; i < work.count; ++i, ++entries) {
            tokens[entries] = op.tokens[work.first + i];
            weights[entries] = op.weights[work.first + i];
        }
    }
    gpu::Buffer& inner = room(inner_, size_t{entries} * gate.rows * sizeof(float));
    const Span results = op.results + size_t{row} * down.rows * sizeof(float);
    if (const uint32_t tile = tile_of(op, op.works[first]); tile != 0) {
        uint32_t tiles = 0;
        for (uint32_t w = 0; w < count; ++w) tiles += groups_of(works[w].count, tile);
        recorder_.begin((tile == 8 ? kernels_.expert_tile_8_gate_up : kernels_.expert_tile_32_gate_up).of(gate));
        recorder_.bind(0, *static_cast<gpu::Buffer*>(slots->device));
        recorder_.bytes(1, works, count * sizeof *works);
        recorder_.bytes(2, tokens, entries * sizeof *tokens);
        recorder_.bind(3, op.x);
        recorder_.bind(4, inner);
        recorder_.bytes(5, FmExpertArgs{gate.cols, gate.rows, gate.group, count, 0, 0, 0, 0, 0, 0});
        recorder_.dispatch({groups_of(gate.rows, FM_MATMUL_ROWS), tiles, 1}, FM_MATMUL_THREADS);
        recorder_.begin((tile == 8 ? kernels_.expert_tile_8_down : kernels_.expert_tile_32_down).of(down));
        recorder_.bind(0, *static_cast<gpu::Buffer*>(slots->device));
        recorder_.bytes(1, works, count * sizeof *works);
        recorder_.bytes(2, weights, entries * sizeof *weights);
        recorder_.bind(3, inner);
        recorder_.bind(4, results);
        recorder_.bytes(5, FmExpertArgs{down.rows, down.cols, down.group, count, 0, 0, 0, 0, 0, 0});
        recorder_.dispatch({groups_of(down.rows, FM_MATMUL_ROWS), tiles, 1}, FM_MATMUL_THREADS);
        return entries;
    }

    recorder_.begin(kernels_.expert_gate_up.of(gate));
    recorder_.bind(0, *static_cast<gpu::Buffer*>(slots->device));
    recorder_.bytes(1, works, count * sizeof *works);
    recorder_.bytes(2, tokens, entries * sizeof *tokens);
    recorder_.bind(3, op.x);
    recorder_.bind(4, inner);
    // Of a router's own choice: not looked at.
    recorder_.bind(6, op.x);
    recorder_.bind(7, op.x);
    dispatch_expert_rows(gate, gate.cols, gate.rows, {count, entries});

    recorder_.begin(kernels_.expert_down.of(down));
    recorder_.bind(0, *static_cast<gpu::Buffer*>(slots->device));
    recorder_.bytes(1, works, count * sizeof *works);
    recorder_.bytes(2, weights, entries * sizeof *weights);
    recorder_.bind(3, inner);
    recorder_.bind(4, results);
    for (const uint32_t index : {6, 7, 8}) recorder_.bind(index, inner);
    dispatch_expert_rows(down, down.rows, down.cols, {count, entries});
    return entries;
}

void MetalBackend::chosen_experts(const ChosenExperts& op) {
    const uint32_t entries = op.tokens * op.top_k;
    const uint32_t width = op.table->parts.front().gate.rows;
    gpu::Buffer& inner = room(inner_, size_t{entries} * width * sizeof(float));
    const auto part_of = [&](uint32_t part) {
        const auto& [start, gate, up, down] = op.table->parts[part];
        const auto at = [](const Span& span) { return static_cast<uint32_t>(span.offset); };
        recorder_.bind(0, start);
        recorder_.bytes(1, FmExpertWork{at(gate.weight), at(gate.scales), at(gate.biases), at(up.weight), at(up.scales), at(up.biases),
                                        at(down.weight), at(down.scales), at(down.biases), 0, 0});
        recorder_.bytes(2, uint32_t{0});
        recorder_.bind(6, op.table->places);
        recorder_.bind(7, op.ids);
        return ExpertChoice{1, entries, &op, part};
    };
    const auto parts = static_cast<uint32_t>(op.table->parts.size());
    // Each part's dispatch passes over what lies in another: they don't see each other.
    recorder_.begin_side_by_side();
    for (uint32_t part = 0; part < parts; ++part) {
        const Matrix& gate = op.table->parts[part].gate;
        recorder_.begin(kernels_.expert_gate_up.of(gate));
        const ExpertChoice choice = part_of(part);
        recorder_.bind(3, op.x);
        recorder_.bind(4, inner);
        dispatch_expert_rows(gate, op.hidden, width, choice);
    }
    if (op.shared_down.rows != 0) linear(op.shared_down, op.shared_inner, op.shared_room, op.tokens);
    recorder_.end_side_by_side();
    recorder_.begin_side_by_side();
    for (uint32_t part = 0; part < parts; ++part) {
        const Matrix& down = op.table->parts[part].down;
        recorder_.begin(kernels_.expert_down.of(down));
        const ExpertChoice choice = part_of(part);
        recorder_.bind(3, inner);
        recorder_.bind(4, op.results);
        recorder_.bind(8, op.weights);
        dispatch_expert_rows(down, op.hidden, width, choice);
    }
    recorder_.end_side_by_side();
    const bool shared = op.shared_down.rows != 0;
    recorder_.begin(kernels_.combine_chosen);
    recorder_.bind(0, op.results);
    recorder_.bind(1, shared ? op.shared_room : op.results);
    recorder_.bind(2, op.shared_gate ? op.shared_gate : op.results);
    recorder_.bind(3, op.y);
    recorder_.bytes(4, FmCombineChosenArgs{op.hidden, op.top_k, shared ? 1u : 0u, op.shared_gate ? 1u : 0u});
    recorder_.dispatch({groups_of(op.hidden, kThreads), op.tokens, 1}, kThreads);
}

void MetalBackend::add_experts(const ExpertSum& op) {
    if (op.count == 0) return;
    recorder_.begin(kernels_.combine);
    recorder_.bind(0, op.results);
    recorder_.bytes(1, op.tokens, op.count * sizeof *op.tokens);
    recorder_.bind(2, op.y);
    recorder_.bytes(3, FmCombineArgs{op.width, op.count});
    recorder_.bytes(4, op.rows, op.count * sizeof *op.rows);
    recorder_.dispatch({groups_of(op.width, kThreads), op.count, 1}, kThreads);
}

} // namespace flashmoe::metal
