// Files of a model: opened for reading, measured, mapped. Errors name the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace flashmoe {

/// Offset, length and memory of every direct read are multiples of this.
constexpr uint64_t kDirectAlignment = 4096;

enum class Caching {
    page_cache,
    /// Past the page cache (O_DIRECT, F_NOCACHE): what is in it may be used, nothing is put there.
    none
};

/// An open descriptor of a regular file.
class File {
  public:
    /// Throws FM_MODEL_MISSING when it isn't there, FM_IO when it can't be read, or not so, FM_MODEL_DAMAGED when it is no
    /// file.
    explicit File(const std::string& path, Caching caching = Caching::page_cache);
    ~File();
    File(File&& other) noexcept;
    File& operator=(File&&) = delete;

    int descriptor() const { return descriptor_; }
    uint64_t size() const { return size_; }
    /// Size and time of change are still those of opening.
    bool is_unchanged() const;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    int descriptor_ = -1;
    uint64_t size_ = 0;
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
