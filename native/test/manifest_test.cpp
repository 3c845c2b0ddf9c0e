// Models that are not what they say: each is refused at open with the file and the tensor or field at fault.
#include <filesystem>
#include <string>

#include "core/random.h"

#include "test/harness.h"
#include "test/tiny_model.h"

namespace {

/// The status of opening, with `part` in its message.
void expect_refused(const TinyModel& model, fm_status status, const std::string& part) {
    fm_engine* engine = nullptr;
    fm_error error{};
    const fm_status got = model.open(&engine, &error);
    if (got != status || std::string(error.message).find(part) == std::string::npos) {
        fm_engine_close(engine);
        harness::fail_at(__FILE__, __LINE__, "status ", fm_status_name(got), ", message \"", error.message,
                         "\"; expected ", fm_status_name(status), " and \"", part, "\"");
    }
}

struct Case {
    const char *file, *from, *to;
    fm_status status;
    const char* part;
};

void expect_all_refused(const std::vector<Case>& cases) {
    const TinyModel model;
    for (const Case& one : cases) {
        const std::string before = model.read(one.file);
        model.edit(one.file, one.from, one.to);
        expect_refused(model, one.status, one.part);
        model.write(one.file, before);
    }
}

} // namespace

TEST("a dense manifest that lies is refused with the tensor's name") {
    const char* file = "model_weights.json";
    expect_all_refused({
        {file, "\"format\":\"flashmoe-dense\"", "\"format\":\"other\"", FM_MODEL_DAMAGED, "format"},
        {file, "\"version\":1", "\"version\":2", FM_UNSUPPORTED_MODEL, "only version 1"},
        {file, "\"embed.weight\":{\"offset\":0", "\"embed.weight\":{\"offset\":8", FM_MODEL_DAMAGED, "embed.weight: offset 8"},
        {file, "\"embed.weight\":{\"offset\":0", "\"embed.weight\":{\"offset\":64", FM_MODEL_DAMAGED, "overlaps"},
        {file, "\"embed.weight\":{\"offset\":0", "\"embed.weight\":{\"offset\":70368744177664", FM_MODEL_DAMAGED, "embed.weight: ends at"},
        {file, "\"embed.weight\":{\"offset\":0", "\"embed.weight\":{\"offset\":-64", FM_MODEL_DAMAGED, "embed.weight.offset"},
        {file, "\"embed.weight\":{\"offset\":0", "\"embed.weight\":{\"offset\":1e300", FM_MODEL_DAMAGED, "embed.weight.offset"},
        {file, "\"embed.weight\":", "\"embed.wait\":", FM_MODEL_DAMAGED, "embed.weight is missing"},
        {file, "\"embed.scales\":", "\"embed.scabs\":", FM_MODEL_DAMAGED, "embed.scales is missing"},
        {file, "\"l0.n2\":", "\"l0.n3\":", FM_MODEL_DAMAGED, "l0.n2"},
        {file, "\"dtype\":\"U32\",\"shape\":[96,8]", "\"dtype\":\"U32\",\"shape\":[48,16]", FM_MODEL_DAMAGED, "embed.weight has shape [48, 16], the model needs [96, 8]"},
        {file, "\"shape\":[96,8]", "\"shape\":[96,9]", FM_MODEL_DAMAGED, "embed.weight: its shape takes"},
        {file, "\"shape\":[96,8]", "\"shape\":[1099511627776,1099511627776]", FM_MODEL_DAMAGED, "too large"},
        {file, "\"shape\":[96,8]", "\"shape\":[]", FM_MODEL_DAMAGED, "no dimensions"},
        {file, "\"shape\":[96,8]", "\"shape\":[1,1,1,1,1,1,1,96,8]", FM_MODEL_DAMAGED, "more than 8"},
        {file, "\"bits\":4,\"group_size\":32", "\"bits\":7,\"group_size\":32", FM_UNSUPPORTED_MODEL, "7 bits in groups of 32"},
        {file, "\"bits\":4,\"group_size\":32", "\"bits\":3,\"group_size\":32", FM_MODEL_DAMAGED, "embed.weight has shape [96, 8], the model needs [96, 6]"},
        {file, "\"bits\":4,\"group_size\":32", "\"bits\":8,\"group_size\":32", FM_MODEL_DAMAGED, "embed.weight has shape"},
        {file, "\"bits\":4,\"group_size\":32", "\"bits\":4,\"group_size\":64", FM_MODEL_DAMAGED, "embed.scales has shape"},
        {file, "\"bits\":4,\"group_size\":32", "\"bits\":4", FM_MODEL_DAMAGED, "belong together"},
        {file, ",\"bits\":4,\"group_size\":32", "", FM_MODEL_DAMAGED, "U32 without bits"},
        {file, "\"dtype\":\"BF16\"", "\"dtype\":\"F16\"", FM_MODEL_DAMAGED, "embed.scales and .biases must have one dtype"},
        {file, "\"dtype\":\"BF16\"", "\"dtype\":\"F8\"", FM_MODEL_DAMAGED, "not one of U32"},
        {file, "\"num_tensors\":", "\"num_tensors\":1", FM_MODEL_DAMAGED, "num_tensors"},
        {file, "\"file_size\":", "\"file_size\":1", FM_MODEL_DAMAGED, "model_weights.bin"},
        {file, "\"embed\":\"embed\"", "\"embed\":\"head\"", FM_MODEL_DAMAGED, "embed.biases belongs to no block"},
        {file, "{\"format\"", "{{\"format\"", FM_MODEL_DAMAGED, "not valid JSON at line 1"},
    });
}

