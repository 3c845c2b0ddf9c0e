#include "pack/file.h"

#include "pack/failure.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flashmoe::pack {

namespace {

// Linux moves at most 0x7ffff000 bytes a call, macOS refuses 2 GiB and more.
constexpr std::size_t kMaxCall = std::size_t{1} << 30;

int open_retrying(const char* path, int flags) {
    for (;;) {
        const int descriptor = ::open(path, flags | O_CLOEXEC, 0644);
        if (descriptor >= 0 || errno != EINTR) return descriptor;
    }
}

} // namespace

File::File(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

File &File::operator=(File&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(size_, other.size_);
    return *this;
}

File::~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

static std::uint64_t regular_size(const std::string& path, int descriptor) {
    struct stat status;
    if (::fstat(descriptor, &status) != 0) fail_errno(path, "stat", errno);
    if (!S_ISREG(status.st_mode)) throw Failure("ERR_IO", path + ": not a regular file");
    return static_cast<std::uint64_t>(status.st_size);
}

File File::open_source(const std::string& path) {
    // Non-blocking, so that a pipe in a file's place can't hang the job before it is refused.
    const int descriptor = open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK);
    if (descriptor < 0) fail_errno(path, "open", errno);
    File file(path, descriptor);
    file.size_ = regular_size(path, descriptor);
    return file;
}

File File::open_target(const std::string& path, bool truncate) {
    const int descriptor =
        open_retrying(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) fail_errno(path, "open for writing", errno);
    File file(path, descriptor);
    file.size_ = regular_size(path, descriptor);
    // After the check, so that nothing but a regular file is ever emptied.
    if (truncate && ::ftruncate(descriptor, 0) != 0) fail_errno(path, "truncate", errno);
    return file;
}

void File::read_at(void* to, std::size_t size, std::uint64_t offset) const {
    auto* bytes = static_cast<unsigned char*>(to);
    while (size > 0) {
        const ssize_t n = ::pread(descriptor_, bytes, std::min(size, kMaxCall),
                                  static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            const std::string action = "read at offset " + std::to_string(offset);
            fail_errno(path_, action.c_str(), errno);
        }
        if (n == 0) {
            throw Failure("ERR_IO", path_ + ": ends at offset " + std::to_string(offset) + ", " +
                                        std::to_string(size) + " bytes short");
        }
        bytes += n;
        size -= static_cast<std::size_t>(n);
        offset += static_cast<std::uint64_t>(n);
    }
}

void File::write_at(const void* from, std::size_t size, std::uint64_t offset) const {
    const auto* bytes = static_cast<const unsigned char*>(from);
    while (size > 0) {
        const ssize_t n = ::pwrite(descriptor_, bytes, std::min(size, kMaxCall),
                                   static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            const std::string action = "write at offset " + std::to_string(offset);
            fail_errno(path_, action.c_str(), errno);
        }
        // POSIX allows 0 only for full devices that don't say so.
        if (n == 0) fail_errno(path_, "write", ENOSPC);
        bytes += n;
        size -= static_cast<std::size_t>(n);
        offset += static_cast<std::uint64_t>(n);
    }
}

void File::grow(std::uint64_t size) {
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) fail_errno(path_, "grow", errno);
    size_ = size;
}

void sync_folder(const std::string& path) {
    const int descriptor = open_retrying(path.c_str(), O_RDONLY | O_DIRECTORY);
    if (descriptor < 0) fail_errno(path, "open", errno);
    const int failed = ::fsync(descriptor) != 0 ? errno : 0;
    ::close(descriptor);
    // Some network file systems refuse to sync folders; their files are synced all the same.
    if (failed != 0 && failed != EINVAL && failed != ENOTSUP) fail_errno(path, "sync", failed);
}

void File::sync() const {
#ifdef F_FULLFSYNC
    if (::fcntl(descriptor_, F_FULLFSYNC) == 0) return;
    // Network and some foreign file systems don't know it.
    if (errno != ENOTSUP && errno != EINVAL && errno != ENOTTY) fail_errno(path_, "sync", errno);
#endif
    if (::fsync(descriptor_) != 0) fail_errno(path_, "sync", errno);
}

} // namespace flashmoe::pack
