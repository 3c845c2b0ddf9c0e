// SHA-256 (FIPS 180-4), streaming, with a state that can be written down and picked up after a restart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace flashmoe::pack {

class Sha256 {
  public:
    /// Eight state words big-endian, length in bytes little-endian, bytes of the unfinished block.
    static constexpr std::size_t kStateSize = 32 + 8 + 64;
    using State = std::array<std::uint8_t, kStateSize>;
    using Digest = std::array<std::uint8_t, 32>;

    Sha256();
    void update(const void* data, std::size_t size);
    /// Digest of everything so far; more may follow.
    Digest digest() const;
    std::string hex() const;
    /// Bytes so far.
    std::uint64_t length() const { return length_; }

    State save() const;
    static Sha256 restore(const State& state);

  private:
    std::array<std::uint32_t, 8> words_;
    std::array<std::uint8_t, 64> block_{};
    std::uint64_t length_ = 0;
};

/// Lower-case hex of bytes, and back; empty for a text that isn't hex.
std::string hex_of(const std::uint8_t* bytes, std::size_t size);
std::vector<std::uint8_t> bytes_of_hex(const std::string& text);

/// Compresses whole 64-byte blocks into `words`.
using Sha256Compress = void (*)(std::uint32_t* words, const std::uint8_t* blocks, std::size_t count);

void sha256_compress_portable(std::uint32_t* words, const std::uint8_t* blocks, std::size_t count);
/// Hardware instructions of this machine, or null.
Sha256Compress sha256_hardware();
/// Name of what Sha256 uses here: sha-ni, armv8, portable.
const char* sha256_isa();

extern const std::uint32_t kSha256Constants[64];

} // namespace flashmoe::pack
