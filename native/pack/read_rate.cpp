#include "pack/read_rate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "core/thread_class.h"

namespace flashmoe::pack {
namespace {

constexpr uint64_t kPage = 16384;

[[noreturn]] void fail_read(const std::string& path, const std::string& what) {
    throw Error("ERR_IO", path + ": " + what);
}

/// A file opened past the page cache where the system allows it.
class MeasuredFile {
  public:
    MeasuredFile(const std::string& path, bool cached) : path_(path) {
        if (!cached) open_uncached();
        else descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor_ < 0) fail_read(path_, std::strerror(errno));
        struct stat facts {};
        if (::fstat(descriptor_, &facts) != 0 || !S_ISREG(facts.st_mode)) {
            ::close(descriptor_);
            fail_read(path_, "no file that could be read");
        }
        size_ = static_cast<uint64_t>(facts.st_size);
    }
    ~MeasuredFile() { ::close(descriptor_); }
    MeasuredFile(const MeasuredFile&) = delete;
    MeasuredFile& operator=(const MeasuredFile&) = delete;

    uint64_t size() const { return size_; }
    bool uncached() const { return uncached_; }

    void read(std::byte* to, uint64_t bytes, uint64_t offset) const {
        uint64_t done = 0;
        while (done < bytes) {
            const ssize_t got = ::pread(descriptor_, to + done, bytes - done, static_cast<off_t>(offset + done));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) fail_read(path_, std::strerror(errno) + (" at " + std::to_string(offset + done)));
            if (got == 0) fail_read(path_, "ends at " + std::to_string(offset + done));
            done += static_cast<uint64_t>(got);
        }
    }

  private:
    void open_uncached() {
#ifdef O_DIRECT
        descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
        uncached_ = descriptor_ >= 0;
        // tmpfs and some network file systems refuse the flag.
        if (descriptor_ < 0 && errno == EINVAL) descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
#else
        descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
        // Pages that are in memory already may still be served from there; what is read stays out of it.
        uncached_ = descriptor_ >= 0 && ::fcntl(descriptor_, F_NOCACHE, 1) == 0 && ::fcntl(descriptor_, F_RDAHEAD, 0) == 0;
#endif
    }

    std::string path_;
    int descriptor_ = -1;
    uint64_t size_ = 0;
    bool uncached_ = false;
};

/// splitmix64: a well-mixed walk without state to share.
uint64_t mixed(uint64_t value) {
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

} // namespace

ReadRate measure_reads(const ReadRateJob& job, Control& control) {
    using Clock = std::chrono::steady_clock;
    const uint64_t size = job.read_bytes / kPage * kPage;
    std::vector<std::unique_ptr<MeasuredFile>> files;
    ReadRate rate;
    if (size == 0 || job.depth == 0) return rate;
    for (const std::string& path : job.files) {
        auto file = std::make_unique<MeasuredFile>(path, job.cached);
        if (file->size() < size) continue;
        rate.uncached = rate.uncached && file->uncached();
        files.push_back(std::move(file));
    }
    if (files.empty()) return rate;

    std::atomic<uint64_t> next{job.seed}, bytes{0}, reads{0};
    std::atomic<bool> stop{false};
    std::mutex mutex;
    std::exception_ptr failure;
    const Clock::time_point start = Clock::now();
    const auto end = start + std::chrono::duration<double>(job.seconds);
    const auto work = [&] {
        // As what reads experts.
        make_user_initiated();
        try {
            void* memory = nullptr;
            if (::posix_memalign(&memory, kPage, size) != 0) throw std::bad_alloc();
            const std::unique_ptr<void, Free> buffer(memory);
            while (!stop && !control.cancelled && Clock::now() < end) {
                const uint64_t random = mixed(next++);
                const MeasuredFile& file = *files[random % files.size()];
                const uint64_t slot = (random >> 16) % (file.size() / size);
                file.read(static_cast<std::byte*>(memory), size, slot * size);
                bytes += size;
                ++reads;
            }
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            stop = true;
        }
    };
    std::vector<std::thread> threads;
    try {
        for (uint32_t i = 0; i < job.depth; ++i) threads.emplace_back(work);
    } catch (const std::system_error& error) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::make_exception_ptr(Error("EAGAIN", std::string("no thread for measuring reads: ") + error.what()));
        stop = true;
    }
    for (std::thread& thread : threads) thread.join();
    if (failure) std::rethrow_exception(failure);
    control.check();
    rate.bytes = bytes;
    rate.reads = reads;
    rate.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return rate;
}

} // namespace flashmoe::pack
