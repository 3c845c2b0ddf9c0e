#include "experts/expert_store.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "backend/cpu/cpu_backend.h"
#include "experts/read_experts.h"
#include "test/harness.h"
#include "test/tiny_model.h"

using namespace flashmoe;

namespace {

constexpr uint32_t kExperts = 40, kSize = 20000, kStride = 32768, kLayers = 3;

/// Layer files in which expert e of layer l is kSize bytes of value 50 * l + e.
const ExpertShape kShape{
    .expert_size = kSize, .read_size = kSize, .expert_stride = kStride, .gate = {}, .up = {}, .down = {}};

class LayerFiles {
  public:
    LayerFiles() {
        std::string pattern = (std::filesystem::temp_directory_path() / "flashmoe-layers-XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) harness::fail_at(__FILE__, __LINE__, "no temporary folder");
        dir_ = pattern;
        std::string files;
        for (uint32_t l = 0; l < kLayers; ++l) {
            std::ofstream file(path(l), std::ios::binary);
            for (uint32_t e = 0; e < kExperts; ++e) {
                std::string bytes(kSize, static_cast<char>(value(l, e)));
                bytes.resize(kStride, '\xEE');
                file << bytes;
            }
        }
    }
    ~LayerFiles() { std::filesystem::remove_all(dir_); }
    static unsigned char value(uint32_t layer, uint32_t expert) { return static_cast<unsigned char>(50 * layer + expert); }
    std::string path(uint32_t layer) const { return dir_ + "/layer_" + std::to_string(layer); }
    /// `tiered`: by a table, every third expert of another shape.
    ExpertFiles files(bool tiered = false) const {
        std::vector<std::unique_ptr<ExpertLayer>> layers;
        for (uint32_t l = 0; l < kLayers; ++l) {
            layers.push_back(std::make_unique<ExpertLayer>(
                ExpertLayer{.file = ModelFile(path(l)), .shapes = {kShape}, .places = {}, .mapping = {}}));
            if (!tiered) continue;
            layers.back()->shapes.push_back(kShape);
            for (uint32_t e = 0; e < kExperts; ++e) layers.back()->places.push_back({uint64_t{e} * kStride, e % 3 == 0 ? 1u : 0u});
        }
        return ExpertFiles(std::move(layers), kExperts);
    }

  private:
    std::string dir_;
};

struct Store {
    explicit Store(const LayerFiles& fixture, uint32_t experts, uint32_t threads = 4, bool mapped = false)
        : files(fixture.files()) {
        if (mapped) files.map(backend);
        store = std::make_unique<ExpertStore>(backend, files, uint64_t{experts} * kStride, threads);
    }
    cpu::CpuBackend backend{1, cpu::scalar_kernels()};
    ExpertFiles files;
    std::unique_ptr<ExpertStore> store;
};

bool holds(Span at, uint32_t layer, uint32_t expert) {
    const auto* bytes = at.as<unsigned char>();
    for (uint32_t i = 0; i < kSize; ++i) {
        if (bytes[i] != LayerFiles::value(layer, expert)) return false;
    }
    return true;
}

/// Has all experts asked for, as the engine does: what is there, given back, and so on. Returns the order they came in.
std::vector<uint32_t> take_all(ExpertStore& store, uint32_t layer, const std::vector<uint32_t>& asked, bool in_order,
                               std::vector<uint32_t> counts = {}) {
    counts.resize(asked.size(), 1);
    std::vector<uint32_t> order;
    ExpertLease lease(store, layer, asked.data(), counts.data(), static_cast<uint32_t>(asked.size()), in_order);
    for (uint32_t index; (index = lease.next(true)) != ExpertLease::kNone;) {
        EXPECT(holds(lease.at(index), layer, asked[index]));
        order.push_back(asked[index]);
        lease.release(index);
    }
    return order;
}

std::vector<uint32_t> every(uint32_t step, uint32_t first = 0) {
    std::vector<uint32_t> asked;
    for (uint32_t e = first; e < kExperts; e += step) asked.push_back(e);
    return asked;
}

} // namespace

TEST("experts come once each with their own bytes, through pools smaller and larger than what is asked for, in order where that is wanted") {
    const LayerFiles fixture;
    for (const uint32_t room : {2u, 3u, 7u, 200u}) {
        Store made(fixture, room);
        for (uint32_t round = 0; round < 60; ++round) {
            const std::vector<uint32_t> asked = every(1 + round % 5, round % 3);
            std::vector<uint32_t> order = take_all(*made.store, round % kLayers, asked, round % 2 == 0);
            if (round % 2 == 1) std::sort(order.begin(), order.end());
            EXPECT(order == asked);
        }
    }
    Store mapped(fixture, 0, 4, true);
    for (uint32_t round = 0; round < 20; ++round) EXPECT_EQ(take_all(*mapped.store, round % kLayers, every(3), false).size(), every(3).size());
    // Every expert's pages were asked for once.
    EXPECT_EQ(mapped.store->counters().reads, kLayers * every(3).size());
    mapped.files.require_intact();
}

TEST("experts of several shapes in one layer come with their own bytes, neighbours of one shape in one read") {
    const LayerFiles fixture;
    for (const bool mapped : {false, true}) {
        cpu::CpuBackend backend{1, cpu::scalar_kernels()};
        ExpertFiles files = fixture.files(true);
        if (mapped) files.map(backend);
        ExpertStore store(backend, files, 5 * kStride, 4);
        for (uint32_t round = 0; round < 20; ++round) {
            const std::vector<uint32_t> asked = every(1 + round % 2);
            EXPECT_EQ(take_all(store, round % kLayers, asked, round % 2 == 0).size(), asked.size());
        }
    }
}

TEST("what is in the pool is neither read nor copied again, and comes before what has to be read") {
    const LayerFiles fixture;
    Store made(fixture, 100);
    ExpertStore& store = *made.store;
    EXPECT_EQ(take_all(store, 0, {1, 5, 9}, false).size(), 3u);
    EXPECT_EQ(store.counters().reads, 3u);
    EXPECT_EQ(store.counters().bytes, 3u * kSize);
    const uint32_t asked[] = {2, 5, 30}, ones[] = {1, 1, 1};
    {
        ExpertLease lease(store, 0, asked, ones, 3, false);
        // 5 is there; the others may be by now.
        const Span first = lease.at(lease.next(true));
        EXPECT(holds(first, 0, 5) || holds(first, 0, 2) || holds(first, 0, 30));
        while (lease.next(true) != ExpertLease::kNone) {}
    }
    EXPECT_EQ(store.counters().reads, 5u);
    EXPECT_EQ(store.counters().hits, 1u);
    EXPECT_EQ(store.counters().uses, 6u);
    // The same number of another layer is another expert.
    EXPECT(take_all(store, 1, {5}, false) == std::vector<uint32_t>{5});
    EXPECT_EQ(store.counters().reads, 6u);
}

TEST("what a step holds keeps its place until the device is done, whatever else is asked for") {
    const LayerFiles fixture;
    Store made(fixture, 6);
    ExpertStore& store = *made.store;
    const uint32_t asked[] = {3, 4, 5}, ones[] = {1, 1, 1};
    Span held[3];
    {
        ExpertLease lease(store, 0, asked, ones, 3, false);
        for (int i = 0; i < 3; ++i) {
            const uint32_t index = lease.next(true);
            held[index] = lease.at(index);
        }
    }
    // Not given back: the rest of the pool serves a whole layer.
    EXPECT_EQ(take_all(store, 1, every(1), true).size(), size_t{kExperts});
    for (uint32_t i = 0; i < 3; ++i) EXPECT(holds(held[i], 0, asked[i]));
    store.device_is_done();
    EXPECT_EQ(take_all(store, 1, every(1), false).size(), size_t{kExperts});
    EXPECT_EQ(store.held(), 6u);
}

TEST("a prompt leaves its most chosen experts and, for the rest, what was hot before") {
    const LayerFiles fixture;
    // Half of it for reading ahead, four a layer to stay.
    Store made(fixture, 24);
    ExpertStore& store = *made.store;
    for (int round = 0; round < 3; ++round) {
        for (uint32_t layer = 0; layer < kLayers; ++layer) take_all(store, layer, {7, 8}, false);
    }
    std::vector<uint32_t> counts(kExperts, 1);
    for (const uint32_t hot : {11u, 22u, 33u}) counts[hot] = 100;
    take_all(store, 1, every(1), true, counts);
    const uint64_t before = store.counters().reads;
    take_all(store, 1, {11, 22, 33}, false);
    EXPECT_EQ(store.counters().reads, before);
    take_all(store, 0, {7, 8}, false);
    take_all(store, 2, {7, 8}, false);
    EXPECT_EQ(store.counters().reads, before);
}

TEST("a pool grows and shrinks between steps and what is left of it is right") {
    const LayerFiles fixture;
    Store made(fixture, 10);
    ExpertStore& store = *made.store;
    for (const uint64_t experts : {40u, 5u, 120u, 2u, 1u, 64u}) {
        store.resize(experts * kStride);
        EXPECT(store.pool_bytes() <= std::max<uint64_t>(experts, 1) * kStride);
        for (uint32_t layer = 0; layer < kLayers; ++layer) take_all(store, layer, every(2), layer == 1);
    }
}

TEST("the hottest of a run are there at the start of the next, read while nobody waits") {
    const LayerFiles fixture;
    std::vector<ExpertName> names;
    {
        Store made(fixture, 20);
        for (int round = 0; round < 4; ++round) take_all(*made.store, 2, {4, 6}, false);
        take_all(*made.store, 0, {1}, false);
        names = made.store->hottest(2);
        EXPECT(names == (std::vector<ExpertName>{{2, 4}, {2, 6}}));
    }
    Store made(fixture, 20);
    made.store->warm(names);
    // Asked for at once: read once, whoever began.
    take_all(*made.store, 2, {4, 6}, false);
    EXPECT_EQ(made.store->counters().reads, 2u);
    // No more than there is free room for.
    Store small(fixture, 1);
    small.store->warm(names);
    take_all(*small.store, 0, {9}, false);
    EXPECT_EQ(small.store->held(), 1u);
}

TEST("an expert is asked for while one read ahead holds all the room: it comes when that read has ended") {
    const LayerFiles fixture;
    Store made(fixture, 1);
    for (int round = 0; round < 2000; ++round) {
        made.store->warm({{2, 4}});
        EXPECT_EQ(take_all(*made.store, 0, {9}, false).size(), size_t{1});
        take_all(*made.store, 1, {3}, false);
        made.store->resize(0);
        made.store->resize(kStride);
    }
}

TEST("a read that falls short names file, expert and offset; the store serves the next layer") {
    const LayerFiles fixture;
    Store made(fixture, 20, 2);
    std::filesystem::resize_file(fixture.path(0), 3 * kStride + 100);
    const std::string message = fixture.path(0) + ": expert 3: read of 19900 bytes at offset " + std::to_string(3 * kStride + 100) + " fell short";
    for (const bool in_order : {true, false}) EXPECT_THROWS(take_all(*made.store, 0, {1, 3, 4, 5, 6, 7, 8}, in_order), "expert ");
    EXPECT_THROWS(take_all(*made.store, 0, {3}, true), message);
    EXPECT_EQ(take_all(*made.store, 0, {0, 1}, true).size(), 2u);
    EXPECT_EQ(take_all(*made.store, 1, every(1), true).size(), size_t{kExperts});
}

TEST("giving up early waits for reads in flight and leaves the store usable") {
    const LayerFiles fixture;
    Store made(fixture, 8);
    const std::vector<uint32_t> asked = every(1), counts(kExperts, 1);
    for (uint32_t round = 0; round < 50; ++round) {
        {
            ExpertLease lease(*made.store, round % kLayers, asked.data(), counts.data(), kExperts, true);
            for (uint32_t i = 0; i < round % 4; ++i) EXPECT(holds(lease.at(lease.next(true)), round % kLayers, i));
        }
        made.store->device_is_done();
    }
}

TEST("neighbours are read together, each into its own place, and a read that ends early says how far it came") {
    const LayerFiles fixture;
    const ExpertFiles files = fixture.files();
    std::vector<std::string> places(4, std::string(kStride, '?'));
    std::byte* targets[4];
    for (int i = 0; i < 4; ++i) targets[i] = reinterpret_cast<std::byte*>(places[static_cast<size_t>(3 - i)].data());
    std::string failure;
    EXPECT_EQ(read_experts(files.layer(2), 5, 4, targets, failure), 4u);
    for (uint32_t i = 0; i < 4; ++i) {
        EXPECT_EQ(static_cast<unsigned char>(targets[i][0]), LayerFiles::value(2, 5 + i));
        EXPECT_EQ(static_cast<unsigned char>(targets[i][kSize - 1]), LayerFiles::value(2, 5 + i));
    }
    std::filesystem::resize_file(fixture.path(2), 7 * kStride + 5);
    EXPECT_EQ(read_experts(files.layer(2), 5, 4, targets, failure), 2u);
    EXPECT(failure.find("expert 7") != std::string::npos);
}

#ifdef __linux__
TEST("an I/O error of the system fails the read with its reason") {
    // Address 0 of this process is not mapped: reading there is EIO.
    const ExpertLayer layer{.file = ModelFile("/proc/self/mem"), .shapes = {kShape}, .places = {}, .mapping = {}};
    std::string place(kStride, '?'), failure;
    std::byte* target = reinterpret_cast<std::byte*>(place.data());
    EXPECT_EQ(read_experts(layer, 0, 1, &target, failure), 0u);
    EXPECT(failure.find("/proc/self/mem: expert 0: read of 20000 bytes at offset 0 failed: Input/output error") == 0);
}
#endif
