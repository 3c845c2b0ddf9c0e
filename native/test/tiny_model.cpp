#include "test/tiny_model.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/half.h"
#include "test/harness.h"

namespace {

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

std::string list(const std::vector<uint32_t>& values) {
    std::string text = "[";
    for (const uint32_t value : values) text += (text.size() > 1 ? "," : "") + std::to_string(value);
    return text + "]";
}

std::string rope(const char* pairing, uint32_t dims) {
    std::string frequencies;
    for (uint32_t i = 0; i < dims / 2; ++i) frequencies += (i == 0 ? "" : ",") + std::to_string(1.0 / (1 + i * 3));
    return std::string("{\"pairing\":\"") + pairing + "\",\"dims\":" + std::to_string(dims) + ",\"magnitude\":1,\"invFreq\":[" +
           frequencies + "]}";
}

std::string layer(int index, const std::string& mixer, const std::string& mlp) {
    const std::string name = "l" + std::to_string(index);
    return "{\"inputNorm\":" + quoted(name + ".n1") + ",\"postNorm\":" + quoted(name + ".n2") + ",\"mixer\":" + mixer +
           ",\"mlp\":" + mlp + "}";
}

const char* kGqa = R"("kind":"gqa","heads":4,"kvHeads":2,"headDim":32,"scale":0.17,"outputGate":true,"qkNorm":true,
 "tensors":{"q":"l0.q","k":"l0.k","v":"l0.v","o":"l0.o","qNorm":"l0.qn","kNorm":"l0.kn"})";
const char* kDelta = R"({"kind":"gated_delta_net","keyHeads":2,"valueHeads":4,"keyDim":16,"valueDim":16,"convKernel":4,
 "qkNormEps":1e-6,"tensors":{"qkv":"l1.qkv","z":"l1.z","a":"l1.a","b":"l1.b","conv":"l1.conv","aLog":"l1.A_log",
 "dtBias":"l1.dt_bias","norm":"l1.norm","out":"l1.out"}})";
const char* kMla = R"("kind":"mla","heads":2,"qLoraRank":64,"kvLoraRank":64,"nopeDim":32,"ropeDim":16,"valueDim":32,
 "scale":0.14,"loraNormEps":1e-6,)";
const char* kDense = R"({"kind":"dense_mlp","intermediateSize":128,"tensors":{"gate":"l0.gate","up":"l0.up","down":"l0.down"}})";

/// Rows of 4-bit codes in groups of 32, as q4_1 has them.
std::string in_blocks(const std::string& codes, float scale, float bias) {
    std::string blocks;
    for (size_t at = 0; at < codes.size(); at += 16) {
        for (const float value : {scale, bias}) {
            const uint16_t bits = flashmoe::float_to_f16(value);
            blocks.append(reinterpret_cast<const char*>(&bits), 2);
        }
        const auto code = [&](size_t j) { return static_cast<uint8_t>(codes[at + j / 2]) >> (j % 2 * 4) & 15; };
        for (size_t j = 0; j < 16; ++j) blocks += static_cast<char>(code(j) | code(j + 16) << 4);
    }
    return blocks;
}

std::string moe(const std::string& name, const char* rest) {
    return "{\"kind\":\"moe\",\"experts\":8,\"topK\":3,\"intermediateSize\":64,\"routedScale\":1.5,\"normTopK\":true," +
           std::string(rest) + ",\"shared\":{\"intermediateSize\":64,\"tensors\":{\"gate\":\"" + name + ".sg\",\"up\":\"" +
           name + ".su\",\"down\":\"" + name + ".sd\"}}}";
}

} // namespace

