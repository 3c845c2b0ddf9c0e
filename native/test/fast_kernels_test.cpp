#include "backend/cpu/fast_kernels.h"

#include <cmath>
#include <cstdio>
#include <cstring>

#include "backend/cpu/fast_rows.h"
#include "core/half.h"
#include "core/random.h"
#include "test/harness.h"

using namespace flashmoe;

namespace {

struct Example {
    uint32_t bits, group, rows, cols;
    ElementType type;
};

constexpr Example kExamples[] = {
    {4, 64, 9, 256, ElementType::bf16}, {4, 32, 7, 224, ElementType::f16},   {4, 128, 5, 1408, ElementType::f32},
    {4, 32, 4, 96, ElementType::bf16},  {2, 64, 9, 704, ElementType::bf16}, {2, 128, 6, 256, ElementType::f16},
    {4, 64, 3, 18432, ElementType::bf16}, {4, 32, 3, 9632, ElementType::bf16}, {4, 64, 35, 320, ElementType::bf16}, {2, 64, 21, 1344, ElementType::f32},
};

/// Random weights and what they are in double.
class RandomWeights {
  public:
    RandomWeights(const Example& of, Random& random) : example(of), bytes_(size_t{of.rows} * of.cols * of.bits / 8) {
        for (std::byte& byte : bytes_) byte = static_cast<std::byte>(random.next());
        const size_t count = size_t{of.rows} * of.cols / of.group;
        for (std::vector<std::byte>* values : {&scales_, &biases_}) {
            for (size_t i = 0; i < count; ++i) put(*values, (values == &biases_ ? -0.06f : 0.008f) * (0.5f + static_cast<float>(random.next() % 1000) / 1000));
        }
        weight_ = {bytes_.data(), bytes_.size(), nullptr};
        scale_ = {scales_.data(), scales_.size(), nullptr};
        bias_ = {biases_.data(), biases_.size(), nullptr};
    }
    Matrix matrix() const {
        return {.weight = {&weight_, 0}, .scales = {&scale_, 0}, .biases = {&bias_, 0}, .rows = example.rows, .cols = example.cols,
                .bits = example.bits, .group = example.group, .type = example.type};
    }
    const Example example;

  private:
    void put(std::vector<std::byte>& to, float value) const {
        uint32_t whole;
        std::memcpy(&whole, &value, 4);
        const uint16_t half = example.type == ElementType::bf16 ? static_cast<uint16_t>(whole >> 16) : 0x2000;
        const auto* from = example.type == ElementType::f32 ? reinterpret_cast<const std::byte*>(&whole) : reinterpret_cast<const std::byte*>(&half);
        to.insert(to.end(), from, from + element_bytes(example.type));
    }
    std::vector<std::byte> bytes_, scales_, biases_;
    Buffer weight_, scale_, bias_;
};

std::vector<float> multiply(const cpu::Kernels& kernels, const Matrix& matrix, const std::vector<float>& x, uint32_t tokens, uint32_t together) {
    const size_t stride = (kernels.prepared_floats(matrix) + 15) / 16 * 16;
    std::vector<float> room(stride * tokens + 16), y(size_t{tokens} * matrix.rows);
    float* prepared = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
    for (uint32_t t = 0; t < tokens; ++t) kernels.prepare(matrix, x.data() + size_t{t} * matrix.cols, prepared + t * stride);
    for (uint32_t t = 0; t < tokens; t += together) {
        kernels.rows(matrix, 0, matrix.rows, prepared + t * stride, stride, std::min(together, tokens - t), y.data() + size_t{t} * matrix.rows, matrix.rows);
    }
    return y;
}

} // namespace

/// Near or the same: what the test below asks of every matrix.
void expect_fast(const Matrix& matrix, const std::string& name, double most, Random& random) {
    constexpr uint32_t kTokens = 71;
    EXPECT(cpu::is_fast(matrix));
    std::vector<float> x(size_t{kTokens} * matrix.cols);
    for (float& value : x) value = static_cast<float>(random.next() % 20001) / 10000 - 1;
    const std::vector<float> exact = multiply(cpu::scalar_kernels(), matrix, x, kTokens, 1);
    const std::vector<float> plain = multiply(cpu::fast_kernels(cpu::scalar_kernels()), matrix, x, kTokens, kTokens);
    double error = 0, size = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
        error += std::pow(plain[i] - exact[i], 2);
        size += std::pow(exact[i], 2);
    }
    const double share = std::sqrt(error / size);
    std::printf("%s, %u columns: %.4f of the exact values\n", name.c_str(), matrix.cols, share);
    EXPECT(share > 0 && share < most);
    for (const cpu::Kernels* table : cpu::available_kernels()) {
        const cpu::Kernels& fast = cpu::fast_kernels(*table);
        if (&fast == table) continue;
        for (const uint32_t together : {1u, 2u, 5u, 13u, 64u, kTokens}) EXPECT(multiply(fast, matrix, x, kTokens, together) == plain);
        // Some of the rows are what they are among all.
        std::vector<float> room(fast.prepared_floats(matrix) + 16), some(matrix.rows);
        float* prepared = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
        fast.prepare(matrix, x.data(), prepared);
        fast.rows(matrix, 1, matrix.rows - 1, prepared, 0, 1, some.data(), matrix.rows);
        for (uint32_t r = 1; r + 1 < matrix.rows; ++r) EXPECT_EQ(some[r - 1], plain[r]);
    }
    // What is not finite stays so.
    x[3] = NAN;
    for (const cpu::Kernels* table : cpu::available_kernels()) {
        EXPECT(std::isnan(multiply(cpu::fast_kernels(*table), matrix, x, 1, 1)[0]));
    }
}

TEST("products of 8-bit activations are near the exact ones, and the same bits on all instruction sets, however many go together") {
    Random random(11);
    for (const Example& example : kExamples) {
        const RandomWeights weights(example, random);
        expect_fast(weights.matrix(), std::to_string(example.bits) + " bits, groups of " + std::to_string(example.group), 0.012, random);
    }
}

TEST("so are products of GGUF blocks") {
    Random random(12);
    for (size_t index = 0; index < quant::kBlockKinds.size(); ++index) {
        const quant::BlockKind& kind = quant::kBlockKinds[index];
        if (static_cast<quant::Block>(index) == quant::Block::q8_0) continue;
        for (const uint32_t blocks : {1u, 3u, 8u, 9u}) {
            constexpr uint32_t kRows = 7;
            std::vector<std::byte> bytes(size_t{kRows} * blocks * kind.bytes);
            for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
            for (size_t at = kind.half; at < bytes.size(); at += kind.bytes) {
                for (uint32_t i = 0; i < kind.halves; ++i) {
                    // Least values that centre the weights, as trained ones are.
                    const float usual = i == 0 ? 0.01f : kind.values == 32 ? -0.1f : 0.02f;
                    const uint16_t half = float_to_f16(usual * (0.5f + static_cast<float>(random.next() % 1000) / 1000));
                    std::memcpy(bytes.data() + at + 2 * i, &half, sizeof half);
                }
            }
            const Buffer buffer{bytes.data(), bytes.size(), nullptr};
            expect_fast({.weight = {&buffer, 0}, .scales = {}, .biases = {}, .rows = kRows, .cols = blocks * kind.values,
                         .bits = kind.bytes * 8 / kind.values, .group = kind.values, .type = ElementType::u8, .codes = Codes::blocks,
                         .block = static_cast<quant::Block>(index)},
                        kind.name, 0.012, random);
        }
    }
}
