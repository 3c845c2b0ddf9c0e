// From logits to one token. Order: bias, mask, then greedy, or temperature, top-k, softmax, top-p, min-p, draw.
#pragma once

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "flashmoe.h"

namespace flashmoe {

class Sampler {
  public:
    /// Ids at or above token_limit are never chosen.
    Sampler(uint32_t vocab_size, uint32_t token_limit);

    void seed(uint64_t seed) { random_ = Random(seed); }
    /// Equal logits: the lower id wins. Throws FM_ENGINE for logits that are not finite, an empty choice or bad parameters.
    uint32_t sample(const float* logits, const fm_sampling& params);

  private:
    struct Candidate {
        float logit;
        uint32_t id;
    };

    void collect(const float* logits, const fm_sampling& params);
    uint32_t draw(const fm_sampling& params);

    uint32_t vocab_size_, token_limit_;
    Random random_{0};
    std::vector<float> biased_;
    std::vector<Candidate> candidates_;
    std::vector<double> weights_;
};

} // namespace flashmoe