TinyModel::TinyModel(Linears linears) : linears_(linears) {
    std::string pattern = (std::filesystem::temp_directory_path() / "flashmoe-native-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) harness::fail_at(__FILE__, __LINE__, "no temporary folder");
    dir_ = pattern;
    const uint32_t h = kHidden;
    add_linear("embed", {kVocab, h}, 4);
    add_linear("head", {kVocab, h}, 8);
    add_vector("final.weight", {h}, 0.5f, 1.5f);
    for (const std::string name : {"l0", "l1", "l2", "l3"}) {
        add_vector(name + ".n1.weight", {h}, 0.5f, 1.5f);
        add_vector(name + ".n2", {h}, 0.5f, 1.5f);
    }
    add_linear("l0.q", {4 * 2 * 32, h}, 4);
    add_linear("l0.k", {2 * 32, h}, 2);
    add_linear("l0.v", {2 * 32, h}, 0);
    add_linear("l0.o", {h, 4 * 32}, 4);
    add_vector("l0.qn", {32}, 0.5f, 1.5f);
    add_vector("l0.kn", {32}, 0.5f, 1.5f);
    add_linear("l0.gate", {128, h}, 4);
    add_linear("l0.up", {128, h}, 4);
    add_linear("l0.down", {h, 128}, 4);

    add_linear("l1.qkv", {2 * 2 * 16 + 4 * 16, h}, 4);
    add_linear("l1.z", {64, h}, 4);
    add_linear("l1.a", {4, h}, 4);
    add_linear("l1.b", {4, h}, 4);
    add_vector("l1.conv.weight", {128, 4, 1}, -0.5f, 0.5f);
    add_vector("l1.A_log", {4}, -1, 1);
    add_vector("l1.dt_bias", {4}, -1, 1);
    add_vector("l1.norm.weight", {16}, 0.5f, 1.5f);
    add_linear("l1.out", {h, 64}, 4);

    for (const std::string name : {"l2", "l3"}) {
        add_linear(name + ".qa", {64, h}, 4);
        add_vector(name + ".qan", {64}, 0.5f, 1.5f);
        add_linear(name + ".qb", {2 * 48, 64}, 4);
        add_linear(name + ".kva", {64 + 16, h}, 4);
        add_vector(name + ".kvan", {64}, 0.5f, 1.5f);
        add_linear(name + ".o", {h, 64}, 4);
    }
    add_linear("l2.kvb", {2 * (32 + 32), 64}, 4);
    add_linear("l3.eq", {2, 64, 32}, 4);
    add_linear("l3.uo", {2, 32, 64}, 4);
    for (const std::string name : {"l1", "l2", "l3"}) {
        add_linear(name + ".router", {kExperts, h}, 8);
        for (const char* part : {".sg", ".su", ".sd"}) add_linear(name + part, {64, h}, 4);
    }
    add_vector("l2.bias", {kExperts}, -0.1f, 0.1f);

    const auto mla = [&](const std::string& name, const std::string& kv) {
        return std::string("{") + kMla + "\"rope\":" + rope("interleaved", 16) + ",\"tensors\":{\"qA\":\"" + name +
               ".qa\",\"qANorm\":\"" + name + ".qan\",\"qB\":\"" + name + ".qb\",\"kvA\":\"" + name + ".kva\",\"kvANorm\":\"" +
               name + ".kvan\",\"o\":\"" + name + ".o\"," + kv + "}}";
    };
    const char* softmax = R"("scoring":"softmax","groups":1,"topGroups":1,"tensors":{"router":"l1.router"})";
    const char* grouped = R"("scoring":"sigmoid","groups":4,"topGroups":2,"tensors":{"router":"l2.router","choiceBias":"l2.bias"})";
    const char* sigmoid = R"("scoring":"sigmoid","groups":1,"topGroups":1,"tensors":{"router":"l3.router"})";
    const std::string layers =
        layer(0, std::string("{") + kGqa + ",\"rope\":" + rope("half", 16) + "}", kDense) + "," +
        layer(1, kDelta, moe("l1", softmax)) + "," + layer(2, mla("l2", "\"kvB\":\"l2.kvb\""), moe("l2", grouped)) + "," +
        layer(3, mla("l3", "\"embedQ\":\"l3.eq\",\"unembedOut\":\"l3.uo\""), moe("l3", sigmoid));
    write("model_weights.bin", bin_);
    write("model_weights.json",
          "{\"format\":\"flashmoe-dense\",\"version\":1,\"num_tensors\":" + std::to_string(count_) +
              ",\"file_size\":" + std::to_string(bin_.size()) +
              ",\"sha256\":\"unread\",\"config\":{\"schema\":1,\"modelType\":\"tiny\",\"hiddenSize\":64,\"vocabSize\":96,"
              "\"normEps\":1e-6,\"maxPositions\":2048,\"embed\":\"embed\",\"finalNorm\":\"final\",\"lmHead\":\"head\",\"layers\":[" +
              layers + "]},\"tensors\":{" + tensors_ + "}}");
    write_experts();
}

void TinyModel::add(const std::string& name, const std::vector<uint32_t>& shape, const char* dtype, size_t bytes_each) {
    size_t bytes = bytes_each;
    for (const uint32_t extent : shape) bytes *= extent;
    tensors_ += (count_++ == 0 ? "" : ",") + quoted(name) + ":{\"offset\":" + std::to_string(bin_.size() - bytes) +
                ",\"size\":" + std::to_string(bytes) + ",\"dtype\":\"" + dtype + "\",\"shape\":" + list(shape) + "}";
    bin_.resize((bin_.size() + 63) / 64 * 64, '\0');
}

void TinyModel::add_vector(const std::string& name, const std::vector<uint32_t>& shape, float low, float high) {
    size_t count = 1;
    for (const uint32_t extent : shape) count *= extent;
    for (size_t i = 0; i < count; ++i) {
        const uint16_t bits = flashmoe::float_to_f16(low + (high - low) * static_cast<float>(random_.uniform()));
        bin_.append(reinterpret_cast<const char*>(&bits), 2);
    }
    add(name, shape, "F16", 2);
}

void TinyModel::add_linear(const std::string& name, const std::vector<uint32_t>& shape, uint32_t bits) {
    if (bits == 0) return add_vector(name + ".weight", shape, -0.2f, 0.2f);
    const uint32_t cols = shape.back();
    uint32_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    const auto with = [&](uint32_t width) {
        std::vector<uint32_t> changed = shape;
        changed.back() = width;
        return changed;
    };
    // Codes are centred on zero: w = s * (code - half). Both are exact in every 16-bit type.
    const float step = flashmoe::bf16_to_float(flashmoe::float_to_bf16(0.4f / static_cast<float>(1 << bits)));
    const float least = flashmoe::bf16_to_float(flashmoe::float_to_bf16(-0.2f));
    std::string codes;
    for (uint32_t i = 0; i < rows * cols * bits / 8; ++i) codes += static_cast<char>(random_.next() & 255);
    if (linears_ == Linears::blocks && bits == 4) {
        bin_ += in_blocks(codes, step, least);
        add(name + ".weight", with(cols / 32 * 20), "U8", 1);
        tensors_.replace(tensors_.size() - 1, 1, ",\"mode\":\"q4_1\"}");
        return;
    }
    bin_ += codes;
    add(name + ".weight", with(cols * bits / 32), "U32", 4);
    const std::string quant = ",\"bits\":" + std::to_string(bits) + ",\"group_size\":32}";
    tensors_.replace(tensors_.size() - 1, 1, quant);
    for (const bool biases : {false, true}) {
        for (uint32_t i = 0; i < rows * cols / 32; ++i) {
            const uint16_t value = flashmoe::float_to_bf16(biases ? least : step);
            bin_.append(reinterpret_cast<const char*>(&value), 2);
        }
        add(name + (biases ? ".biases" : ".scales"), with(cols / 32), "BF16", 2);
    }
}

void TinyModel::write_experts() {
    constexpr uint32_t kWeight = 64 * 64 / 2, kParams = 64 * 2 * 2, kStride = 16384;
    std::string components;
    uint32_t offset = 0;
    for (const std::string name : {"gate_proj", "up_proj", "down_proj"}) {
        const auto entry = [&](const char* part, uint32_t size, const char* rest) {
            components += (components.empty() ? "{\"name\":\"" : ",{\"name\":\"") + name + part + "\",\"offset\":" +
                          std::to_string(offset) + ",\"size\":" + std::to_string(size) + rest + "}";
            offset += size;
        };
        if (linears_ == Linears::blocks) {
            entry(".weight", kWeight / 16 * 20, ",\"dtype\":\"U8\",\"shape\":[64,40],\"mode\":\"q4_1\"");
            continue;
        }
        entry(".weight", kWeight, ",\"dtype\":\"U32\",\"shape\":[64,8],\"bits\":4,\"group_size\":32");
        entry(".scales", kParams, ",\"dtype\":\"BF16\",\"shape\":[64,2]");
        entry(".biases", kParams, ",\"dtype\":\"BF16\",\"shape\":[64,2]");
    }
    std::string files;
    for (int index = 1; index < 4; ++index) {
        std::string bytes;
        for (uint32_t e = 0; e < kExperts; ++e) {
            std::string expert;
            for (int projection = 0; projection < 3; ++projection) {
                std::string codes;
                for (uint32_t i = 0; i < kWeight; ++i) codes += static_cast<char>(random_.next() & 255);
                if (linears_ == Linears::blocks) {
                    expert += in_blocks(codes, flashmoe::bf16_to_float(flashmoe::float_to_bf16(0.025f)),
                                        flashmoe::bf16_to_float(flashmoe::float_to_bf16(-0.2f)));
                    continue;
                }
                expert += codes;
                for (const float value : {0.025f, -0.2f}) {
                    const uint16_t bits = flashmoe::float_to_bf16(value);
                    for (uint32_t i = 0; i < kParams / 2; ++i) expert.append(reinterpret_cast<const char*>(&bits), 2);
                }
            }
            expert.resize(kStride, '\0');
            bytes += expert;
        }
        const std::string file = "layer_0" + std::to_string(index) + ".bin";
        write(file, bytes);
        files += (index == 1 ? "{" : ",{") + ("\"layer\":" + std::to_string(index)) + ",\"file\":" + quoted(file) +
                 ",\"size\":" + std::to_string(bytes.size()) + ",\"sha256\":\"unread\",\"layout\":0}";
    }
    write("layout.json", "{\"format\":\"flashmoe-experts\",\"version\":1,\"quant\":\"4bit\",\"num_experts\":8,\"layouts\":[{"
                         "\"expert_size\":" + std::to_string(offset) + ",\"expert_stride\":16384,\"components\":[" + components +
                         "]}],\"layers\":[" + files + "]}");
}

std::string TinyModel::read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void TinyModel::write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
}

