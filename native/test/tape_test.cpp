// The writing end of a tape, by itself: its threads under ThreadSanitizer, its memory under ASan (`make sanitized`). What a
// tape of a real checkpoint becomes is tested from TypeScript.
#include "pack/tape.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <unistd.h>

#include "core/random.h"
#include "test/harness.h"

using namespace flashmoe::pack;
namespace quant = flashmoe::quant;

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kExperts = 5, kStride = 16384, kWindow = 64 << 10;
constexpr std::uint64_t kCodes = 64 * 256 / 2, kGroups = 64 * 256 / 64, kParameters = kGroups * 2;
constexpr std::uint64_t kDense = 150'001;
enum Target : std::size_t { dense, layer, scales, biases, targets };

/// Two shards: a dense tensor, one dropped, codes to requantise with their parameters; then a projection to spread.
struct TestTape {
    TestTape();
    ~TestTape() { std::filesystem::remove_all(folder); }
    std::string target(std::size_t index) const { return folder + "/" + std::to_string(index); }
    Bytes read(std::size_t index) const;
    void add(std::uint64_t size, Place place, bool is_parameter = false);
    void seal();

    std::string folder;
    TapeJob job;
    Bytes bytes;
    std::size_t sealed_at = 0;
    flashmoe::Random random{3};
};

TestTape::TestTape() {
    char name[] = "/tmp/flashmoe-tape-XXXXXX";
    if (mkdtemp(name) == nullptr) throw std::runtime_error("no temporary folder");
    folder = name;
    for (const std::uint64_t size : {kDense, kExperts * kStride, kExperts * kParameters, kExperts * kParameters}) {
        job.files.push_back({target(job.files.size()), size});
    }
    job.spool = folder + "/spool";
    job.mark = folder + "/mark";
    job.window = kWindow;
    job.binding = "test";
    job.threads = 3;

    Place place{.kind = Place::Kind::copy, .file = dense};
    add(kDense, place);
    add(777, {});
    place.file = scales;
    add(kExperts * kParameters, place, true);
    place.file = biases;
    add(kExperts * kParameters, place, true);
    seal();
    Place narrow{.kind = Place::Kind::requantise, .file = layer, .slice = kCodes, .stride = kStride};
    narrow.bits = 4;
    narrow.group_size = 64;
    narrow.scales = scales;
    narrow.biases = biases;
    narrow.offsets = {0, kCodes / 2, kCodes / 2 + kParameters};
    add(kExperts * kCodes, narrow);
    add(kExperts * kCodes, {.kind = Place::Kind::spread, .file = layer, .offset = 8192, .slice = kCodes, .stride = kStride});
    seal();
}

void TestTape::add(std::uint64_t size, Place place, bool is_parameter) {
    TapeItem item;
    item.size = size;
    item.place = place;
    job.items.push_back(item);
    // BF16 numbers between 1 and 2, where they are numbers.
    for (std::uint64_t i = 0; i < size; ++i) {
        const auto any = static_cast<std::uint8_t>(random.next());
        bytes.push_back(!is_parameter ? any : i % 2 == 0 ? any & 0x7f : 0x3f);
        if (is_parameter && i % 2 == 0) bytes.back() |= 0x80;
    }
}

void TestTape::seal() {
    Sha256 hash;
    hash.update(bytes.data() + sealed_at, bytes.size() - sealed_at);
    sealed_at = bytes.size();
    TapeItem item;
    item.type = TapeItem::Type::seal;
    item.sha256 = hash.hex();
    job.items.push_back(item);
}

