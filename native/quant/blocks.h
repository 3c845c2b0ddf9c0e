// Blocks of GGUF files: values and their own scales together. docs/format.md, "GGUF blocks", has the layouts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace flashmoe::quant {

enum class Block : std::uint8_t { q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k };

struct BlockKind {
    const char* name;
    std::uint32_t values, bytes;
    /// Where its halves stand: `halves` of them from byte `half` on.
    std::uint32_t half, halves;
};
/// By Block.
constexpr std::array<BlockKind, 10> kBlockKinds = {{{"q4_0", 32, 18, 0, 1},
                                                    {"q4_1", 32, 20, 0, 2},
                                                    {"q5_0", 32, 22, 0, 1},
                                                    {"q5_1", 32, 24, 0, 2},
                                                    {"q8_0", 32, 34, 0, 1},
                                                    {"q2_k", 256, 84, 80, 2},
                                                    {"q3_k", 256, 110, 108, 1},
                                                    {"q4_k", 256, 144, 0, 2},
                                                    {"q5_k", 256, 176, 0, 2},
                                                    {"q6_k", 256, 210, 208, 1}}};

constexpr std::uint32_t kMostBlockValues = 256;

constexpr const BlockKind& kind_of(Block block) { return kBlockKinds[static_cast<std::size_t>(block)]; }
constexpr std::uint32_t block_values(Block block) { return kind_of(block).values; }
constexpr std::uint32_t block_bytes(Block block) { return kind_of(block).bytes; }
/// By the name that manifests have.
std::optional<Block> block_named(std::string_view name);

/// Values of `count` blocks, each operation rounded to f32 as ggml's own functions round. Needs no alignment.
void decode_blocks(Block block, const std::uint8_t* from, std::size_t count, float* to);

} // namespace flashmoe::quant
