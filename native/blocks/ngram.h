// Rows that a token and those before it choose from a table on disk, gated by the residual streams and added to them.
#pragma once

#include "blocks/block.h"
#include "experts/row_reader.h"

namespace flashmoe {

class Ngram {
  public:
    /// Throws FM_MODEL_DAMAGED where heads reach out of the table.
    Ngram(const NgramSpec& spec, const RowTable& table, uint32_t streams, uint32_t hidden, float norm_eps, DenseWeights& weights);

    uint32_t heads() const { return heads_; }
    size_t scratch_floats() const;
    /// Rows of the convolution, then the ids before the next token.
    uint64_t state_bytes() const { return history_bytes() + size_t{order_ - 1} * sizeof(uint32_t); }
    /// The rows of all heads of `count` tokens, behind those that `state` has seen.
    std::shared_ptr<RowRead> rows(const int32_t* ids, uint32_t count, Span state) const;
    /// h [tokens, streams, hidden] grows; advances the state. `ids` are the batch's; its rows begin at `first` of `read`, token
    /// after token.
    void append(const Batch& batch, const int32_t* ids, const RowRead& read, size_t first, Span h, Span state) const;

  private:
    size_t history_bytes() const;
    /// The table's row i of `read` as numbers.
    void decode(Backend& backend, const RowRead& read, size_t index, Span to) const;

    const RowTable& table_;
    uint32_t order_, heads_per_order_, heads_, columns_, conv_kernel_, streams_, hidden_;
    int32_t stop_id_;
    float norm_eps_;
    std::vector<int64_t> multipliers_, sizes_, offsets_;
    Matrix key_, value_;
    Span key_norm_, query_norm_, conv_norm_, conv_;
};

} // namespace flashmoe
