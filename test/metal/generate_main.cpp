// Writes a packed model of random weights in the shape of a 35B-A3B one (the public configuration of Qwen3.5-35B-A3B): 2,048 wide,
// three delta nets and an attention in turn, 256 experts of 512 of which eight are chosen and one is shared, 4 bits in groups of
// 64, routers in 8. A tenth of the experts have router rows twice as long, so that some are chosen more often than others, as in
// models that were trained. Its outputs mean nothing.
// Usage: metal-generate FOLDER LAYERS SEED
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "core/half.h"
#include "core/random.h"

namespace {

constexpr uint32_t HIDDEN = 2048, VOCAB = 248320, EXPERTS = 256, WIDTH = 512, GROUP = 64;
constexpr uint32_t KEY_HEADS = 16, VALUE_HEADS = 32, DELTA_DIM = 128, HEADS = 16, KV_HEADS = 2, HEAD_DIM = 256, ROPE_DIMS = 64;
constexpr uint32_t CHANNELS = 2 * KEY_HEADS * DELTA_DIM + VALUE_HEADS * DELTA_DIM;
/// A weight's step: codes are uniform over 16 values, so that a weight deviates by some 4.6 steps.
constexpr float STEP = 1.0f / 256;

std::string quoted(const std::string &text) { return "\"" + text + "\""; }

/// Codes whose mean is the middle one: with any other a constant grows in the hidden state, and all tokens choose the same.
void fill_codes(flashmoe::Random &random, uint32_t bits, char *to, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = random.next();
        if (bits == 4) {
            const uint64_t any = word | word >> 1 | word >> 2 | word >> 3;
            word |= (~any & 0x1111111111111111ull) << 3;
        }
        memcpy(to + at, &word, 8);
    }
}

void fill_words(uint16_t value, char *to, size_t count) {
    for (size_t i = 0; i < count; i++) memcpy(to + 2 * i, &value, 2);
}

/// model_weights.bin and its table, tensor after tensor.
class Dense {
  public:
    Dense(const std::string &folder, uint64_t seed) : file_(folder + "/model_weights.bin", std::ios::binary), random_(seed) {}

    void vector(const std::string &name, const std::vector<uint32_t> &shape, float value) {
        size_t count = 1;
        for (const uint32_t extent : shape) count *= extent;
        std::string bytes(2 * count, '\0');
        fill_words(flashmoe::float_to_f16(value), bytes.data(), count);
        add(name, shape, "F16", bytes, "");
    }
    void linear(const std::string &name, uint32_t rows, uint32_t cols, uint32_t bits = 4) {
        std::string codes(size_t{rows} * cols * bits / 8, '\0');
        fill_codes(random_, bits, codes.data(), codes.size());
        add(name + ".weight", {rows, cols * bits / 32}, "U32", codes, ",\"bits\":" + std::to_string(bits) + ",\"group_size\":64");
        const float step = bits == 4 ? STEP : STEP / 16, middle = bits == 4 ? 8 : 127.5f;
        const bool router = name.ends_with(".router");
        for (const bool biases : {false, true}) {
            std::string bytes(size_t{rows} * cols / GROUP * 2, '\0');
            for (uint32_t row = 0; row < rows; row++) {
                const float scale = router && row % 10 == 0 ? 2 * step : step;
                fill_words(flashmoe::float_to_bf16(biases ? -middle * scale : scale), bytes.data() + size_t{row} * cols / GROUP * 2, cols / GROUP);
            }
            add(name + (biases ? ".biases" : ".scales"), {rows, cols / GROUP}, "BF16", bytes, "");
        }
    }
    void finish(const std::string &folder, const std::string &layers) {
        std::ofstream(folder + "/model_weights.json")
            << "{\"format\":\"flashmoe-dense\",\"version\":1,\"num_tensors\":" << count_ << ",\"file_size\":" << size_
            << ",\"sha256\":\"unread\",\"config\":{\"schema\":1,\"modelType\":\"generated\",\"hiddenSize\":" << HIDDEN << ",\"vocabSize\":" << VOCAB
            << ",\"normEps\":1e-6,\"maxPositions\":65536,\"embed\":\"embed\",\"finalNorm\":\"final\",\"lmHead\":\"head\",\"layers\":[" << layers
            << "]},\"tensors\":{" << tensors_ << "}}";
    }

  private:
    void add(const std::string &name, const std::vector<uint32_t> &shape, const char *type, const std::string &bytes, const std::string &more) {
        std::string extents;
        for (const uint32_t extent : shape) extents += (extents.empty() ? "" : ",") + std::to_string(extent);
        tensors_ += (count_++ == 0 ? "" : ",") + quoted(name) + ":{\"offset\":" + std::to_string(size_) + ",\"size\":" +
                    std::to_string(bytes.size()) + ",\"dtype\":" + quoted(type) + ",\"shape\":[" + extents + "]" + more + "}";
        file_ << bytes << std::string((64 - bytes.size() % 64) % 64, '\0');
        size_ += (bytes.size() + 63) / 64 * 64;
    }

