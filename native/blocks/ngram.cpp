#include "blocks/ngram.h"

#include <cstring>

namespace flashmoe {

Ngram::Ngram(const NgramSpec& spec, const RowTable& table, uint32_t streams, uint32_t hidden, float norm_eps,
             DenseWeights& weights)
    : table_(table), order_(spec.order), heads_per_order_(spec.heads_per_order), heads_(spec.heads()), columns_(spec.columns()),
      conv_kernel_(spec.conv_kernel), streams_(streams), hidden_(hidden), stop_id_(static_cast<int32_t>(spec.stop_id)),
      norm_eps_(norm_eps), multipliers_(weights.integers(spec.multipliers, order_)),
      sizes_(weights.integers(spec.sizes, heads_)), offsets_(weights.integers(spec.offsets, heads_)),
      key_(weights.matrix(spec.key, streams * hidden, spec.width)), value_(weights.matrix(spec.value, hidden, spec.width)),
      key_norm_(weights.values(spec.key_norm, {streams * hidden})),
      query_norm_(weights.values(spec.query_norm, {streams * hidden})),
      conv_norm_(weights.values(spec.conv_norm, {streams * hidden})),
      conv_(weights.transposed(spec.conv, streams * hidden, conv_kernel_)) {
    if (table.info.columns != columns_) {
        fail(FM_MODEL_DAMAGED, table.file.path(), ": rows of ", table.info.columns, " values, the model needs ", columns_);
    }
    const auto rows = static_cast<int64_t>(table.info.rows);
    for (uint32_t head = 0; head < heads_; ++head) {
        const int64_t size = sizes_[head], offset = offsets_[head];
        if (size > 0 && size <= rows && offset >= 0 && offset <= rows - size) continue;
        fail(FM_MODEL_DAMAGED, spec.sizes, ": head ", head, " reaches out of the table's ", rows, " rows");
    }
}

size_t Ngram::history_bytes() const {
    return round_up(size_t{conv_kernel_ - 1} * order_ * streams_ * hidden_ * sizeof(float), 64);
}

size_t Ngram::scratch_floats() const { return key_.cols + 3 * size_t{streams_} * hidden_ + hidden_; }

std::shared_ptr<RowRead> Ngram::rows(const int32_t* ids, uint32_t count, Span state) const {
    // Ids are kept plus one: 0 stands for what is before the start.
    const uint32_t* before = (state + history_bytes()).as<const uint32_t>();
    const uint32_t kept = order_ - 1;
    const auto id_at = [&](uint32_t index) {
        return index < kept ? static_cast<int32_t>(before[index]) - 1 : ids[index - kept];
    };
    std::vector<uint64_t> rows;
    rows.reserve(size_t{count} * heads_);
    for (uint32_t t = 0; t < count; ++t) {
        auto hash = static_cast<uint64_t>(ids[t]) * static_cast<uint64_t>(multipliers_[0]);
        bool stopped = false;
        size_t head = 0;
        for (uint32_t s = 1; s < order_; ++s) {
            const int32_t id = id_at(kept + t - s);
            stopped = stopped || id < 0 || id == stop_id_;
            hash ^= static_cast<uint64_t>(stopped ? stop_id_ : id) * static_cast<uint64_t>(multipliers_[s]);
            for (uint32_t i = 0; i < heads_per_order_; ++i, ++head) {
                rows.push_back(hash % static_cast<uint64_t>(sizes_[head]) + static_cast<uint64_t>(offsets_[head]));
            }
        }
    }
    return std::make_shared<RowRead>(table_, std::move(rows));
}

void Ngram::decode(Backend& backend, const RowRead& read, size_t index, Span to) const {
    const RowTableFile& info = table_.info;
    // The backend takes a row as a table of one.
    const Buffer row{const_cast<std::byte*>(read.row(index)), info.row_bytes(), nullptr};
    int32_t none = 0;
    const Buffer id{reinterpret_cast<std::byte*>(&none), sizeof none, nullptr};
    const Span at{&row, 0};
    const Matrix matrix{.weight = at,
                        .scales = at + info.code_bytes(),
                        .biases = at + info.code_bytes() + info.parameter_bytes(),
                        .rows = 1,
                        .cols = columns_,
                        .bits = info.bits,
                        .group = info.group,
                        .type = info.type};
    backend.embed(matrix, Span{&id, 0}, to, 1);
}

void Ngram::append(const Batch& batch, const int32_t* ids, const RowRead& read, size_t first, Span h, Span state) const {
    Backend& backend = batch.backend;
    const uint32_t tokens = batch.tokens, all = streams_ * hidden_;
    ScratchCursor scratch(batch.scratch);
    const Span e = scratch.take(size_t{tokens} * key_.cols);
    const Span key = scratch.take(size_t{tokens} * all), query = scratch.take(size_t{tokens} * all);
    const Span gated = scratch.take(size_t{tokens} * all), value = scratch.take(size_t{tokens} * hidden_);
    for (size_t i = 0; i < size_t{tokens} * heads_; ++i) decode(backend, read, first + i, e + i * columns_ * sizeof(float));
    backend.linear(key_, e, key, tokens);
    backend.linear(value_, e, value, tokens);
    backend.group_norm(key, key_norm_, key, streams_, hidden_, norm_eps_, tokens);
    backend.group_norm(h, query_norm_, query, streams_, hidden_, norm_eps_, tokens);
    backend.gate_streams({.key = key,
                          .query = query,
                          .value = value,
                          .out = gated,
                          .streams = streams_,
                          .width = hidden_,
                          .tokens = tokens});
    backend.group_norm(gated, conv_norm_, key, streams_, hidden_, norm_eps_, tokens);
    backend.dilated_convolution({.x = gated,
                                 .normed = key,
                                 .y = h,
                                 .weights = conv_,
                                 .history = state,
                                 .channels = all,
                                 .kernel = conv_kernel_,
                                 .dilation = order_,
                                 .tokens = tokens});
    auto* before = (state + history_bytes()).as<uint32_t>();
    for (uint32_t t = 0; t < tokens; ++t) {
        std::memmove(before, before + 1, (order_ - 2) * sizeof(uint32_t));
        before[order_ - 2] = static_cast<uint32_t>(ids[t]) + 1;
    }
}

} // namespace flashmoe
