#include "core/planes.h"

#include <algorithm>
#include <utility>

namespace flashmoe {
namespace {

// What a chat begins with, and what others come in; longer conversations take a quarter more at once, as a device is told of
// the whole of a larger plane each time.
constexpr uint32_t kBlockTokens = 1024;

} // namespace

Planes::Planes(Backend& backend, const std::vector<StateShape>& shapes, uint32_t max_tokens)
    : backend_(backend), max_tokens_(max_tokens), buffers_(shapes.size() * kMaxPlanes) {
    size_t total = 0;
    const uint64_t most = backend.max_buffer_bytes();
    for (const StateShape& shape : shapes) {
        bytes_per_token_ += shape.bytes_per_token();
        for (const uint64_t row : shape.plane_bytes) {
            if (round_up(row * max_tokens, kPage) > most) {
                fail(FM_CONTEXT, "a context of ", max_tokens, " tokens needs ", round_up(row * max_tokens, kPage),
                     " bytes in one buffer, and the GPU takes buffers of at most ", most, ": enough for ", most / row, " tokens");
            }
            places_.push_back({total, row});
            total += round_up(row * max_tokens, kPage);
        }
    }
    memory_ = PageMemory(total);
    grow(1);
}

size_t Planes::bytes_of(const Place& place, uint32_t tokens) const { return round_up(place.row * tokens, kPage); }

void Planes::wrap(size_t index, uint32_t tokens) {
    const Place& place = places_[index];
    if (place.row != 0) buffers_[index] = WrappedBuffer(backend_, memory_.data() + place.offset, bytes_of(place, tokens));
}

void Planes::grow(uint32_t tokens) {
    if (tokens <= tokens_) return;
    const auto whole = [&](uint32_t count) {
        return static_cast<uint32_t>(std::min<size_t>(max_tokens_, round_up(count, kBlockTokens)));
    };
    uint32_t wanted = whole(std::max(tokens, tokens_ + tokens_ / 4));
    const uint64_t available = std::min(available_memory(), backend_.memory_left());
    const auto needed = [&](uint32_t count) { return uint64_t{count - tokens_} * bytes_per_token_; };
    if (needed(wanted) > available) wanted = whole(tokens);
    if (needed(wanted) > available) {
        fail(FM_CONTEXT, tokens, " tokens of this conversation need ", needed(wanted), " bytes more of memory; ", available,
             " are available");
    }
    size_t index = 0;
    try {
        for (; index < buffers_.size(); ++index) {
            // First the smaller one goes: a device counts both otherwise.
            buffers_[index].reset();
            wrap(index, wanted);
        }
    } catch (const Error& error) {
        // From the one that failed back to what was; should that fail too, there is room for nothing until it is asked for again.
        const uint32_t before = std::exchange(tokens_, 0);
        for (size_t i = 0; i <= index && before != 0; ++i) {
            buffers_[i].reset();
            wrap(i, before);
        }
        tokens_ = before;
        throw Error(FM_CONTEXT, error.what());
    }
    tokens_ = wanted;
}

void Planes::shrink(uint32_t tokens) {
    const auto kept = static_cast<uint32_t>(std::min<size_t>(max_tokens_, round_up(std::max(tokens, 1u), kBlockTokens)));
    if (kept >= tokens_) return;
    for (size_t i = 0; i < buffers_.size(); ++i) {
        const Place& place = places_[i];
        const size_t from = bytes_of(place, kept), to = bytes_of(place, tokens_);
        buffers_[i].reset();
        if (to > from) memory_.give_back(place.offset + from, to - from);
        wrap(i, kept);
    }
    tokens_ = kept;
}

} // namespace flashmoe
