// Operations of residual streams, block indexers and n-gram rows on the CPU, against the same in double precision.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "backend/cpu/cpu_backend.h"
#include "core/random.h"
#include "test/harness.h"

using namespace flashmoe;

namespace {

/// Floats of a test, wherever a span of them is wanted.
class Room {
  public:
    explicit Room(std::vector<float> values) : values_(std::move(values)) { wrap(); }
    Room(size_t count, Random& random) : values_(count) {
        for (float& value : values_) value = static_cast<float>(random.uniform() * 2 - 1);
        wrap();
    }
    Room(const Room&) = delete;
    Span span(size_t floats = 0) const { return {&buffer_, floats * sizeof(float)}; }
    const std::vector<float>& values() const { return values_; }

  private:
    void wrap() { buffer_ = {reinterpret_cast<std::byte*>(values_.data()), values_.size() * sizeof(float), nullptr}; }
    std::vector<float> values_;
    Buffer buffer_;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void expect_near(const std::vector<float>& got, const std::vector<double>& wanted, double tolerance) {
    EXPECT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) {
        if (!(std::fabs(got[i] - wanted[i]) <= tolerance)) harness::fail_at(__FILE__, __LINE__, i, ": ", got[i], " for ", wanted[i]);
    }
}

} // namespace

TEST("a block's input is the mean of gated streams, and each stream grows by its own share") {
    constexpr uint32_t kStreams = 3, kWidth = 20, kTokens = 5;
    Random random(3);
    cpu::CpuBackend backend(2, cpu::best_kernels());
    const Room normed(kTokens * kStreams * kWidth, random), gate(kTokens * kStreams * kWidth, random);
    const Room logits(kTokens * kStreams, random), y(kTokens * kStreams * kWidth, random), out(std::vector<float>(kTokens * kWidth, NAN));
    std::vector<double> mixed(kTokens * kWidth), grown(y.values().begin(), y.values().end());
    for (uint32_t i = 0; i < kTokens * kStreams * kWidth; ++i) {
        const uint32_t row = i / kWidth, at = row / kStreams * kWidth + i % kWidth;
        mixed[at] += sigmoid(gate.values()[i]) * normed.values()[i] / kStreams;
    }
    backend.mix_streams({normed.span(), gate.span(), out.span(), kStreams, kWidth, kTokens});
    expect_near(out.values(), mixed, 1e-6);
    for (uint32_t i = 0; i < kTokens * kStreams * kWidth; ++i) {
        const uint32_t row = i / kWidth, at = row / kStreams * kWidth + i % kWidth;
        grown[i] += 2 * sigmoid(logits.values()[row] / double{kStreams}) * out.values()[at];
    }
    backend.add_streams(y.span(), out.span(), logits.span(), kStreams, kWidth, kTokens);
    expect_near(y.values(), grown, 1e-6);
}

TEST("a convolution whose taps are apart is the same in one batch and token by token") {
    constexpr uint32_t kChannels = 70, kKernel = 3, kDilation = 4, kTokens = 13;
    Random random(5);
    cpu::CpuBackend backend(2, cpu::best_kernels());
    const Room x(kTokens * kChannels, random), normed(kTokens * kChannels, random), weights(kKernel * kChannels, random);
    std::vector<double> wanted(kTokens * kChannels);
    for (uint32_t t = 0; t < kTokens; ++t) {
        for (uint32_t c = 0; c < kChannels; ++c) {
            double sum = 0;
            for (uint32_t k = 0; k < kKernel; ++k) {
                const uint32_t back = (kKernel - 1 - k) * kDilation;
                if (back <= t) sum += double{weights.values()[k * kChannels + c]} * normed.values()[(t - back) * kChannels + c];
            }
            wanted[t * kChannels + c] = x.values()[t * kChannels + c] + sum * sigmoid(sum);
        }
    }
    std::vector<float> first;
    for (const uint32_t piece : {kTokens, 1u, 3u, 9u}) {
        const Room y(std::vector<float>(kTokens * kChannels)), history(std::vector<float>((kKernel - 1) * kDilation * kChannels));
        for (uint32_t at = 0; at < kTokens; at += piece) {
            const size_t from = size_t{at} * kChannels;
            backend.dilated_convolution({x.span(from), normed.span(from), y.span(from), weights.span(), history.span(), kChannels,
                                         kKernel, kDilation, std::min(piece, kTokens - at)});
        }
        expect_near(y.values(), wanted, 1e-6);
        if (first.empty()) first = y.values();
        EXPECT(first == y.values());
    }
}

TEST("blocks with the largest scores and what stands behind the last whole one are chosen, in any batches") {
    constexpr uint32_t kHeads = 2, kDim = 24, kBudget = 10, kRatio = 3, kTokens = 40, kMost = kBudget + kRatio - 1;
    Random random(7);
    const Room qk(kTokens * (kHeads + 1) * kDim, random), norm(kDim, random);
    std::vector<std::vector<uint32_t>> first;
    for (const uint32_t piece : {kTokens, 1u, 7u}) {
        cpu::CpuBackend backend(2, cpu::best_kernels());
        const Room copy(qk.values()), plane(std::vector<float>(kTokens * kDim, NAN));
        const Room positions(std::vector<float>(kTokens * kMost)), counts{std::vector<float>(kTokens)};
        std::vector<std::vector<uint32_t>> chosen;
        for (uint32_t at = 0; at < kTokens; at += piece) {
            const uint32_t tokens = std::min(piece, kTokens - at);
            // Nothing rotates: a table of no dimensions.
            backend.block_select({copy.span(size_t{at} * (kHeads + 1) * kDim), norm.span(), norm.span(), 1e-6f, {norm.span(), 0, false},
                                  nullptr, 1, plane.span(), kHeads, kDim, kBudget, kRatio, at, tokens,
                                  {positions.span(size_t{at} * kMost), counts.span(at), kMost}});
        }
        for (uint32_t t = 0; t < kTokens; ++t) {
            const uint32_t* row = positions.span(size_t{t} * kMost).as<const uint32_t>();
            chosen.emplace_back(row, row + counts.span().as<const uint32_t>()[t]);
        }
        for (uint32_t t = 0; t < kTokens; ++t) {
            const uint32_t whole = (t + 1) / kRatio, kept = kBudget / kRatio;
            if (whole <= kept) {
                EXPECT(chosen[t].empty());
                continue;
            }
            EXPECT_EQ(chosen[t].size(), size_t{kept} * kRatio + (t + 1) % kRatio);
            EXPECT(std::is_sorted(chosen[t].begin(), chosen[t].end()));
            for (uint32_t i = 0; i < (t + 1) % kRatio; ++i) EXPECT_EQ(chosen[t][kept * kRatio + i], whole * kRatio + i);
        }
        if (first.empty()) first = chosen;
        EXPECT(first == chosen);
    }
}
