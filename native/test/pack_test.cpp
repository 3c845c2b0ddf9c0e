#include "pack/copy_ranges.h"
#include "pack/mark.h"
#include "pack/pack_layer.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/harness.h"

using namespace flashmoe::pack;

namespace {

struct Folder {
    std::string path;
    Folder() {
        char name[] = "/tmp/flashmoe-pack-XXXXXX";
        if (mkdtemp(name) == nullptr) throw std::runtime_error("no temporary folder");
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::string operator/(const char* name) const { return path + "/" + name; }
};

void write(const std::string& path, size_t size) {
    std::ofstream file(path, std::ios::binary);
    for (size_t i = 0; i < size; ++i) file.put(static_cast<char>(i * 31 + i / 251));
}

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Code of the failure that `action` ends with; empty when it succeeds.
template <typename Action> std::string code_of(Action action) {
    try {
        action();
        return "";
    } catch (const flashmoe::Error& error) {
        return error.code();
    }
}

constexpr uint64_t kExperts = 3, kRows = 4, kColumns = 128;
constexpr uint64_t kWeight = kRows * kColumns / 2, kParams = kRows * kColumns / 64 * 2;

/// One 4-bit projection; the source file holds weights, scales and biases of all experts at odd offsets.
PackLayerJob layer_job(const Folder& folder, uint32_t target_bits) {
    const std::string source = folder / "shard";
    write(source, 1000 + kExperts * (kWeight + 2 * kParams));
    Projection projection{.rows = kRows,
                          .columns = kColumns,
                          .source_bits = 4,
                          .group_size = 64,
                          .weight = {source, 101, kExperts * kWeight, DType::u32},
                          .scales = StackedTensor{source, 301 + kExperts * kWeight, kExperts * kParams, DType::bf16},
                          .biases = StackedTensor{source, 501 + kExperts * (kWeight + kParams), kExperts * kParams,
                                                  DType::bf16},
                          .bias = std::nullopt,
                          .target_bits = target_bits,
                          .target_offsets = {}};
    const uint64_t weight = kWeight * target_bits / 4;
    projection.target_offsets = {0, weight, weight + kParams};
    return {folder / "layer", kExperts, 1024, {projection}, true, 2};
}

} // namespace

TEST("a packed expert is its slices, padded with zeros to the stride") {
    const Folder folder;
    const PackLayerJob job = layer_job(folder, 4);
    const PackLayerResult result = pack_layer(job, {});
    const std::string source = read(folder / "shard"), file = read(folder / "layer");
    EXPECT_EQ(file.size(), kExperts * 1024);
    EXPECT_EQ(result.bytes_written, file.size());
    for (uint64_t e = 0; e < kExperts; ++e) {
        const std::string expert = source.substr(101 + e * kWeight, kWeight) +
                                   source.substr(job.projections[0].scales->offset + e * kParams, kParams) +
                                   source.substr(job.projections[0].biases->offset + e * kParams, kParams);
        EXPECT(file.substr(e * 1024, expert.size()) == expert);
        EXPECT(file.substr(e * 1024 + expert.size(), 1024 - expert.size()).find_first_not_of('\0') == std::string::npos);
    }
    EXPECT_EQ(hash_file(folder / "layer", {}).sha256, result.sha256);
    EXPECT_EQ(result.errors[0].values, 0u);
}

TEST("a job whose numbers can't be right is refused before the target exists") {
    const Folder folder;
    const auto refused = [&](auto change) {
        PackLayerJob job = layer_job(folder, 4);
        change(job, job.projections[0]);
        const std::string code = code_of([&] { pack_layer(job, {}); });
        EXPECT(!std::filesystem::exists(job.target));
        return code;
    };
    EXPECT_EQ(refused([](auto& job, auto&) { job.experts = 0; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto& job, auto&) { job.experts = 4; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto& job, auto&) { job.expert_stride = 100; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto& job, auto&) { job.expert_stride = ~0ull; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto& job, auto&) { job.threads = 0; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto& job, auto&) { job.projections.clear(); }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.columns = 100; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.rows = 1ull << 60; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.source_bits = 3; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.target_bits = 8; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.group_size = 0; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.weight.size -= 1; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.weight.offset = ~0ull; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.weight.dtype = DType::bf16; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.scales->dtype = DType::f32; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.scales.reset(); }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.target_offsets[1] = 1; }), "ERR_PLAN");
    EXPECT_EQ(refused([](auto&, auto& p) { p.target_offsets[2] = 1 << 20; }), "ERR_PLAN");
    // Nothing to requantise; then columns, an offset and a stride of another projection.
    EXPECT_EQ(refused([](auto&, auto& p) { p.importance.columns = kColumns; }), "ERR_PLAN");
    const auto narrow = [](auto& p) { p.target_bits = 2, p.importance = {0, 0, kColumns}, p.importance_source = "absent"; };
    EXPECT_EQ(refused([&](auto&, auto& p) { narrow(p), p.importance.columns = 64; }), "ERR_PLAN");
    EXPECT_EQ(refused([&](auto&, auto& p) { narrow(p), p.importance.offset = ~0ull; }), "ERR_PLAN");
    EXPECT_EQ(refused([&](auto&, auto& p) { narrow(p), p.importance.stride = 64; }), "ERR_PLAN");
    EXPECT_EQ(refused([&](auto&, auto& p) { narrow(p); }), "ENOENT");
    EXPECT_EQ(refused([](auto&, auto& p) { p.weight.offset += 10000; }), "ERR_IO");
    EXPECT_EQ(refused([](auto&, auto& p) { p.weight.source += "-absent"; }), "ENOENT");
}

