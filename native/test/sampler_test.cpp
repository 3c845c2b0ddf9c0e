#include "core/sampler.h"

#include <cmath>
#include <map>

#include "test/harness.h"

using flashmoe::Sampler;

namespace {

constexpr float kInfinity = INFINITY;

fm_sampling with_temperature(double temperature) {
    fm_sampling params{};
    params.temperature = temperature;
    params.top_p = 1;
    return params;
}

/// How often each id comes in 20,000 draws.
std::map<uint32_t, int> draw(const std::vector<float>& logits, const fm_sampling& params) {
    Sampler sampler(static_cast<uint32_t>(logits.size()), 1000);
    sampler.seed(3);
    std::map<uint32_t, int> counts;
    for (int i = 0; i < 20'000; ++i) ++counts[sampler.sample(logits.data(), params)];
    return counts;
}

} // namespace

TEST("greedy takes the largest logit, the lowest id of equals, and no id at the limit") {
    const std::vector<float> logits = {1, 5, 2, 5, 9};
    Sampler all(5, 5), limited(5, 4);
    const fm_sampling greedy{};
    EXPECT_EQ(all.sample(logits.data(), greedy), 4u);
    EXPECT_EQ(limited.sample(logits.data(), greedy), 1u);
}

TEST("draws follow the softmax at the given temperature") {
    const std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f)};
    auto counts = draw(logits, with_temperature(1));
    EXPECT(std::abs(counts[0] / 20000.0 - 1 / 8.0) < 0.01);
    EXPECT(std::abs(counts[1] / 20000.0 - 2 / 8.0) < 0.01);
    counts = draw(logits, with_temperature(0.5));
    EXPECT(std::abs(counts[2] / 20000.0 - 25 / 30.0) < 0.01);
}

TEST("top-k, top-p and min-p cut the tail") {
    const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
    fm_sampling params = with_temperature(1);
    params.top_k = 2;
    EXPECT_EQ(draw(logits, params).size(), 2u);
    params = with_temperature(1);
    params.top_p = 0.75; // 0.5 is too little, 0.8 is enough.
    EXPECT_EQ(draw(logits, params).size(), 2u);
    params.top_p = 0.0001;
    EXPECT_EQ(draw(logits, params).size(), 1u);
    params = with_temperature(1);
    params.min_p = 0.25;
    EXPECT_EQ(draw(logits, params).size(), 3u);
}

TEST("bias is added before anything else and a mask forbids") {
    const std::vector<float> logits = {1, 2, 3, 4};
    const int32_t ids[] = {0, 3};
    const float values[] = {10, -kInfinity};
    fm_sampling params{};
    params.bias_ids = ids;
    params.bias_values = values;
    params.bias_count = 2;
    Sampler sampler(4, 4);
    EXPECT_EQ(sampler.sample(logits.data(), params), 0u);
    const uint32_t allowed = 0b1110;
    params.allowed = &allowed;
    params.allowed_words = 1;
    EXPECT_EQ(sampler.sample(logits.data(), params), 2u);
    params.allowed_words = 0;
    EXPECT_THROWS(sampler.sample(logits.data(), params), "no token is allowed");
    const int32_t outside[] = {4, -1};
    params = {};
    params.bias_ids = outside;
    params.bias_values = values;
    params.bias_count = 1;
    EXPECT_THROWS(sampler.sample(logits.data(), params), "bias for token 4");
}

TEST("an id beyond the mask's last word is not allowed") {
    std::vector<float> logits(40, 0);
    logits[39] = 9;
    logits[5] = 1;
    const uint32_t allowed = 0xFFFFFFFF;
    fm_sampling params{};
    params.allowed = &allowed;
    params.allowed_words = 1;
    Sampler sampler(40, 40);
    EXPECT_EQ(sampler.sample(logits.data(), params), 5u);
}

TEST("a seed fixes the sequence") {
    std::vector<float> logits(50);
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7);
    Sampler a(50, 50), b(50, 50), other(50, 50);
    a.seed(11);
    b.seed(11);
    other.seed(12);
    int different = 0;
    for (int i = 0; i < 100; ++i) {
        const uint32_t id = a.sample(logits.data(), with_temperature(1));
        EXPECT_EQ(b.sample(logits.data(), with_temperature(1)), id);
        different += other.sample(logits.data(), with_temperature(1)) != id;
    }
    EXPECT(different > 50);
}

TEST("logits that are not finite and parameters out of range are refused") {
    Sampler sampler(3, 3);
    for (const float bad : {NAN, kInfinity, -kInfinity}) {
        const std::vector<float> logits = {1, bad, 2};
        EXPECT_THROWS(sampler.sample(logits.data(), fm_sampling{}), "token 1 is not finite");
    }
    const std::vector<float> logits = {1, 2, 3};
    fm_sampling params = with_temperature(-1);
    EXPECT_THROWS(sampler.sample(logits.data(), params), "temperature");
    params = with_temperature(NAN);
    EXPECT_THROWS(sampler.sample(logits.data(), params), "temperature");
    params = with_temperature(1);
    params.top_p = 0;
    EXPECT_THROWS(sampler.sample(logits.data(), params), "top_p");
}
