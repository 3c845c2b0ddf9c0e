// Files of a model: opened for reading, measured, mapped. Errors name the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace flashmoe {

/// An open descriptor of a regular file.
class File {
  public:
    /// Throws FM_MODEL_MISSING when it isn't there, FM_IO when it can't be read, FM_MODEL_DAMAGED when it is no file.
    explicit File(const std::string& path);
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
