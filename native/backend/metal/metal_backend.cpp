#include "backend/metal/metal_backend.h"

#include <algorithm>

#include "core/error.h"
#include "core/memory.h"

namespace flashmoe::metal {

MetalBackend::MetalBackend(std::unique_ptr<gpu::Device> device, const std::string& source)
    : device_(std::move(device)), facts_(device_->facts()), recorder_(*device_) {
    const std::string errors = device_->compile(source);
    if (!errors.empty()) fail(FM_ENGINE, "the Metal kernels do not compile on ", facts_.name, ": ", errors);
}

MetalBackend::~MetalBackend() = default;

Buffer MetalBackend::wrap(void* host, size_t bytes) {
    // A model without recurrent state has an empty buffer for it.
    if (bytes == 0) return {static_cast<std::byte*>(host), 0, nullptr};
    const size_t size = round_up(bytes, kPage);
    if (size > max_buffer_bytes()) {
        fail(FM_ENGINE, facts_.name, " takes buffers of at most ", max_buffer_bytes(), " bytes, not ", size);
    }
    if (size > memory_left()) {
        fail(FM_ENGINE, facts_.name, " keeps ", facts_.recommended_working_set, " bytes resident; ", in_use_.load(),
             " are in use and ", size, " more were asked for");
    }
    auto buffer = device_->wrap(host, size);
    if (buffer == nullptr) fail(FM_ENGINE, facts_.name, " refuses a buffer of ", size, " bytes");
    in_use_ += size;
    return {static_cast<std::byte*>(host), bytes, buffer.release()};
}

void MetalBackend::unwrap(Buffer& buffer) {
    const auto* device = static_cast<gpu::Buffer*>(buffer.device);
    if (device != nullptr) in_use_ -= device->size();
    delete device;
    buffer = {};
}

uint64_t MetalBackend::memory_left() const {
    // A device that recommends nothing sets no limit.
    if (facts_.recommended_working_set == 0) return UINT64_MAX;
    const uint64_t in_use = in_use_.load();
    return facts_.recommended_working_set > in_use ? facts_.recommended_working_set - in_use : 0;
}

uint64_t MetalBackend::max_buffer_bytes() const {
    // A device that names none sets no limit.
    return facts_.max_buffer_bytes == 0 ? UINT64_MAX : facts_.max_buffer_bytes / kPage * kPage;
}

gpu::Buffer& MetalBackend::room(Room& room, size_t bytes) {
    if (room != nullptr && room->size() >= bytes) return *room;
    // Half as much again: attention asks for a little more every few hundred tokens.
    const size_t least = round_up(bytes, kPage), most = max_buffer_bytes();
    if (least > most) fail(FM_ENGINE, facts_.name, " takes buffers of at most ", most, " bytes, working memory needs ", least);
    const size_t size = room == nullptr ? least : std::min(round_up(bytes + bytes / 2, kPage), most);
    if (room != nullptr) in_use_ -= room->size();
    // What was recorded may still use the smaller one.
    recorder_.retire(std::move(room));
    room = device_->allocate(size);
    if (room == nullptr) fail(FM_ENGINE, facts_.name, " refuses ", size, " bytes of working memory");
    in_use_ += size;
    return *room;
}

void MetalBackend::trim() {
    for (Room* room : {&parts_, &stats_, &queries_, &latents_, &inner_}) {
        if (*room != nullptr) in_use_ -= (*room)->size();
        room->reset();
    }
}

void MetalBackend::bind_matrix(const Matrix& matrix) {
    recorder_.bind(0, matrix.weight);
    if (matrix.bits == 0) return;
    recorder_.bind(1, matrix.scales);
    recorder_.bind(2, matrix.biases);
}

} // namespace flashmoe::metal
