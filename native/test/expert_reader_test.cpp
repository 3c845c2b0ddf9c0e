#include "experts/expert_reader.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "backend/cpu/cpu_backend.h"
#include "test/harness.h"

using namespace flashmoe;

namespace {

constexpr uint32_t kExperts = 40, kSize = 20000, kStride = 32768;

/// A layer file in which expert e is kSize bytes of value e.
class LayerFixture {
  public:
    LayerFixture() : path_(std::filesystem::temp_directory_path() / ("flashmoe-layer-" + std::to_string(getpid()))) {
        std::ofstream file(path_, std::ios::binary);
        for (uint32_t e = 0; e < kExperts; ++e) {
            std::string bytes(kSize, static_cast<char>(e));
            bytes.resize(kStride, '\xEE');
            file << bytes;
        }
    }
    ~LayerFixture() { std::filesystem::remove(path_); }
    const std::string& path() const { return path_.native(); }
    ExpertLayer layer() const {
        return {.file = File(path()), .expert_size = kSize, .read_size = kSize, .expert_stride = kStride, .gate = {}, .up = {}, .down = {}};
    }

  private:
    std::filesystem::path path_;
};

bool holds(Span slot, uint32_t expert) {
    const auto* bytes = slot.as<unsigned char>();
    for (uint32_t i = 0; i < kSize; ++i) {
        if (bytes[i] != expert) return false;
    }
    return true;
}

} // namespace

TEST("experts come in the order asked, through fewer slots than experts, layer after layer") {
    const LayerFixture fixture;
    const ExpertLayer layer = fixture.layer();
    cpu::CpuBackend backend(1, cpu::scalar_kernels());
    for (const uint32_t slots : {2u, 3u, 7u}) {
        ExpertReader reader(backend, kStride, slots, 4);
        for (int round = 0; round < 20; ++round) {
            std::vector<uint32_t> asked;
            for (uint32_t e = static_cast<uint32_t>(round) % 3; e < kExperts; e += 1 + static_cast<uint32_t>(round) % 5) asked.push_back(e);
            ExpertReads reads(reader, layer, asked.data(), static_cast<uint32_t>(asked.size()));
            for (size_t i = 0; i < asked.size();) {
                // Whatever is ready is taken together, as the engine does.
                uint32_t taken = 0;
                std::vector<Span> held;
                while (i + taken < asked.size() && (taken == 0 || reads.is_next_ready())) {
                    held.push_back(reads.next());
                    ++taken;
                }
                EXPECT(taken <= slots);
                for (uint32_t j = 0; j < taken; ++j) EXPECT(holds(held[j], asked[i + j]));
                reads.release(taken);
                i += taken;
            }
        }
    }
}

TEST("reads and bytes are counted, each expert once") {
    const LayerFixture fixture;
    const ExpertLayer layer = fixture.layer();
    cpu::CpuBackend backend(1, cpu::scalar_kernels());
    ExpertReader reader(backend, kStride, 4, 2);
    const uint32_t asked[] = {0, 5, 39};
    ExpertReads reads(reader, layer, asked, 3);
    for (int i = 0; i < 3; ++i) {
        reads.next();
        reads.release(1);
    }
    EXPECT_EQ(reader.counters().reads, 3u);
    EXPECT_EQ(reader.counters().bytes, 3u * kSize);
}

TEST("a read that falls short names file, expert and offset; the reader serves the next layer") {
    const LayerFixture fixture;
    const ExpertLayer layer = fixture.layer();
    std::filesystem::resize_file(fixture.path(), 3 * kStride + 100);
    cpu::CpuBackend backend(1, cpu::scalar_kernels());
    ExpertReader reader(backend, kStride, 3, 2);
    const uint32_t asked[] = {1, 3, 4, 5, 6, 7, 8};
    {
        ExpertReads reads(reader, layer, asked, 7);
        EXPECT(holds(reads.next(), 1));
        EXPECT_THROWS(reads.next(), fixture.path() + ": expert 3: read of 19900 bytes at offset " +
                                        std::to_string(3 * kStride + 100) + " fell short");
    }
    ExpertReads reads(reader, layer, asked, 1);
    EXPECT(holds(reads.next(), 1));
}

#ifdef __linux__
TEST("an I/O error of the system fails the read with its reason") {
    // Address 0 of this process is not mapped: reading there is EIO.
    const ExpertLayer layer{.file = File("/proc/self/mem"), .expert_size = kSize, .read_size = kSize, .expert_stride = kStride, .gate = {}, .up = {}, .down = {}};
    cpu::CpuBackend backend(1, cpu::scalar_kernels());
    ExpertReader reader(backend, kStride, 2, 1);
    const uint32_t asked[] = {0};
    ExpertReads reads(reader, layer, asked, 1);
    EXPECT_THROWS(reads.next(), "/proc/self/mem: expert 0: read of 20000 bytes at offset 0 failed: Input/output error");
}
#endif

TEST("giving up early waits for reads in flight and leaves the reader usable") {
    const LayerFixture fixture;
    const ExpertLayer layer = fixture.layer();
    cpu::CpuBackend backend(1, cpu::scalar_kernels());
    ExpertReader reader(backend, kStride, 8, 4);
    std::vector<uint32_t> asked(kExperts);
    for (uint32_t e = 0; e < kExperts; ++e) asked[e] = e;
    for (uint32_t round = 0; round < 50; ++round) {
        ExpertReads reads(reader, layer, asked.data(), kExperts);
        for (uint32_t i = 0; i < round % 4; ++i) EXPECT(holds(reads.next(), i));
    }
}
