// A mapped file that is cut short, or whose disk goes away, raises SIGBUS where it is read: the process would die in
// the middle of everybody's answers. Reading the file into memory instead would cost the dense weights twice where the
// page cache has them, and the right to drop clean pages when memory is short. So the mapping stays, and a fault in it
// is taken: the handler puts zeros where the file was and notes it; whoever uses the mapping asks damaged() after each
// computation, before anything of it is used. A page that is cut in the middle reads as zeros without a fault, so the
// file's size and time are asked as well.
#pragma once

#include <cstddef>

namespace flashmoe {

class MappedGuard {
  public:
    /// [data, data + bytes) from now on. Throws FM_ENGINE when too many files are guarded at once.
    MappedGuard(const std::byte* data, size_t bytes);
    ~MappedGuard();
    MappedGuard(const MappedGuard&) = delete;
    MappedGuard& operator=(const MappedGuard&) = delete;

    /// A page could not be read since the mapping was made.
    bool damaged() const;

  private:
    size_t slot_;
};

} // namespace flashmoe
