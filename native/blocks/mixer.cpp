#include "blocks/block.h"
#include "blocks/gated_delta_net.h"
#include "blocks/gqa.h"
#include "blocks/mla.h"

namespace flashmoe {

uint32_t RopeRegistry::add(const RopeSpec& rope) {
    for (size_t i = 0; i < ropes_.size(); ++i) {
        if (ropes_[i] == rope) return static_cast<uint32_t>(i);
    }
    ropes_.push_back(rope);
    return static_cast<uint32_t>(ropes_.size() - 1);
}

std::unique_ptr<Mixer> make_mixer(const MixerSpec& spec, uint32_t hidden, float norm_eps, const ModelOptions& options,
                                  DenseWeights& weights, RopeRegistry& ropes) {
    if (const auto* gqa = std::get_if<GqaSpec>(&spec)) {
        return std::make_unique<Gqa>(*gqa, hidden, norm_eps, options.exact_caches, weights, ropes);
    }
    if (const auto* mla = std::get_if<MlaSpec>(&spec)) {
        return std::make_unique<Mla>(*mla, hidden, options.exact_caches, weights, ropes);
    }
    return std::make_unique<GatedDeltaNet>(std::get<GatedDeltaNetSpec>(spec), hidden, norm_eps, weights);
}

} // namespace flashmoe
