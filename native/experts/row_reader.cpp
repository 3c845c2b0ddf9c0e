#include "experts/row_reader.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace flashmoe {
namespace {

/// Neighbours of a row are of no use.
void expect_random_reads(const File& file) {
#ifdef __APPLE__
    fcntl(file.descriptor(), F_RDAHEAD, 0);
#else
    posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_RANDOM);
#endif
}

} // namespace

RowTable::RowTable(const std::string& path, const RowTableFile& table) : file(path), info(table) {
    if (file.size() != info.size) {
        fail(FM_MODEL_DAMAGED, path, ": ", file.size(), " bytes, layout.json says ", info.size);
    }
    expect_random_reads(file);
}

RowRead::RowRead(const RowTable& table, std::vector<uint64_t> rows)
    : table_(table), rows_(std::move(rows)), bytes_(rows_.size() * table.info.row_bytes()), left_(rows_.size()) {}

void RowRead::read(size_t index) {
    const size_t bytes = table_.info.row_bytes();
    std::byte* to = bytes_.data() + index * bytes;
    std::string error;
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(table_.file.descriptor(), to + done, bytes - done, static_cast<off_t>(rows_[index] * bytes + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            error = table_.file.path() + ": row " + std::to_string(rows_[index]) + ": " +
                    (got == 0 ? "the file ends before it" : std::strerror(errno));
            break;
        }
        done += static_cast<size_t>(got);
    }
    const std::lock_guard lock(mutex_);
    if (error_.empty()) error_ = std::move(error);
    if (--left_ == 0) done_.notify_all();
}

void RowRead::wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
    if (!error_.empty()) fail(FM_IO, error_);
}

RowReader::RowReader(uint32_t threads)
    : threads_("reading n-gram rows", 0, threads, [this](uint32_t) { work(); },
               [this] {
                   const std::lock_guard lock(mutex_);
                   stopping_ = true;
                   wake_.notify_all();
               }) {}

void RowReader::begin(std::shared_ptr<RowRead> read) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(read));
    wake_.notify_all();
}

void RowReader::work() {
    for (;;) {
        std::shared_ptr<RowRead> read;
        size_t index = 0;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
            if (stopping_) return;
            read = queue_.front();
            index = read->next_++;
            if (read->next_ == read->rows_.size()) queue_.pop_front();
        }
        read->read(index);
    }
}

} // namespace flashmoe