TEST("a source that is too short is named with the byte that is missing") {
    const Folder folder;
    const PackLayerJob job = layer_job(folder, 4);
    std::filesystem::resize_file(folder / "shard", 1200);
    EXPECT_THROWS(pack_layer(job, {}), "shard: is 1200 bytes, but bytes up to ");
    EXPECT_THROWS(copy_ranges({folder / "copy", {{folder / "shard", 1000, 0, 300}}, true}, {}),
                  "shard: is 1200 bytes, but bytes up to 1300 are needed");
}

TEST("a symbolic link in a target's place is never written through") {
    const Folder folder;
    write(folder / "precious", 10);
    const std::string before = read(folder / "precious");
    const PackLayerJob job = layer_job(folder, 4);
    EXPECT_EQ(symlink((folder / "precious").c_str(), job.target.c_str()), 0);
    EXPECT_EQ(code_of([&] { pack_layer(job, {}); }), "ELOOP");
    EXPECT_EQ(code_of([&] { copy_ranges({job.target, {{folder / "shard", 0, 0, 5}}, true}, {}); }), "ELOOP");
    EXPECT(read(folder / "precious") == before);
}

TEST("a pipe or folder in a file's place is refused instead of waited for") {
    const Folder folder;
    EXPECT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
    EXPECT_EQ(code_of([&] { hash_file(folder / "pipe", {}); }), "ERR_IO");
    EXPECT_EQ(code_of([&] { hash_file(folder.path, {}); }), "ERR_IO");
}

TEST("copied ranges land where they belong, in a file that is never truncated") {
    const Folder folder;
    write(folder / "source", 100);
    std::ofstream(folder / "target") << std::string(50, 'x');
    const std::string source = read(folder / "source");
    EXPECT_EQ(copy_ranges({folder / "target", {{folder / "source", 10, 30, 5}, {folder / "source", 90, 2, 10}}, true}, {}),
              15u);
    std::string expected(50, 'x');
    expected.replace(30, 5, source.substr(10, 5)).replace(2, 10, source.substr(90, 10));
    EXPECT(read(folder / "target") == expected);
    EXPECT_EQ(code_of([&] {
                  copy_ranges({folder / "target", {{folder / "source", 0, 0, 8}, {folder / "source", 0, 7, 8}}, true}, {});
              }),
              "ERR_PLAN");
}

TEST("a cancelled job stops as interrupted, a full device keeps its own code") {
    const Folder folder;
    const PackLayerJob job = layer_job(folder, 2);
    Control control;
    control.cancelled = true;
    EXPECT_EQ(code_of([&] { pack_layer(job, control); }), "ERR_INTERRUPTED");
    EXPECT_EQ(code_of([&] { hash_file(folder / "shard", control); }), "ERR_INTERRUPTED");

    const PackLayerJob copied = layer_job(folder, 4);
    // A limit on file size fails a write in the middle as a full disk does, on any file system.
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{1500, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    const std::string code = code_of([&] { pack_layer(copied, {}); });
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(code, "EFBIG");
}

TEST("scales that are no numbers fail the layer naming shard and expert") {
    const Folder folder;
    const PackLayerJob job = layer_job(folder, 2);
    std::fstream file(folder / "shard", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(job.projections[0].scales->offset + kParams));
    file.write("\xff\x7f", 2);
    file.close();
    EXPECT_EQ(code_of([&] { pack_layer(job, {}); }), "ERR_SAFETENSORS");
}

TEST("a mark of a process that went on is newer than all marks of the one before") {
    const Folder folder;
    const std::string path = folder / "mark";
    MarkFile first(path, "tape");
    for (uint64_t at = 1; at <= 100; ++at) first.write({{at, 0, {}}, {}, {}});
    MarkFile second(path, "tape");
    const std::optional<Mark> before = second.read();
    EXPECT_EQ(before->state.at, 100u);
    second.write({{101, 0, {}}, {{101, 105}}, {}});
    const std::optional<Mark> mark = MarkFile(path, "tape").read();
    EXPECT_EQ(mark->state.at, 101u);
    EXPECT_EQ(mark->received[0].end, 105u);
    EXPECT(!MarkFile(path, "another").read());
}

TEST("a mark keeps the errors of the last items") {
    const Folder folder;
    const std::string path = folder / "mark";
    flashmoe::pack::ItemErrors errors;
    for (uint64_t item = 0; item < 500; ++item) errors[item] = {0.5 * static_cast<double>(item), 2, -3, 4, item + 1, 0};
    MarkFile(path, "tape").write({{1, 499, {}}, {}, errors});
    const std::optional<Mark> mark = MarkFile(path, "tape").read();
    const auto& read = mark->errors;
    EXPECT(read.size() > 50 && read.size() < 500);
    for (const auto& [item, sums] : read) {
        EXPECT(item >= 500 - read.size());
        EXPECT_EQ(sums.squared_error, 0.5 * static_cast<double>(item));
        EXPECT_EQ(sums.sum, -3.0);
        EXPECT_EQ(sums.values, item + 1);
    }
}
