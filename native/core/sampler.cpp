#include "core/sampler.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace flashmoe {

Sampler::Sampler(uint32_t vocab_size, uint32_t token_limit)
    : vocab_size_(vocab_size), token_limit_(std::min(vocab_size, token_limit)) {
    candidates_.reserve(token_limit_);
    weights_.reserve(token_limit_);
    biased_.reserve(token_limit_);
}

void Sampler::collect(const float* logits, const fm_sampling& params) {
    biased_.assign(logits, logits + token_limit_);
    for (size_t i = 0; i < params.bias_count; ++i) {
        const int32_t id = params.bias_ids[i];
        if (id < 0 || static_cast<uint32_t>(id) >= vocab_size_) fail(FM_ENGINE, "bias for token ", id, ": no such id");
        if (std::isnan(params.bias_values[i])) fail(FM_ENGINE, "bias for token ", id, " is not a number");
        if (static_cast<uint32_t>(id) < token_limit_) biased_[static_cast<uint32_t>(id)] += params.bias_values[i];
    }
    candidates_.clear();
    for (uint32_t id = 0; id < token_limit_; ++id) {
        if (!std::isfinite(logits[id])) {
            fail(FM_ENGINE, "the logit of token ", id, " is not finite: the model's files or state are damaged");
        }
        const bool allowed = params.allowed == nullptr ||
                             (id / 32 < params.allowed_words && ((params.allowed[id / 32] >> (id % 32)) & 1) != 0);
        // A bias of minus infinity forbids.
        if (allowed && biased_[id] > -INFINITY) candidates_.push_back({biased_[id], id});
    }
    if (candidates_.empty()) fail(FM_ENGINE, "no token is allowed");
}

uint32_t Sampler::sample(const float* logits, const fm_sampling& params) {
    const bool sound = params.temperature >= 0 && params.temperature <= 100 && params.top_p > 0 && params.top_p <= 1 &&
                       params.min_p >= 0 && params.min_p <= 1;
    if (params.temperature != 0 && !sound) {
        fail(FM_ENGINE, "sampling needs temperature 0 to 100, top_p above 0 up to 1, min_p 0 to 1");
    }
    collect(logits, params);
    if (params.temperature == 0) {
        // Candidates stand in id order, so the first of equals has the lowest id.
        return std::max_element(candidates_.begin(), candidates_.end(),
                                [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; })
            ->id;
    }
    return draw(params);
}

uint32_t Sampler::draw(const fm_sampling& params) {
    const auto before = [](const Candidate& a, const Candidate& b) {
        return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
    };
    size_t count = candidates_.size();
    if (params.top_k != 0 && params.top_k < count) {
        std::partial_sort(candidates_.begin(), candidates_.begin() + params.top_k, candidates_.end(), before);
        count = params.top_k;
    } else {
        std::sort(candidates_.begin(), candidates_.end(), before);
    }
    const double max = candidates_[0].logit;
    double sum = 0;
    weights_.clear();
    for (size_t i = 0; i < count; ++i) {
        // An infinite bias gives 1 to its tokens and 0 to the rest.
        const double distance = candidates_[i].logit == candidates_[0].logit ? 0 : candidates_[i].logit - max;
        weights_.push_back(std::exp(distance / params.temperature));
        sum += weights_.back();
    }
    // Smallest prefix that holds top_p of the mass; then those at least min_p times as likely as the best.
    double kept = 0;
    size_t keep = 0;
    while (keep < count && (keep == 0 || (kept < params.top_p * sum && weights_[keep] >= params.min_p * weights_[0]))) {
        kept += weights_[keep++];
    }
    double point = random_.uniform() * kept;
    for (size_t i = 0; i < keep; ++i) {
        point -= weights_[i];
        if (point < 0) return candidates_[i].id;
    }
    return candidates_[keep - 1].id;
}

} // namespace flashmoe