void TinyModel::edit(const std::string& name, const std::string& from, const std::string& to) const {
    std::string text = read(name);
    const size_t at = text.find(from);
    if (at == std::string::npos) harness::fail_at(__FILE__, __LINE__, name, " does not contain ", from);
    write(name, text.replace(at, from.size(), to));
}

fm_status TinyModel::open(fm_engine** engine, fm_error* error, uint32_t experts_per_token, bool direct_reads) const {
    const fm_engine_options options{.model_dir = dir_.c_str(),
                                    .experts_dir = dir_.c_str(),
                                    .threads = 2,
                                    .io_threads = 2,
                                    .token_limit = kVocab - 6,
                                    .experts_per_token = experts_per_token,
                                    .direct_reads = direct_reads ? 1u : 0u,
                                    .exact_caches = 0,
                                    .backend = "cpu",
                                    .kernels_dir = "",
                                    .isa = nullptr,
                                    .fast = 0,
                                    .map_experts = 0,
                                    // A layer's three: the next leaves nothing of them, so that every step reads.
                                    .expert_bytes = 3 * 16384,
                                    .expert_mass = 1,
                                    .prefill_tokens = 0};
    return fm_engine_open(&options, engine, error);
}

OpenEngine::OpenEngine(const TinyModel& model, uint32_t experts_per_token) {
    fm_error error;
    if (model.open(&engine_, &error, experts_per_token) != FM_OK) harness::fail_at(__FILE__, __LINE__, error.message);
}

