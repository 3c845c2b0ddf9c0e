// Files: positioned reads and writes that are whole or an error naming file and offset; a model's own, measured and mapped.
// All numbers are bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace flashmoe {

/// An open descriptor of a regular file. Failures of the system have its code (core/error.h).
class File {
  public:
    /// To read; symbolic links are followed, since a hub cache is made of them.
    static File open_source(const std::string& path);
    /// To write, created if absent; a symbolic link in its place is an error.
    static File open_target(const std::string& path, bool truncate);

    File() = default;
    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();

    const std::string& path() const { return path_; }
    int descriptor() const { return descriptor_; }
    /// At the time of opening.
    uint64_t size() const { return size_; }
    /// Exactly `size` bytes; fewer is ERR_IO naming the offset where the file ended.
    void read_at(void* to, size_t size, uint64_t offset) const;
    void write_at(const void* from, size_t size, uint64_t offset) const;
    /// Makes it longer, with a hole where the file system knows holes.
    void grow(uint64_t size);
    /// Down to the medium: fsync, on macOS F_FULLFSYNC, since its fsync stops at the drive's cache.
    void sync() const;

  protected:
    File(std::string path, int descriptor);

    std::string path_;
    int descriptor_ = -1;
    uint64_t size_ = 0;
};

/// Makes new names in a folder survive a power cut.
void sync_folder(const std::string& path);

/// Offset, length and memory of every direct read are multiples of this.
constexpr uint64_t kDirectAlignment = 4096;

enum class Caching {
    page_cache,
    /// Past the page cache (O_DIRECT, F_NOCACHE): what is in it may be used, nothing is put there.
    none
};

/// A file of an installed model, to read.
class ModelFile : public File {
  public:
    /// Throws FM_MODEL_MISSING when it isn't there, FM_IO when it can't be read, or not so, FM_MODEL_DAMAGED when it is no
    /// file.
    explicit ModelFile(const std::string& path, Caching caching = Caching::page_cache);

    /// Size and time of change are still those of opening.
    bool is_unchanged() const;

  private:
    int64_t changed_ns_ = 0;
};

/// A whole file, mapped read-only.
class MappedFile {
  public:
    explicit MappedFile(const File& file);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }

  private:
    std::byte* data_ = nullptr;
    size_t size_ = 0;
};

/// Throws FM_MODEL_DAMAGED above max_bytes.
std::string read_text(const std::string& path, uint64_t max_bytes);

} // namespace flashmoe