Bytes TestTape::read(std::size_t index) const {
    std::ifstream file(target(index), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Outcomes of puts, counted by whichever thread tells them.
struct Outcomes {
    std::atomic<int> taken{0}, failed{0};
    TapeWriter::Done one() {
        return [this](const std::exception_ptr& failure) { ++(failure ? failed : taken); };
    }
};

/// Puts [from, to) in pieces that overlap a little, out of order, from three threads. Returns how many.
int put_all(TapeWriter& writer, const TestTape& tape, std::uint64_t from, std::uint64_t to, Outcomes& outcomes) {
    constexpr std::uint64_t kPiece = 6000;
    std::vector<std::uint64_t> positions;
    for (std::uint64_t at = from; at < to; at += kPiece) positions.push_back(at);
    flashmoe::Random random(11);
    for (std::size_t i = positions.size(); i > 1; --i) std::swap(positions[i - 1], positions[random.next() % i]);
    std::vector<std::thread> threads;
    for (std::size_t first = 0; first < 3; ++first) {
        threads.emplace_back([&, first] {
            for (std::size_t i = first; i < positions.size(); i += 3) {
                const std::uint64_t at = positions[i], size = std::min(kPiece + 100, to - at), cut = size / 3;
                writer.put(at, {{tape.bytes.data() + at, cut}, {tape.bytes.data() + at + cut, size - cut}}, outcomes.one());
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    return static_cast<int>(positions.size());
}

/// Compares every target with what the tape says, requantising anew.
void expect_placed(const TestTape& tape) {
    const std::uint8_t* at = tape.bytes.data();
    EXPECT(tape.read(dense) == Bytes(at, at + kDense));
    const std::uint8_t* parameters = at + kDense + 777;
    const std::uint8_t* codes = parameters + 2 * kExperts * kParameters;
    const std::uint8_t* spread = codes + kExperts * kCodes;
    const Bytes file = tape.read(layer);
    EXPECT_EQ(file.size(), kExperts * kStride);
    for (std::uint64_t e = 0; e < kExperts; ++e) {
        Bytes expert(kCodes / 2 + 2 * kParameters);
        quant::requantise({codes + e * kCodes, parameters + e * kParameters, parameters + (kExperts + e) * kParameters,
                           quant::ParamType::bf16, 4, 64, kGroups},
                          {expert.data(), expert.data() + kCodes / 2, expert.data() + kCodes / 2 + kParameters, 2},
                          quant::Method::search);
        EXPECT(std::equal(expert.begin(), expert.end(), file.begin() + static_cast<std::ptrdiff_t>(e * kStride)));
        EXPECT(std::equal(spread + e * kCodes, spread + (e + 1) * kCodes,
                          file.begin() + static_cast<std::ptrdiff_t>(e * kStride + 8192)));
    }
}

} // namespace

TEST("bytes put by several threads in any order, checkpoints taken meanwhile, come to lie where the tape says") {
    const TestTape tape;
    TapeWriter writer(tape.job);
    Outcomes outcomes;
    std::atomic<bool> done{false};
    // Its times only grow; that it reads while others write is the point.
    std::thread watcher([&] {
        for (std::uint64_t before = 0; !done;) {
            const TapeState state = writer.checkpoint(false, 0, {}).state;
            const TapeProgress progress = writer.progress();
            if (state.at < before || progress.placed < state.at) std::abort();
            before = state.at;
        }
    });
    const int puts = put_all(writer, tape, 0, tape.bytes.size(), outcomes);
    const TapeState end = writer.checkpoint(true, 0, {}).state;
    done = true;
    watcher.join();
    EXPECT_EQ(end.at, tape.bytes.size());
    EXPECT_EQ(writer.sealed(end.item), 2u);
    writer.close();
    EXPECT_EQ(outcomes.taken.load(), puts);
    EXPECT_EQ(outcomes.failed.load(), 0);
    expect_placed(tape);
}

TEST("a writer that is opened again goes on where the mark says, and needs no byte twice") {
    const TestTape tape;
    const std::uint64_t half = tape.bytes.size() / 2;
    Outcomes outcomes;
    {
        TapeWriter writer(tape.job);
        put_all(writer, tape, 0, half, outcomes);
        writer.checkpoint(true, 0, {});
    }
    TapeWriter writer(tape.job);
    const TapeProgress before = writer.progress();
    std::uint64_t there = before.placed;
    for (const auto& [start, end] : before.received) {
        EXPECT_EQ(start, there);
        there = end;
    }
    EXPECT_EQ(there, half);
    put_all(writer, tape, half, tape.bytes.size(), outcomes);
    EXPECT_EQ(writer.checkpoint(true, 0, {}).state.at, tape.bytes.size());
    expect_placed(tape);
}

TEST("a checkpoint that drains ends though the last bytes put were too few for the cursor that waited") {
    const TestTape tape;
    Outcomes outcomes;
    TapeWriter writer(tape.job);
    for (const std::uint64_t at : {std::uint64_t{0}, tape.job.window / 4, std::uint64_t{10}}) {
        // It returns once the cursor waits, so that the next bytes find it waiting.
        writer.checkpoint(true, 0, {});
        writer.put(at, {{tape.bytes.data() + at, 10}}, outcomes.one());
    }
    EXPECT_EQ(writer.checkpoint(true, 0, {}).state.at, 0u);
    writer.close(); // every put has its outcome then
    EXPECT_EQ(outcomes.taken.load(), 3);
}

TEST("closing fails the puts that still wait, each exactly once, from whichever thread") {
    const TestTape tape;
    for (int round = 0; round < 20; ++round) {
        Outcomes outcomes;
        TapeWriter writer(tape.job);
        std::thread other([&] { writer.close(); });
        const int puts = put_all(writer, tape, 0, tape.bytes.size(), outcomes);
        writer.close();
        other.join();
        EXPECT_EQ(outcomes.taken + outcomes.failed, puts);
    }
}

TEST("a shard that is not what its seal says fails every put from then on, and says which digest it has") {
    TestTape tape;
    tape.job.items[4].sha256.front() ^= 1;
    TapeWriter writer(tape.job);
    Outcomes outcomes;
    const int puts = put_all(writer, tape, 0, tape.bytes.size(), outcomes);
    EXPECT_THROWS(writer.checkpoint(true, 0, {}), "where the listing says");
    writer.close();
    EXPECT_EQ(outcomes.taken + outcomes.failed, puts);
    EXPECT(outcomes.failed > 0);
    const std::optional<Mismatch> mismatch = writer.progress().mismatch;
    EXPECT(mismatch.has_value() && mismatch->item == 4);
}
