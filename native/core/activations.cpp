#include "core/activations.h"

#include <cmath>
#include <cstring>

namespace flashmoe {

Activations::Activations(Backend& backend, const Model& model, uint32_t tokens) : model_(model), capacity_(tokens) {
    const size_t floats = size_t{tokens} * model.hidden;
    const auto& ropes = model.ropes.all();
    ropes_.resize(ropes.size());
    tables_.resize(ropes.size());
    std::vector<std::pair<Span*, size_t>> parts{{&ids, tokens}, {&h, floats * model.streams}, {&m, floats}, {&y, floats}};
    if (model.streams > 1) parts.emplace_back(&inject, size_t{tokens} * model.streams);
    if (model.shared_keys != 0) {
        parts.emplace_back(&shared_positions_, size_t{tokens} * model.shared_keys);
        parts.emplace_back(&shared_counts_, tokens);
    }
    for (size_t i = 0; i < ropes.size(); ++i) parts.emplace_back(&ropes_[i], size_t{tokens} * ropes[i].dims);
    size_t total = 0;
    for (auto& [span, count] : parts) {
        *span = buffer_.span(total);
        total += round_up(count * sizeof(float), 128);
    }
    memory_ = PageMemory(total);
    buffer_ = WrappedBuffer(backend, memory_.data(), memory_.size());
}

uint64_t Activations::bytes_per_token(const Model& model) {
    uint64_t floats = 1 + 2 * uint64_t{model.hidden} + model.residual() + model.streams + model.shared_keys + 1;
    for (const RopeSpec& rope : model.ropes.all()) floats += rope.dims;
    return floats * sizeof(float);
}

void Activations::begin(uint32_t first, const int32_t* tokens, uint32_t count, uint32_t position) {
    std::memcpy(ids.as<int32_t>() + first, tokens, count * sizeof(int32_t));
    for (size_t r = 0; r < tables_.size(); ++r) {
        const RopeSpec& rope = model_.ropes.all()[r];
        tables_[r] = {ropes_[r], rope.dims, rope.interleaved};
        float* out = ropes_[r].as<float>() + size_t{first} * rope.dims;
        for (uint32_t t = 0; t < count; ++t) {
            for (const double frequency : rope.inv_freq) {
                // In double: at position 250,000 an f32 angle would be off by a hundredth of a radian.
                const double angle = static_cast<double>(position + t) * frequency;
                *out++ = static_cast<float>(std::cos(angle) * rope.magnitude);
                *out++ = static_cast<float>(std::sin(angle) * rope.magnitude);
            }
        }
    }
}

KeySelection Activations::shared_at(uint32_t first) const {
    if (model_.shared_keys == 0) return {};
    return {shared_positions_ + size_t{first} * model_.shared_keys * sizeof(uint32_t), shared_counts_ + first * sizeof(uint32_t),
            model_.shared_keys};
}

const RopeTable* Activations::ropes_at(uint32_t first) {
    for (size_t r = 0; r < tables_.size(); ++r) {
        tables_[r].cos_sin = ropes_[r] + size_t{first} * tables_[r].dims * sizeof(float);
    }
    return tables_.data();
}

} // namespace flashmoe
