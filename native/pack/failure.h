// A failure with the stable code that TypeScript maps to its own: an errno name (ENOSPC, EIO …) or ERR_….
// Thrown inside pack/ and caught at the addon's border.
#pragma once

#include <stdexcept>
#include <string>

namespace flashmoe::pack {

class Failure : public std::runtime_error {
  public:
    Failure(std::string code, const std::string& message)
        : std::runtime_error(message), code_(std::move(code)) {}
    const std::string& code() const { return code_; }

  private:
    std::string code_;
};

/// From errno after a failed system call on `path`.
[[noreturn]] void fail_errno(const std::string& path, const char* action, int error);

/// A field of a job that can't be right; nothing was written.
[[noreturn]] void fail_plan(const std::string& message);

} // namespace flashmoe::pack
