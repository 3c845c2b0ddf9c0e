// A tensor in memory that ends where an unmapped page begins: a kernel that reads or writes behind it stops at once,
// also without a sanitizer. What lies before it in its first page holds NaN bytes, and is off limits under
// AddressSanitizer, as are the bytes of padding that alignment leaves behind it.
#pragma once

#include <memory>

#include "backend/checks/checker.h"

namespace fm_msl {

std::unique_ptr<flashmoe::checks::Place> allocate_guarded(flashmoe::Backend &backend, size_t bytes);

} // namespace fm_msl
