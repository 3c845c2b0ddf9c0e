#include "blocks/expert_observer.h"

#include <cstring>

namespace flashmoe {

void ExpertObserver::make_room(size_t floats) {
    if (memory_.size() >= floats * sizeof(float)) return;
    buffer_.reset();
    memory_ = PageMemory(floats * sizeof(float));
    buffer_ = WrappedBuffer(backend_, memory_.data(), memory_.size());
}

void ExpertObserver::see(uint32_t layer, uint32_t experts, uint32_t expert, const ExpertWork& work, const uint32_t* tokens,
                         const float* weights, Span x, float clamp) {
    const uint32_t hidden = work.gate.cols, intermediate = work.gate.rows;
    ChannelSquares& sums = layers_[layer];
    if (sums.experts == 0) {
        sums = {experts, hidden, intermediate, std::vector<double>(hidden),
                std::vector<double>(size_t{experts} * intermediate), std::vector<uint64_t>(experts)};
    }
    make_room(size_t{kMaxBatchTokens} * (hidden + 2 * intermediate));
    const Span rows = buffer_.span();
    const Span gate = rows + size_t{kMaxBatchTokens} * hidden * sizeof(float);
    const Span up = gate + size_t{kMaxBatchTokens} * intermediate * sizeof(float);
    for (uint32_t i = 0; i < work.count; ++i) {
        std::memcpy(rows.as<float>() + size_t{i} * hidden, x.as<float>() + size_t{tokens[work.first + i]} * hidden,
                    hidden * sizeof(float));
    }
    backend_.linear(work.gate, rows, gate, work.count);
    backend_.linear(work.up, rows, up, work.count);
    const size_t values = size_t{work.count} * intermediate;
    if (clamp != 0) backend_.clamped_swiglu(gate, up, gate, values, clamp);
    else backend_.swiglu(gate, up, gate, values);
    backend_.wait();

    double* inner = sums.inner.data() + size_t{expert} * intermediate;
    sums.tokens[expert] += work.count;
    for (uint32_t i = 0; i < work.count; ++i) {
        const double share = weights[work.first + i], square = share * share;
        const float* row = rows.as<float>() + size_t{i} * hidden;
        const float* units = gate.as<float>() + size_t{i} * intermediate;
        for (uint32_t c = 0; c < hidden; ++c) sums.input[c] += square * row[c] * row[c];
        for (uint32_t c = 0; c < intermediate; ++c) inner[c] += square * units[c] * units[c];
    }
}

} // namespace flashmoe
