#include "pack/sha256.h"

#include <cstdio>
#include <cstring>
#include <vector>

#include "test/harness.h"

using namespace flashmoe::pack;

namespace {

std::vector<uint8_t> bytes(size_t size) {
    std::vector<uint8_t> made(size);
    uint32_t state = 1;
    for (auto& byte : made) byte = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    return made;
}

std::string hash(const std::string& text) {
    Sha256 sha;
    sha.update(text.data(), text.size());
    return sha.hex();
}

} // namespace

TEST("sha256 of the standard's examples") {
    EXPECT_EQ(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(hash(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST("sha256 by the processor's instructions is that of plain code") {
    std::printf("sha256: %s\n", sha256_isa());
    if (sha256_hardware() == nullptr) return;
    const auto data = bytes(64 * 37);
    uint32_t plain[8], fast[8];
    for (size_t i = 0; i < 8; ++i) plain[i] = fast[i] = static_cast<uint32_t>(i * 0x9e3779b9);
    sha256_compress_portable(plain, data.data(), 37);
    sha256_hardware()(fast, data.data(), 37);
    EXPECT(std::memcmp(plain, fast, sizeof plain) == 0);
}

TEST("a sha256 cut anywhere, saved and restored, is the same") {
    const auto data = bytes(300);
    Sha256 whole;
    whole.update(data.data(), data.size());
    for (size_t cut = 0; cut <= data.size(); ++cut) {
        Sha256 first;
        first.update(data.data(), cut);
        Sha256 second = Sha256::restore(first.save());
        EXPECT_EQ(second.length(), cut);
        second.update(data.data() + cut, data.size() - cut);
        EXPECT_EQ(second.hex(), whole.hex());
    }
}
