// Looks at what routed experts multiply their weights with, for calibration: squares of each channel, added up over tokens.
// It computes the inner activations once more by a backend's plain operations, so no kernel has to know of it.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "core/memory.h"
#include "core/wrapped_buffer.h"

namespace flashmoe {

/// Sums over the tokens that chose an expert, each weighted by the square of the expert's share in the layer's output:
/// what a squared error of its weights costs there.
struct ChannelSquares {
    uint32_t experts = 0, hidden = 0, intermediate = 0;
    /// [hidden]: what gate and up take, over all experts.
    std::vector<double> input;
    /// [experts, intermediate]: what down takes.
    std::vector<double> inner;
    /// Tokens an expert was chosen for.
    std::vector<uint64_t> tokens;
};

class ExpertObserver {
  public:
    ExpertObserver(Backend& backend, uint32_t layers) : backend_(backend), layers_(layers) {}
    ExpertObserver(const ExpertObserver&) = delete;

    /// One expert's work on rows of x that the host can read; entries of `tokens` and `weights` as in ExpertBatch, so is `clamp`. Waits for
    /// the backend.
    void see(uint32_t layer, uint32_t experts, uint32_t expert, const ExpertWork& work, const uint32_t* tokens,
             const float* weights, Span x, float clamp);
    /// experts 0 for a layer that has seen nothing.
    const ChannelSquares& layer(uint32_t index) const { return layers_[index]; }

  private:
    void make_room(size_t floats);

    Backend& backend_;
    std::vector<ChannelSquares> layers_;
    PageMemory memory_;
    WrappedBuffer buffer_;
};

} // namespace flashmoe
