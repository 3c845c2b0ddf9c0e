#include "core/file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "core/error.h"
#include "core/memory.h"

namespace flashmoe {
namespace {

// Linux moves at most 0x7ffff000 bytes a call, macOS refuses 2 GiB and more.
constexpr size_t kMaxCall = size_t{1} << 30;

int open_retrying(const char* path, int flags) {
    for (;;) {
        const int descriptor = ::open(path, flags | O_CLOEXEC, 0644);
        if (descriptor >= 0 || errno != EINTR) return descriptor;
    }
}

uint64_t regular_size(const std::string& path, int descriptor) {
    struct stat status;
    if (::fstat(descriptor, &status) != 0) fail_errno(path, "stat", errno);
    if (!S_ISREG(status.st_mode)) throw Error("ERR_IO", path + ": not a regular file");
    return static_cast<uint64_t>(status.st_size);
}

/// Of the content, in nanoseconds since the epoch.
int64_t change_time(const struct stat& status) {
#ifdef __APPLE__
    const timespec& time = status.st_mtimespec;
#else
    const timespec& time = status.st_mtim;
#endif
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

} // namespace

File::File(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

File& File::operator=(File&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(size_, other.size_);
    return *this;
}

File::~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
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

void File::read_at(void* to, size_t size, uint64_t offset) const {
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
            throw Error("ERR_IO", path_ + ": ends at offset " + std::to_string(offset) + ", " +
                                        std::to_string(size) + " bytes short");
        }
        bytes += n;
        size -= static_cast<size_t>(n);
        offset += static_cast<uint64_t>(n);
    }
}

void File::write_at(const void* from, size_t size, uint64_t offset) const {
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
        size -= static_cast<size_t>(n);
        offset += static_cast<uint64_t>(n);
    }
}

void File::grow(uint64_t size) {
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

ModelFile::ModelFile(const std::string& path, Caching caching) : File(path, -1) {
    const bool direct = caching == Caching::none;
    // O_NONBLOCK: a pipe by that name must not hang the open; it is refused below.
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
#ifdef O_DIRECT
    if (direct) flags |= O_DIRECT;
#endif
    descriptor_ = open(path.c_str(), flags);
    if (descriptor_ < 0) {
        // As tmpfs and some network file systems say.
        if (direct && errno == EINVAL) fail(FM_IO, path, ": its file system has no direct reads");
        const bool missing = errno == ENOENT || errno == ENOTDIR;
        fail(missing ? FM_MODEL_MISSING : FM_IO, path, ": ", std::strerror(errno));
    }
#ifdef F_NOCACHE
    if (direct && fcntl(descriptor_, F_NOCACHE, 1) != 0) {
        fail(FM_IO, path, ": its file system has no direct reads");
    }
#endif
    struct stat status {};
    if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
        fail(FM_MODEL_DAMAGED, path, ": not a regular file");
    }
    size_ = static_cast<uint64_t>(status.st_size);
    changed_ns_ = change_time(status);
}

bool ModelFile::is_unchanged() const {
    struct stat status {};
    return fstat(descriptor_, &status) == 0 && static_cast<uint64_t>(status.st_size) == size_ &&
           change_time(status) == changed_ns_;
}

MappedFile::MappedFile(const File& file) {
    if (file.size() == 0) fail(FM_MODEL_DAMAGED, file.path(), ": empty");
    void* mapping = mmap(nullptr, file.size(), PROT_READ, MAP_SHARED, file.descriptor(), 0);
    if (mapping == MAP_FAILED) fail(FM_IO, file.path(), ": can't be mapped: ", std::strerror(errno));
    data_ = static_cast<std::byte*>(mapping);
    size_ = file.size();
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) munmap(data_, size_);
}

std::string read_text(const std::string& path, uint64_t max_bytes) {
    const ModelFile file(path);
    if (file.size() > max_bytes) fail(FM_MODEL_DAMAGED, path, ": larger than ", max_bytes, " bytes");
    std::string text(file.size(), '\0');
    file.read_at(text.data(), text.size(), 0);
    return text;
}

} // namespace flashmoe
