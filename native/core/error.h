// Failures of native code: the stable code that TypeScript maps to its own, and a message. Thrown below the C API and the addon's
// border, turned into a status or a JavaScript error there.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "flashmoe.h"

namespace flashmoe {

class Error : public std::runtime_error {
  public:
    /// The code is the status' name.
    Error(fm_status status, const std::string& message)
        : std::runtime_error(message), status_(status), code_(fm_status_name(status)) {}
    /// An errno name (ENOSPC, EIO …) or ERR_…, of what has no status of its own; at the C API's edge FM_IO.
    Error(std::string code, const std::string& message)
        : std::runtime_error(message), status_(FM_IO), code_(std::move(code)) {}

    fm_status status() const { return status_; }
    const std::string& code() const { return code_; }

  private:
    fm_status status_;
    std::string code_;
};

/// Joins its arguments to one text and throws it.
template <typename... Parts> [[noreturn]] void fail(fm_status status, const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(status, text.str());
}

/// From errno after a failed system call on `path`.
[[noreturn]] void fail_errno(const std::string& path, const char* action, int error);

/// A field of a job that can't be right; nothing was written.
[[noreturn]] void fail_plan(const std::string& message);

} // namespace flashmoe
