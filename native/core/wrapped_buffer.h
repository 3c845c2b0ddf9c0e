// A buffer that a backend knows, taken back from it by its owner's end, whatever that end is: a constructor that fails
// after the first of two leaves no device buffer over memory that is gone.
#pragma once

#include <utility>

#include "backend/backend.h"

namespace flashmoe {

class WrappedBuffer {
  public:
    WrappedBuffer() = default;
    /// The memory outlives this. Throws as Backend::wrap.
    WrappedBuffer(Backend& backend, void* host, size_t bytes) : backend_(&backend), buffer_(backend.wrap(host, bytes)) {}
    ~WrappedBuffer() { reset(); }
    WrappedBuffer(WrappedBuffer&& other) noexcept { *this = std::move(other); }
    WrappedBuffer& operator=(WrappedBuffer&& other) noexcept {
        std::swap(backend_, other.backend_);
        std::swap(buffer_, other.buffer_);
        return *this;
    }

    /// Spans point to this object: they are good as long as it stays where it is.
    Span span(size_t offset = 0) const { return {&buffer_, offset}; }
    void reset() {
        if (backend_ != nullptr) backend_->unwrap(buffer_);
        backend_ = nullptr;
        buffer_ = {};
    }

  private:
    Backend* backend_ = nullptr;
    Buffer buffer_;
};

} // namespace flashmoe
