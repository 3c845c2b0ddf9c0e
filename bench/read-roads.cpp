// Which road experts should take from the disk: pread through the page cache (emptied of the file first), pread past it,
// io_uring past it. Scattered reads of expert size, every road over other offsets, all roads in turn, five rounds.
// Usage: c++ -O2 -std=c++20 -pthread read-roads.cpp -o read-roads && ./read-roads FILE READ_BYTES
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

const char* path;
size_t read_bytes;
uint64_t slots;
/// Goes on from road to road, so that no road finds what another one has read.
std::atomic<uint64_t> next_slot{0};
constexpr uint64_t kReads = 96;

off_t next_offset() {
    // A full cycle over the slots in scattered order: the step is odd and far from a divisor.
    return static_cast<off_t>(next_slot++ * 2654435761u % slots * read_bytes);
}

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

void pread_road(int flags, int depth) {
    const int file = open(path, O_RDONLY | flags);
    if (file < 0) fail(path);
    if (flags == 0) {
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
    }
    std::atomic<uint64_t> left{kReads};
    std::vector<std::thread> threads;
    for (int i = 0; i < depth; ++i) {
        threads.emplace_back([&] {
            void* buffer = std::aligned_alloc(1 << 21, (read_bytes + (1 << 21) - 1) >> 21 << 21);
            for (uint64_t n = left.load(); n > 0;) {
                if (!left.compare_exchange_weak(n, n - 1)) continue;
                if (pread(file, buffer, read_bytes, next_offset()) != static_cast<ssize_t>(read_bytes)) fail("pread");
                n = left.load();
            }
            std::free(buffer);
        });
    }
    for (std::thread& thread : threads) thread.join();
    close(file);
}

void uring_road(int depth) {
    const int file = open(path, O_RDONLY | O_DIRECT);
    if (file < 0) fail(path);
    io_uring_params params{};
    const int ring = static_cast<int>(syscall(__NR_io_uring_setup, depth, &params));
    if (ring < 0) fail("io_uring_setup");
    const size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    const size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
    const auto map = [ring](size_t size, off_t at) {
        void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, at);
        if (memory == MAP_FAILED) fail("mmap");
        return static_cast<std::byte*>(memory);
    };
    std::byte* sq = map(sq_size, IORING_OFF_SQ_RING);
    std::byte* cq = map(cq_size, IORING_OFF_CQ_RING);
    auto* entries = reinterpret_cast<io_uring_sqe*>(map(params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    const auto word = [](std::byte* base, uint32_t at) {
        return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(base + at));
    };
    std::vector<void*> buffers;
    for (int i = 0; i < depth; ++i) {
        buffers.push_back(std::aligned_alloc(1 << 21, (read_bytes + (1 << 21) - 1) >> 21 << 21));
    }
    uint64_t submitted = 0, completed = 0;
    const auto submit = [&](uint64_t buffer) {
        const uint32_t tail = word(sq, params.sq_off.tail).load();
        const uint32_t index = tail & (params.sq_entries - 1);
        entries[index] = io_uring_sqe{};
        entries[index].opcode = IORING_OP_READ;
        entries[index].fd = file;
        entries[index].off = static_cast<uint64_t>(next_offset());
        entries[index].addr = reinterpret_cast<uint64_t>(buffers[buffer]);
        entries[index].len = static_cast<uint32_t>(read_bytes);
        entries[index].user_data = buffer;
        word(sq, params.sq_off.array + index * sizeof(uint32_t)).store(index);
        word(sq, params.sq_off.tail).store(tail + 1);
        ++submitted;
    };
    uint32_t fresh = 0;
    for (; submitted < static_cast<uint64_t>(depth); ++fresh) submit(submitted);
    while (completed < kReads) {
        if (syscall(__NR_io_uring_enter, ring, fresh, 1, IORING_ENTER_GETEVENTS, nullptr, 0) < 0) fail("io_uring_enter");
        fresh = 0;
        uint32_t head = word(cq, params.cq_off.head).load();
        for (; head != word(cq, params.cq_off.tail).load(); ++head) {
            const auto* done = reinterpret_cast<io_uring_cqe*>(cq + params.cq_off.cqes) + (head & (params.cq_entries - 1));
            if (done->res != static_cast<int>(read_bytes)) fail("a read fell short");
            ++completed;
            if (submitted < kReads) {
                submit(done->user_data);
                ++fresh;
            }
        }
        word(cq, params.cq_off.head).store(head);
    }
    for (void* buffer : buffers) std::free(buffer);
    close(ring);
    close(file);
}

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](timeval t) { return double(t.tv_sec) + double(t.tv_usec) / 1e6; };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 64;
    path = argv[1];
    read_bytes = std::strtoull(argv[2], nullptr, 10) / 4096 * 4096;
    struct stat facts {};
    if (stat(path, &facts) != 0) fail(path);
    slots = static_cast<uint64_t>(facts.st_size) / read_bytes;
    struct Road {
        std::string name;
        std::function<void()> run;
        std::vector<double> rates, cpu;
    };
    std::vector<Road> roads;
    for (const int depth : {1, 4, 8}) {
        const std::string at = ", depth " + std::to_string(depth);
        roads.push_back({"pread" + at, [depth] { pread_road(0, depth); }, {}, {}});
        roads.push_back({"pread, O_DIRECT" + at, [depth] { pread_road(O_DIRECT, depth); }, {}, {}});
        roads.push_back({"io_uring, O_DIRECT" + at, [depth] { uring_road(depth); }, {}, {}});
    }
    for (int round = 0; round < 5; ++round) {
        for (Road& road : roads) {
            const auto start = Clock::now();
            const double before = cpu_seconds();
            road.run();
            const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
            const double gigabytes = double(kReads * read_bytes) / 1e9;
            road.rates.push_back(gigabytes / seconds);
            road.cpu.push_back((cpu_seconds() - before) / gigabytes);
        }
    }
    const auto median = [](std::vector<double> values) {
        std::sort(values.begin(), values.end());
        return values[values.size() / 2];
    };
    std::printf("| reads of %zu bytes | GB/s | CPU s/GB |\n| --- | --- | --- |\n", read_bytes);
    for (const Road& road : roads) {
        std::printf("| %s | %.2f | %.2f |\n", road.name.c_str(), median(road.rates), median(road.cpu));
    }
}
