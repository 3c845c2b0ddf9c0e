// What the machine itself can do: memory read bandwidth, and uncached file reads of expert size.
// Usage: bandwidth FILE READ_BYTES THREADS  → one line of JSON, bytes per second.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;

static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Sums 512 MiB a thread, several times; the best pass counts. Sixteen independent sums keep loads in flight.
static double memory_bandwidth(int threads) {
    constexpr size_t words = (512u << 20) / 8;
    std::vector<std::vector<uint64_t>> buffers(threads);
    for (auto &buffer : buffers) buffer.assign(words, 1);
    std::atomic<uint64_t> sink{0};
    double best = 0;
    for (int pass = 0; pass < 5; pass++) {
        auto start = Clock::now();
        std::vector<std::thread> pool;
        for (int t = 0; t < threads; t++) {
            pool.emplace_back([&, t] {
                uint64_t sums[16] = {};
                const uint64_t *data = buffers[t].data();
                for (size_t i = 0; i < words; i += 16)
                    for (int lane = 0; lane < 16; lane++) sums[lane] += data[i + lane];
                uint64_t total = 0;
                for (uint64_t sum : sums) total += sum;
                sink += total;
            });
        }
        for (auto &thread : pool) thread.join();
        double rate = double(threads) * words * 8 / seconds_since(start);
        if (rate > best) best = rate;
    }
    return sink.load() == 0 ? 0 : best;
}

// Reads expert-sized pieces at scattered offsets past the page cache, for about two seconds.
static double file_bandwidth(const char *path, size_t size, int threads) {
#ifdef O_DIRECT
    int file = open(path, O_RDONLY | O_DIRECT);
#else
    int file = open(path, O_RDONLY);
    if (file >= 0) fcntl(file, F_NOCACHE, 1);
#endif
    if (file < 0) return 0;
    struct stat info {};
    fstat(file, &info);
    const uint64_t slots = uint64_t(info.st_size) / size;
    std::atomic<uint64_t> next{0}, bytes{0};
    auto start = Clock::now();
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; t++) {
        pool.emplace_back([&] {
            void *buffer = nullptr;
            if (posix_memalign(&buffer, 1 << 21, size) != 0) return;
            while (seconds_since(start) < 2.0) {
                uint64_t slot = (next++ * 2654435761u) % slots;
                ssize_t got = pread(file, buffer, size, off_t(slot * size));
                if (got <= 0) break;
                bytes += uint64_t(got);
            }
            free(buffer);
        });
    }
    for (auto &thread : pool) thread.join();
    double rate = double(bytes.load()) / seconds_since(start);
    close(file);
    return rate;
}

int main(int argc, char **argv) {
    if (argc != 4) return 64;
    int threads = atoi(argv[3]);
    size_t read_size = strtoull(argv[2], nullptr, 10) / 16384 * 16384;
    printf("{\"memory\":%.0f,\"disk\":%.0f}\n", memory_bandwidth(threads), file_bandwidth(argv[1], read_size, 2 * threads));
    return 0;
}
