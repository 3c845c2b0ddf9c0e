// Rows of n-gram tables, read ahead by threads of their own: which rows a pass needs is known before it begins.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "core/file.h"
#include "core/manifest.h"
#include "core/thread_group.h"

namespace flashmoe {

/// One table on disk.
struct RowTable {
    RowTable(const std::string& path, const RowTableFile& info);

    ModelFile file;
    RowTableFile info;
};

/// The rows of one pass: row i lies at bytes[i * row_bytes]. Lives as long as anybody reads or uses it.
class RowRead {
  public:
    RowRead(const RowTable& table, std::vector<uint64_t> rows);

    /// Every row is there. Throws FM_IO where one could not be read.
    void wait();
    const std::byte* row(size_t index) const { return bytes_.data() + index * table_.info.row_bytes(); }

  private:
    friend class RowReader;
    void read(size_t index);

    const RowTable& table_;
    const std::vector<uint64_t> rows_;
    std::vector<std::byte> bytes_;
    std::mutex mutex_;
    std::condition_variable done_;
    size_t next_ = 0, left_;
    std::string error_;
};

class RowReader {
  public:
    explicit RowReader(uint32_t threads);
    ~RowReader() = default;

    void begin(std::shared_ptr<RowRead> read);

  private:
    void work();

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<RowRead>> queue_;
    bool stopping_ = false;
    ThreadGroup threads_;
};

} // namespace flashmoe