    std::ofstream file_;
    flashmoe::Random random_;
    std::string tensors_;
    size_t size_ = 0, count_ = 0;
};

std::string delta_net(Dense &dense, const std::string &name) {
    const std::vector<std::pair<const char *, uint32_t>> maps = {
        {"qkv", CHANNELS}, {"z", VALUE_HEADS * DELTA_DIM}, {"a", VALUE_HEADS}, {"b", VALUE_HEADS}};
    std::string tensors;
    for (const auto &[part, rows] : maps) {
        dense.linear(name + "." + part, rows, HIDDEN);
        tensors += quoted(part) + ":" + quoted(name + "." + part) + ",";
    }
    dense.linear(name + ".out", HIDDEN, VALUE_HEADS * DELTA_DIM);
    dense.vector(name + ".conv.weight", {CHANNELS, 4, 1}, 0.25f);
    dense.vector(name + ".A_log", {VALUE_HEADS}, 0.5f);
    dense.vector(name + ".dt_bias", {VALUE_HEADS}, 0.1f);
    dense.vector(name + ".norm.weight", {DELTA_DIM}, 1);
    return "{\"kind\":\"gated_delta_net\",\"keyHeads\":16,\"valueHeads\":32,\"keyDim\":128,\"valueDim\":128,\"convKernel\":4,\"qkNormEps\":1e-6,"
           "\"tensors\":{" + tensors + "\"conv\":" + quoted(name + ".conv") + ",\"aLog\":" + quoted(name + ".A_log") + ",\"dtBias\":" +
           quoted(name + ".dt_bias") + ",\"norm\":" + quoted(name + ".norm") + ",\"out\":" + quoted(name + ".out") + "}}";
}

std::string attention(Dense &dense, const std::string &name) {
    dense.linear(name + ".q", 2 * HEADS * HEAD_DIM, HIDDEN);
    dense.linear(name + ".k", KV_HEADS * HEAD_DIM, HIDDEN);
    dense.linear(name + ".v", KV_HEADS * HEAD_DIM, HIDDEN);
    dense.linear(name + ".o", HIDDEN, HEADS * HEAD_DIM);
    dense.vector(name + ".qn", {HEAD_DIM}, 1);
    dense.vector(name + ".kn", {HEAD_DIM}, 1);
    std::string frequencies, tensors;
    for (uint32_t i = 0; i < ROPE_DIMS / 2; i++) frequencies += (i == 0 ? "" : ",") + std::to_string(1.0 / (1 + i * 3));
    for (const char *part : {"q", "k", "v", "o"}) tensors += quoted(part) + ":" + quoted(name + "." + part) + ",";
    return "{\"kind\":\"gqa\",\"heads\":16,\"kvHeads\":2,\"headDim\":256,\"scale\":0.0625,\"outputGate\":true,\"qkNorm\":true,\"tensors\":{" + tensors +
           "\"qNorm\":" + quoted(name + ".qn") + ",\"kNorm\":" + quoted(name + ".kn") + "},\"rope\":{\"pairing\":\"half\",\"dims\":64,\"magnitude\":1,"
           "\"invFreq\":[" + frequencies + "]}}";
}

std::string experts(Dense &dense, const std::string &name) {
    dense.linear(name + ".router", EXPERTS, HIDDEN, 8);
    dense.linear(name + ".sgate", 1, HIDDEN, 8);
    dense.linear(name + ".sg", WIDTH, HIDDEN);
    dense.linear(name + ".su", WIDTH, HIDDEN);
    dense.linear(name + ".sd", HIDDEN, WIDTH);
    return "{\"kind\":\"moe\",\"experts\":256,\"topK\":8,\"intermediateSize\":512,\"routedScale\":1,\"normTopK\":true,\"scoring\":\"softmax\",\"groups\":1,"
           "\"topGroups\":1,\"tensors\":{\"router\":" + quoted(name + ".router") + "},\"shared\":{\"intermediateSize\":512,\"tensors\":{\"gate\":" +
           quoted(name + ".sg") + ",\"up\":" + quoted(name + ".su") + ",\"down\":" + quoted(name + ".sd") + ",\"sigmoidGate\":" + quoted(name + ".sgate") + "}}}";
}

constexpr size_t EXPERT_CODES = size_t{WIDTH} * HIDDEN / 2, EXPERT_GROUPS = size_t{WIDTH} * HIDDEN / GROUP;
constexpr size_t EXPERT_BYTES = 3 * (EXPERT_CODES + 4 * EXPERT_GROUPS);
static_assert(EXPERT_BYTES % 16384 == 0);