OpenSession::OpenSession(const OpenEngine& engine, uint32_t max_tokens) {
    fm_error error;
    if (fm_session_create(engine.get(), max_tokens, &session_, &error) != FM_OK) {
        harness::fail_at(__FILE__, __LINE__, error.message);
    }
}

void OpenSession::prefill(const std::vector<int32_t>& tokens) {
    fm_step_stats stats;
    fm_error error;
    if (fm_session_prefill(session_, tokens.data(), tokens.size(), nullptr, nullptr, &stats, &error) != FM_OK) {
        harness::fail_at(__FILE__, __LINE__, error.message);
    }
}

void OpenSession::decode(int32_t token) {
    fm_step_stats stats;
    fm_error error;
    if (fm_session_decode(session_, token, &stats, &error) != FM_OK) harness::fail_at(__FILE__, __LINE__, error.message);
}

std::vector<float> OpenSession::logits() const {
    std::vector<float> values(TinyModel::kVocab);
    fm_error error;
    if (fm_session_logits(session_, values.data(), &error) != FM_OK) harness::fail_at(__FILE__, __LINE__, error.message);
    return values;
}

std::vector<int32_t> some_tokens(size_t count) {
    std::vector<int32_t> tokens;
    flashmoe::Random random(count);
    for (size_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(random.next() % TinyModel::kVocab));
    return tokens;
}