TEST("an architecture that can't be computed is refused with the field's path") {
    const char* file = "model_weights.json";
    expect_all_refused({
        {file, "\"kind\":\"gqa\"", "\"kind\":\"ssm\"", FM_UNSUPPORTED_MODEL, "config.layers[0].mixer.kind: \"ssm\""},
        {file, "\"kind\":\"dense_mlp\"", "\"kind\":\"mlp\"", FM_UNSUPPORTED_MODEL, "layers[0].mlp.kind"},
        {file, "\"schema\":1", "\"schema\":2", FM_UNSUPPORTED_MODEL, "config.schema"},
        {file, "\"kvHeads\":2", "\"kvHeads\":3", FM_MODEL_DAMAGED, "layers[0].mixer.kvHeads"},
        {file, "\"heads\":4", "\"heads\":0", FM_MODEL_DAMAGED, "layers[0].mixer.heads"},
        {file, "\"heads\":4", "\"heads\":4.5", FM_MODEL_DAMAGED, "layers[0].mixer.heads: expected an integer"},
        {file, "\"heads\":4,", "", FM_MODEL_DAMAGED, "layers[0].mixer.heads: missing"},
        {file, "\"outputGate\":true", "\"outputGate\":1", FM_MODEL_DAMAGED, "outputGate: expected true or false"},
        {file, "\"pairing\":\"half\"", "\"pairing\":\"whole\"", FM_UNSUPPORTED_MODEL, "rope.pairing"},
        {file, "\"dims\":16", "\"dims\":18", FM_MODEL_DAMAGED, "invFreq"},
        {file, "\"scoring\":\"softmax\"", "\"scoring\":\"relu\"", FM_UNSUPPORTED_MODEL, "scoring"},
        {file, "\"topK\":3", "\"topK\":9", FM_MODEL_DAMAGED, "topK"},
        {file, "\"groups\":4", "\"groups\":3", FM_MODEL_DAMAGED, "groups"},
        {file, "\"topGroups\":2", "\"topGroups\":5", FM_MODEL_DAMAGED, "topGroups"},
        {file, "\"convKernel\":4", "\"convKernel\":400", FM_MODEL_DAMAGED, "convKernel"},
        {file, "\"hiddenSize\":64", "\"hiddenSize\":4294967296", FM_MODEL_DAMAGED, "hiddenSize"},
        {file, "\"vocabSize\":96", "\"vocabSize\":95", FM_MODEL_DAMAGED, "embed.weight"},
        {file, "\"normEps\":1e-6", "\"normEps\":-1", FM_MODEL_DAMAGED, "normEps"},
        {file, "\"layers\":[", "\"layers\":[],\"others\":[", FM_MODEL_DAMAGED, "no layers"},
    });
}

TEST("an expert layout that lies is refused with the component's name") {
    const char* file = "layout.json";
    expect_all_refused({
        {file, "\"num_experts\":8", "\"num_experts\":7", FM_MODEL_DAMAGED, "num_experts * expert_stride"},
        {file, "\"expert_stride\":16384", "\"expert_stride\":16000", FM_MODEL_DAMAGED, "expert_stride"},
        {file, "\"expert_stride\":16384", "\"expert_stride\":32768", FM_MODEL_DAMAGED, "size"},
        {file, "\"name\":\"up_proj.scales\"", "\"name\":\"up_proj.weight\"", FM_MODEL_DAMAGED, "stands twice"},
        {file, "\"name\":\"up_proj.scales\"", "\"name\":\"sideways\"", FM_MODEL_DAMAGED, "up_proj.scales is missing"},
        {file, "\"name\":\"gate_proj.weight\",\"offset\":0", "\"name\":\"gate_proj.weight\",\"offset\":2", FM_MODEL_DAMAGED, "not aligned"},
        {file, "\"name\":\"gate_proj.weight\",\"offset\":0", "\"name\":\"gate_proj.weight\",\"offset\":4", FM_MODEL_DAMAGED, "overlaps"},
        {file, "\"shape\":[64,8]", "\"shape\":[32,16]", FM_MODEL_DAMAGED, "gate_proj.weight has shape"},
        {file, "layer_02.bin", "../layer_02.bin", FM_MODEL_DAMAGED, "plain file name"},
        {file, "layer_02.bin", "layer_01.bin", FM_MODEL_DAMAGED, "stands twice"},
        {file, "layer_02.bin", "layer_09.bin", FM_MODEL_MISSING, "layer_09.bin"},
        {file, "\"layer\":2", "\"layer\":0", FM_MODEL_DAMAGED, "layer 0: the model has no experts there"},
        {file, "\"layer\":2", "\"layer\":9", FM_MODEL_DAMAGED, "layer 9: the model has no experts there"},
        {file, "\"layout\":0", "\"layout\":1", FM_MODEL_DAMAGED, "no such layout"},
        {file, "\"format\":\"flashmoe-experts\"", "\"format\":null", FM_MODEL_DAMAGED, "format"},
        {file, "\"version\":1", "\"version\":3", FM_UNSUPPORTED_MODEL, "only versions 1 and 2 are known"},
    });
}

