#include "quant/blocks.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "test/harness.h"

using namespace flashmoe;
using namespace flashmoe::quant;

namespace {

std::string read_fixture(const std::string& name) {
    std::ifstream file("../test/fixtures/gguf/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T> T take(const std::string& bytes, size_t& at) {
    T value;
    EXPECT(at + sizeof value <= bytes.size());
    std::memcpy(&value, bytes.data() + at, sizeof value);
    at += sizeof value;
    return value;
}

std::string take_string(const std::string& bytes, size_t& at) {
    const auto length = take<uint64_t>(bytes, at);
    at += length;
    return bytes.substr(at - length, length);
}

void skip_value(const std::string& bytes, size_t& at, uint32_t type) {
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
        take_string(bytes, at);
    } else if (type == 9) {
        const auto of = take<uint32_t>(bytes, at);
        for (auto count = take<uint64_t>(bytes, at); count > 0; --count) skip_value(bytes, at, of);
    } else {
        at += kSizes[type];
    }
}

/// Where each tensor of a GGUF file begins.
std::map<std::string, size_t> tensors_of(const std::string& file) {
    size_t at = 8;
    const auto tensors = take<uint64_t>(file, at), pairs = take<uint64_t>(file, at);
    size_t alignment = 32;
    for (uint64_t i = 0; i < pairs; ++i) {
        const std::string key = take_string(file, at);
        const auto type = take<uint32_t>(file, at);
        const size_t value = at;
        skip_value(file, at, type);
        if (key == "general.alignment") std::memcpy(&alignment, file.data() + value, 4);
    }
    std::map<std::string, size_t> offsets;
    for (uint64_t i = 0; i < tensors; ++i) {
        const std::string name = take_string(file, at);
        at += take<uint32_t>(file, at) * 8 + 4;
        offsets[name] = take<uint64_t>(file, at);
    }
    for (auto& [name, offset] : offsets) offset += (at + alignment - 1) / alignment * alignment;
    return offsets;
}

} // namespace

TEST("GGUF blocks of every type decode to the bits that llama.cpp decodes them to") {
    const std::string file = read_fixture("types.gguf"), reference = read_fixture("types.safetensors");
    EXPECT(file.size() > 0 && reference.size() > 0);
    const auto offsets = tensors_of(file);
    size_t data = 0;
    const auto length = take<uint64_t>(reference, data);
    const Json header = parse_json(reference.substr(8, length), "types.safetensors");
    const Field root(header, "types.safetensors:");
    data += length;
    std::map<std::string, size_t> checked;
    for (const auto& [name, field] : root.members(1000)) {
        const auto kind = block_named(name.substr(0, name.find('.')));
        if (!kind) continue;
        const auto range = field.at("data_offsets").items(2);
        const uint64_t begin = range[0].integer(0, reference.size()), end = range[1].integer(0, reference.size());
        std::vector<float> values((end - begin) / sizeof(float));
        const size_t blocks = values.size() / block_values(*kind), offset = offsets.at(name);
        EXPECT_EQ(blocks * block_values(*kind), values.size());
        EXPECT(offset + blocks * block_bytes(*kind) <= file.size());
        decode_blocks(*kind, reinterpret_cast<const uint8_t*>(file.data()) + offset, blocks, values.data());
        if (std::memcmp(values.data(), reference.data() + data + begin, end - begin) != 0) {
            harness::fail_at(__FILE__, __LINE__, name, " differs");
        }
        ++checked[kind_of(*kind).name];
    }
    EXPECT_EQ(checked.size(), kBlockKinds.size());
    for (const auto& [name, count] : checked) EXPECT_EQ(count, size_t{3});
}

TEST("blocks have the names and sizes that GGUF gives them, and no other name is one") {
    EXPECT(block_named("q4_k") == Block::q4_k);
    EXPECT_EQ(block_bytes(Block::q3_k), 110u);
    EXPECT(!block_named("q4_K") && !block_named("iq4_nl") && !block_named(""));
    for (const BlockKind& kind : kBlockKinds) EXPECT(kind.bytes % 2 == 0 && kind.values <= kMostBlockValues);
}
