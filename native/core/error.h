// Failures inside the engine. Thrown below the C API, turned into a status and a message at its edge.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "flashmoe.h"

namespace flashmoe {

class Error : public std::runtime_error {
  public:
    Error(fm_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
    fm_status status() const { return status_; }

  private:
    fm_status status_;
};

/// Joins its arguments to one text and throws it.
template <typename... Parts> [[noreturn]] void fail(fm_status status, const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(status, text.str());
}

} // namespace flashmoe
