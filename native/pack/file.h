// Positioned reads and writes that are whole or an error naming file and offset. All numbers are bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace flashmoe::pack {

class File {
  public:
    /// A regular file to read; symbolic links are followed, since a hub cache is made of them.
    static File open_source(const std::string& path);
    /// A regular file to write, created if absent; a symbolic link in its place is an error.
    static File open_target(const std::string& path, bool truncate);

    File() = default;
    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();

    const std::string& path() const { return path_; }
    /// At the time of opening.
    std::uint64_t size() const { return size_; }
    /// Exactly `size` bytes; fewer is ERR_IO naming the offset where the file ended.
    void read_at(void* to, std::size_t size, std::uint64_t offset) const;
    void write_at(const void* from, std::size_t size, std::uint64_t offset) const;
    /// Makes it longer, with a hole where the file system knows holes.
    void grow(std::uint64_t size);
    /// Down to the medium: fsync, on macOS F_FULLFSYNC, since its fsync stops at the drive's cache.
    void sync() const;

  private:
    File(std::string path, int descriptor);

    std::string path_;
    int descriptor_ = -1;
    std::uint64_t size_ = 0;
};

/// Makes new names in a folder survive a power cut.
void sync_folder(const std::string& path);

} // namespace flashmoe::pack
