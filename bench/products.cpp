// Products of packed rows and vectors a second, exact and with 8-bit activations, on every instruction set of this machine. One
// thread, its CPU time, best of alternating rounds: only ratios within a run say something on a machine that does other things.
// FORMATS are bits of groups, or names of GGUF blocks. `GB/s` are the bytes of weights that one token
// goes through.
// Usage: products [ROUNDS [FORMATS]]; built and run by `make -C native products ROUNDS=9 FORMATS="4 q4_k"`.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "backend/cpu/fast_kernels.h"

using namespace flashmoe;

namespace {

constexpr uint32_t kTokens[] = {1, 2, 4, 8, 16, 32, 64};
constexpr uint32_t kMost = 64;

double thread_seconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Weights {
    Weights(uint32_t rows, uint32_t cols, quant::Block block) : codes(size_t{rows} * cols / quant::block_values(block) * quant::block_bytes(block)) {
        const quant::BlockKind& kind = quant::kind_of(block);
        for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i * 2654435761u >> 13);
        const uint16_t half = 0x1c00;
        for (size_t at = kind.half; at < codes.size(); at += kind.bytes) {
            for (uint32_t i = 0; i < kind.halves; ++i) std::memcpy(codes.data() + at + 2 * i, &half, sizeof half);
        }
        spans[0] = {codes.data(), codes.size(), nullptr};
        matrix = {.weight = {&spans[0], 0}, .scales = {}, .biases = {}, .rows = rows, .cols = cols, .bits = kind.bytes * 8 / kind.values, .group = kind.values,
                  .type = ElementType::u8, .codes = Codes::blocks, .block = block};
    }
    Weights(uint32_t rows, uint32_t cols, uint32_t bits)
        : codes(size_t{rows} * cols * bits / 8), scales(size_t{rows} * cols / 64, 0x3c80), biases(scales.size(), 0xbdf0) {
        for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i * 2654435761u >> 13);
        const auto buffer = [](auto& values) { return Buffer{reinterpret_cast<std::byte*>(values.data()), values.size() * sizeof values[0], nullptr}; };
        spans[0] = buffer(codes);
        spans[1] = buffer(scales);
        spans[2] = buffer(biases);
        matrix = {.weight = {&spans[0], 0}, .scales = {&spans[1], 0}, .biases = {&spans[2], 0}, .rows = rows, .cols = cols, .bits = bits, .group = 64};
    }
    size_t bytes() const { return codes.size() + 2 * (scales.size() + biases.size()); }
    std::vector<std::byte> codes;
    std::vector<uint16_t> scales, biases;
    Buffer spans[3];
    Matrix matrix;
};

/// Best seconds so far of one table for each number of tokens, and of preparing one vector.
struct Way {
    explicit Way(const cpu::Kernels& of, const std::string& called) : kernels(of), name(called) { std::fill_n(best, std::size(kTokens), 1e9); }
    void round(const Matrix& matrix, const std::vector<float>& x) {
        const size_t stride = (kernels.prepared_floats(matrix) + 15) / 16 * 16;
        std::vector<float> room(stride * kMost + 16), y(size_t{matrix.rows} * kMost);
        float* prepared = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
        double start = thread_seconds();
        for (uint32_t t = 0; t < kMost; ++t) kernels.prepare(matrix, x.data() + size_t{t} * matrix.cols, prepared + t * stride);
        preparing = std::min(preparing, (thread_seconds() - start) / kMost);
        for (size_t i = 0; i < std::size(kTokens); ++i) {
            const uint32_t times = std::max(1u, 16 / kTokens[i]);
            start = thread_seconds();
            for (uint32_t n = 0; n < times; ++n) kernels.rows(matrix, 0, matrix.rows, prepared, stride, kTokens[i], y.data(), matrix.rows);
            best[i] = std::min(best[i], (thread_seconds() - start) / times);
        }
    }
    const cpu::Kernels& kernels;
    std::string name;
    double best[std::size(kTokens)], preparing = 1e9;
};

} // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 8;
    std::vector<std::string> formats(arguments + std::min(count, 2), arguments + count);
    if (formats.empty()) formats = {"4", "2"};
    std::printf("10^9 products a second; microseconds to prepare a vector\n%-12s %-4s %-14s %7s", "matrix", "", "", "prepare");
    for (const uint32_t tokens : kTokens) std::printf(" %7u", tokens);
    std::printf("    GB/s\n");
    const std::pair<uint32_t, uint32_t> sizes[] = {{768, 2048}, {2048, 768}};
    for (const auto& [rows, cols] : sizes) {
        for (const std::string& format : formats) {
            const auto block = quant::block_named(format);
            const Weights weights = block ? Weights(rows, cols, *block) : Weights(rows, cols, static_cast<uint32_t>(std::stoul(format)));
            std::vector<float> x(size_t{cols} * kMost);
            for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7919 % 1000) / 500 - 1;
            std::vector<Way> ways;
            for (const cpu::Kernels* table : cpu::available_kernels()) {
                if (std::strcmp(table->isa, "scalar") == 0) continue;
                ways.emplace_back(*table, std::string(table->isa) + " exact");
                ways.emplace_back(cpu::fast_kernels(*table), std::string(table->isa) + " fast");
            }
            for (int round = 0; round < rounds; ++round) {
                for (Way& way : ways) way.round(weights.matrix, x);
            }
            for (const Way& way : ways) {
                std::printf("%-12s %-4s %-14s %7.2f", (std::to_string(rows) + "x" + std::to_string(cols)).c_str(), format.c_str(), way.name.c_str(), way.preparing * 1e6);
                for (size_t i = 0; i < std::size(kTokens); ++i) std::printf(" %7.1f", double{1} * rows * cols * kTokens[i] / way.best[i] / 1e9);
                std::printf(" %7.1f\n", static_cast<double>(weights.bytes()) / way.best[0] / 1e9);
            }
        }
    }
}
