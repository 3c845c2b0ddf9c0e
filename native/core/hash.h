// A fast checksum against accidents: torn or foreign session state. Not against an adversary.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashmoe {

inline uint64_t hash_bytes(const void* data, size_t size, uint64_t seed = 0x9E3779B97F4A7C15) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    uint64_t hash = seed ^ (size * 0xFF51AFD7ED558CCD);
    const auto mix = [&](uint64_t word) { hash = std::rotl(hash ^ word, 29) * 0xBF58476D1CE4E5B9; };
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        std::memcpy(&word, bytes, 8);
        mix(word);
    }
    uint64_t rest = 0;
    if (size != 0) std::memcpy(&rest, bytes, size);
    mix(rest);
    return hash ^ (hash >> 32);
}

} // namespace flashmoe
