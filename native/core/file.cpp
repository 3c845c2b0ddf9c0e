#include "core/file.h"

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

File::File(const std::string& path, Caching caching) : path_(path) {
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
        close(descriptor_);
        fail(FM_IO, path, ": its file system has no direct reads");
    }
#endif
    struct stat status {};
    if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(descriptor_);
        fail(FM_MODEL_DAMAGED, path, ": not a regular file");
    }
    size_ = static_cast<uint64_t>(status.st_size);
    changed_ns_ = change_time(status);
}

File::~File() {
    if (descriptor_ >= 0) close(descriptor_);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_),
      changed_ns_(other.changed_ns_) {}

bool File::is_unchanged() const {
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
    const File file(path);
    if (file.size() > max_bytes) fail(FM_MODEL_DAMAGED, path, ": larger than ", max_bytes, " bytes");
    std::string text(file.size(), '\0');
    size_t done = 0;
    while (done < text.size()) {
        const ssize_t got = pread(file.descriptor(), text.data() + done, text.size() - done, static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(FM_IO, path, ": ", std::strerror(errno));
        if (got == 0) fail(FM_IO, path, ": ended at byte ", done, " of ", text.size());
        done += static_cast<size_t>(got);
    }
    return text;
}

} // namespace flashmoe