void write_layer(const std::string &path, uint64_t seed) {
    flashmoe::Random random(seed);
    std::ofstream file(path, std::ios::binary);
    std::string expert(EXPERT_BYTES, '\0');
    for (uint32_t e = 0; e < EXPERTS; e++) {
        char *at = expert.data();
        for (int part = 0; part < 3; part++) {
            fill_codes(random, 4, at, EXPERT_CODES);
            fill_words(flashmoe::float_to_bf16(STEP), at + EXPERT_CODES, EXPERT_GROUPS);
            fill_words(flashmoe::float_to_bf16(-8 * STEP), at + EXPERT_CODES + 2 * EXPERT_GROUPS, EXPERT_GROUPS);
            at += EXPERT_CODES + 4 * EXPERT_GROUPS;
        }
        file << expert;
    }
}

std::string file_of(uint32_t layer) { return std::string("layer_") + (layer < 10 ? "0" : "") + std::to_string(layer) + ".bin"; }

std::string layout(uint32_t layers) {
    std::string components, files;
    size_t offset = 0;
    for (const std::string name : {"gate_proj", "up_proj", "down_proj"}) {
        const bool down = name == "down_proj";
        const uint32_t rows = down ? HIDDEN : WIDTH, cols = down ? WIDTH : HIDDEN;
        const auto part = [&](const char *what, size_t size, const char *type, uint32_t wide, const char *more) {
            components += (components.empty() ? "{\"name\":" : ",{\"name\":") + quoted(name + what) + ",\"offset\":" + std::to_string(offset) +
                          ",\"size\":" + std::to_string(size) + ",\"dtype\":" + quoted(type) + ",\"shape\":[" + std::to_string(rows) + "," +
                          std::to_string(wide) + "]" + more + "}";
            offset += size;
        };
        part(".weight", EXPERT_CODES, "U32", cols / 8, ",\"bits\":4,\"group_size\":64");
        part(".scales", 2 * EXPERT_GROUPS, "BF16", cols / GROUP, "");
        part(".biases", 2 * EXPERT_GROUPS, "BF16", cols / GROUP, "");
    }
    for (uint32_t layer = 0; layer < layers; layer++) {
        files += (layer == 0 ? "{\"layer\":" : ",{\"layer\":") + std::to_string(layer) + ",\"file\":" + quoted(file_of(layer)) + ",\"size\":" +
                 std::to_string(EXPERTS * EXPERT_BYTES) + ",\"sha256\":\"unread\",\"layout\":0}";
    }
    return "{\"format\":\"flashmoe-experts\",\"version\":1,\"quant\":\"4bit\",\"num_experts\":256,\"layouts\":[{\"expert_size\":" +
           std::to_string(EXPERT_BYTES) + ",\"expert_stride\":" + std::to_string(EXPERT_BYTES) + ",\"components\":[" + components +
           "]}],\"layers\":[" + files + "]}";
}

} // namespace

int main(int count, char **arguments) {
    if (count != 4) return 64;
    const std::string folder = arguments[1];
    const auto layers = static_cast<uint32_t>(atoi(arguments[2]));
    const uint64_t seed = strtoull(arguments[3], nullptr, 10);
    std::filesystem::create_directories(folder);
    std::vector<std::thread> writers;
    for (uint32_t i = 0; i < layers; i++) writers.emplace_back([&, i] { write_layer(folder + "/" + file_of(i), seed + 1 + i); });
    Dense dense(folder, seed);
    dense.linear("embed", VOCAB, HIDDEN);
    dense.linear("head", VOCAB, HIDDEN);
    dense.vector("final.weight", {HIDDEN}, 1);
    std::string all;
    for (uint32_t i = 0; i < layers; i++) {
        const std::string name = "l" + std::to_string(i);
        dense.vector(name + ".n1.weight", {HIDDEN}, 1);
        dense.vector(name + ".n2.weight", {HIDDEN}, 1);
        const std::string mixer = i % 4 == 3 ? attention(dense, name) : delta_net(dense, name);
        all += (i == 0 ? "" : ",") + std::string("{\"inputNorm\":") + quoted(name + ".n1") + ",\"postNorm\":" + quoted(name + ".n2") +
               ",\"mixer\":" + mixer + ",\"mlp\":" + experts(dense, name) + "}";
    }
    dense.finish(folder, all);
    std::ofstream(folder + "/layout.json") << layout(layers);
    for (std::thread &writer : writers) writer.join();
    printf("%u layers, %.1f GB of experts\n", layers, double(layers) * EXPERTS * EXPERT_BYTES / 1e9);
    return 0;
}
