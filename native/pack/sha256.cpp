#include "pack/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace flashmoe::pack {

const std::uint32_t kSha256Constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

namespace {

std::uint32_t load_be(const std::uint8_t* p) {
    return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

void store_be(std::uint8_t* p, std::uint32_t v) {
    for (int i = 0; i < 4; ++i) p[i] = static_cast<std::uint8_t>(v >> (24 - 8 * i));
}

Sha256Compress chosen() {
    static const Sha256Compress compress =
        sha256_hardware() != nullptr ? sha256_hardware() : sha256_compress_portable;
    return compress;
}

} // namespace

void sha256_compress_portable(std::uint32_t* words, const std::uint8_t* blocks, std::size_t count) {
    for (; count > 0; --count, blocks += 64) {
        std::uint32_t w[64];
        for (int i = 0; i < 16; ++i) w[i] = load_be(blocks + 4 * i);
        for (int i = 16; i < 64; ++i) {
            const auto s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
            const auto s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        std::uint32_t v[8];
        std::memcpy(v, words, sizeof v);
        for (int i = 0; i < 64; ++i) {
            const auto s1 = std::rotr(v[4], 6) ^ std::rotr(v[4], 11) ^ std::rotr(v[4], 25);
            const auto choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
            const auto t1 = v[7] + s1 + choice + kSha256Constants[i] + w[i];
            const auto s0 = std::rotr(v[0], 2) ^ std::rotr(v[0], 13) ^ std::rotr(v[0], 22);
            const auto majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            std::memmove(v + 1, v, 7 * sizeof v[0]);
            v[4] += t1;
            v[0] = t1 + s0 + majority;
        }
        for (int i = 0; i < 8; ++i) words[i] += v[i];
    }
}

Sha256::Sha256()
    : words_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::update(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    const std::size_t held = length_ % 64;
    length_ += size;
    if (held > 0) {
        const std::size_t taken = std::min(size, 64 - held);
        std::memcpy(block_.data() + held, bytes, taken);
        bytes += taken;
        size -= taken;
        if (held + taken < 64) return;
        chosen()(words_.data(), block_.data(), 1);
    }
    const std::size_t whole = size / 64;
    if (whole > 0) chosen()(words_.data(), bytes, whole);
    if (size % 64 > 0) std::memcpy(block_.data(), bytes + 64 * whole, size % 64);
}

Sha256::Digest Sha256::digest() const {
    auto words = words_;
    std::uint8_t tail[128] = {};
    const std::size_t held = length_ % 64;
    if (held > 0) std::memcpy(tail, block_.data(), held);
    tail[held] = 0x80;
    const std::size_t size = held < 56 ? 64 : 128;
    const std::uint64_t bits = length_ * 8;
    store_be(tail + size - 8, static_cast<std::uint32_t>(bits >> 32));
    store_be(tail + size - 4, static_cast<std::uint32_t>(bits));
    chosen()(words.data(), tail, size / 64);
    Digest digest;
    for (int i = 0; i < 8; ++i) store_be(digest.data() + 4 * i, words[i]);
    return digest;
}

std::string Sha256::hex() const {
    const auto bytes = digest();
    return hex_of(bytes.data(), bytes.size());
}

std::string hex_of(const std::uint8_t* bytes, std::size_t size) {
    static const char digits[] = "0123456789abcdef";
    std::string text;
    text.reserve(2 * size);
    for (std::size_t i = 0; i < size; ++i) {
        text += digits[bytes[i] >> 4];
        text += digits[bytes[i] & 15];
    }
    return text;
}

std::vector<std::uint8_t> bytes_of_hex(const std::string& text) {
    const auto value = [](char digit) {
        if (digit >= '0' && digit <= '9') return digit - '0';
        if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
        return -1;
    };
    std::vector<std::uint8_t> bytes;
    if (text.size() % 2 != 0) return bytes;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = value(text[i]), low = value(text[i + 1]);
        if (high < 0 || low < 0) return {};
        bytes.push_back(static_cast<std::uint8_t>(high << 4 | low));
    }
    return bytes;
}

Sha256::State Sha256::save() const {
    State state{};
    for (int i = 0; i < 8; ++i) store_be(state.data() + 4 * i, words_[i]);
    for (int i = 0; i < 8; ++i) state[32 + i] = static_cast<std::uint8_t>(length_ >> (8 * i));
    std::memcpy(state.data() + 40, block_.data(), length_ % 64);
    return state;
}

Sha256 Sha256::restore(const State& state) {
    Sha256 hash;
    for (int i = 0; i < 8; ++i) hash.words_[i] = load_be(state.data() + 4 * i);
    for (int i = 0; i < 8; ++i) hash.length_ |= std::uint64_t{state[32 + i]} << (8 * i);
    std::memcpy(hash.block_.data(), state.data() + 40, 64);
    return hash;
}

const char* sha256_isa() {
#if defined(__x86_64__)
    return sha256_hardware() != nullptr ? "sha-ni" : "portable";
#else
    return sha256_hardware() != nullptr ? "armv8" : "portable";
#endif
}

} // namespace flashmoe::pack