TEST("a table of experts that has gaps, or not all of them, or a layout that is not there, is refused") {
    const char* file = "layout.json";
    const char* layout = "\"layout\":0";
    expect_all_refused({
        {file, layout, "\"layout\":0,\"experts\":[]", FM_MODEL_DAMAGED, "expected 8 experts"},
        {file, layout, "\"layout\":0,\"experts\":[{\"offset\":0,\"layout\":0}]", FM_MODEL_DAMAGED, "expected 8 experts"},
        {file, layout, "\"layout\":0,\"experts\":[{\"offset\":16384,\"layout\":0}]", FM_MODEL_DAMAGED, "experts[0].offset: expected 0"},
        {file, layout, "\"layout\":0,\"experts\":[{\"offset\":0,\"layout\":1}]", FM_MODEL_DAMAGED, "experts[0].layout: no such layout"},
    });
}

TEST("files that are missing, short, long, or no files are refused by path") {
    const TinyModel model;
    for (const std::string name : {"model_weights.json", "model_weights.bin", "layout.json", "layer_01.bin"}) {
        const std::string before = model.read(name);
        std::filesystem::remove(model.path(name));
        expect_refused(model, FM_MODEL_MISSING, name);
        std::filesystem::create_directory(model.path(name));
        expect_refused(model, FM_MODEL_DAMAGED, name);
        std::filesystem::remove(model.path(name));
        model.write(name, "");
        expect_refused(model, FM_MODEL_DAMAGED, name);
        model.write(name, before.substr(0, before.size() / 2));
        expect_refused(model, FM_MODEL_DAMAGED, name);
        model.write(name, before + "x");
        expect_refused(model, FM_MODEL_DAMAGED, name);
        model.write(name, before);
    }
    const OpenEngine engine(model);
}

TEST("a layer without a file and a top-k that can't be are refused") {
    const TinyModel model;
    const std::string before = model.read("layout.json");
    const size_t from = before.find(",{\"layer\":3"), to = before.find("]", from);
    model.write("layout.json", before.substr(0, from) + before.substr(to));
    expect_refused(model, FM_MODEL_DAMAGED, "layer 3 has experts, but no file");
    model.write("layout.json", before);

    fm_engine* engine = nullptr;
    fm_error error{};
    // Layer 2 chooses within two groups of two.
    EXPECT_EQ(model.open(&engine, &error, 5), FM_ENGINE);
    EXPECT(std::string(error.message).find("layer 2 can choose at most 4") != std::string::npos);
}

TEST("manifests with random damage are refused or read, never worse") {
    const TinyModel model;
    flashmoe::Random random(5);
    int refused = 0;
    for (int round = 0; round < 600; ++round) {
        const std::string name = round % 2 == 0 ? "model_weights.json" : "layout.json";
        const std::string before = model.read(name);
        std::string text = before;
        for (uint64_t edits = 1 + random.next() % 3; edits > 0; --edits) {
            const size_t at = random.next() % text.size();
            const uint64_t kind = random.next() % 4;
            if (kind == 0) text.erase(at, 1 + random.next() % 8);
            else if (kind == 1) text[at] = static_cast<char>(random.next());
            else if (kind == 2) text.insert(at, 1, "0123456789-.eE\"{}[],:"[random.next() % 21]);
            else text.replace(at, 1, text.substr(random.next() % text.size(), random.next() % 40));
        }
        model.write(name, text);
        fm_engine* engine = nullptr;
        fm_error error{};
        const fm_status status = model.open(&engine, &error);
        if (status == FM_OK) {
            // Damage in a number that only scales: it must still run without faulting.
            fm_session* session = nullptr;
            fm_step_stats stats;
            if (fm_session_create(engine, 8, &session, &error) == FM_OK) fm_session_decode(session, 1, &stats, &error);
            fm_session_close(session);
            fm_engine_close(engine);
        } else {
            ++refused;
            EXPECT(error.message[0] != '\0');
        }
        model.write(name, before);
    }
    EXPECT(refused > 300);
}
