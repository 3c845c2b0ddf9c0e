// Models whose linears are blocks of GGUF.
#include <cmath>
#include <string>
#include <vector>

#include "test/harness.h"
#include "test/tiny_model.h"

namespace {

std::vector<float> logits_after(const TinyModel& model, bool one_by_one) {
    const OpenEngine engine(model);
    OpenSession session(engine, 64);
    const std::vector<int32_t> tokens = some_tokens(40);
    if (one_by_one) {
        for (const int32_t token : tokens) session.decode(token);
    } else {
        session.prefill(tokens);
    }
    return session.logits();
}

} // namespace

TEST("a model in blocks of GGUF answers as the same numbers in groups do, at once and token by token") {
    const TinyModel groups, blocks(TinyModel::Linears::blocks);
    EXPECT(blocks.read("layout.json").find("q4_1") != std::string::npos);
    const std::vector<float> wanted = logits_after(groups, false);
    float spread = 0;
    for (const float value : wanted) spread = std::fmax(spread, std::fabs(value));
    EXPECT(spread > 0.1f);
    for (const bool one_by_one : {false, true}) {
        const std::vector<float> got = logits_after(blocks, one_by_one);
        for (size_t i = 0; i < wanted.size(); ++i) {
            if (!(std::fabs(got[i] - wanted[i]) <= 1e-4f * spread)) {
                harness::fail_at(__FILE__, __LINE__, "logit ", i, " is ", got[i], ", in groups ", wanted[i]);
            }
        }
    }
}

TEST("blocks that don't fit their matrix are refused with the tensor's name") {
    const TinyModel model(TinyModel::Linears::blocks);
    struct Case {
        const char *file, *from, *to;
        fm_status status;
        const char* part;
    };
    const char *dense = "model_weights.json", *layout = "layout.json", *mode = "\"mode\":\"q4_1\"";
    const Case cases[] = {
        {dense, mode, "\"mode\":\"iq4_nl\"", FM_UNSUPPORTED_MODEL, "embed.weight.mode: \"iq4_nl\" is not one of q4_0, q4_1"},
        {dense, mode, "\"mode\":\"q4_1\",\"bits\":4,\"group_size\":32", FM_MODEL_DAMAGED, "embed.weight: blocks have no bits"},
        {dense, mode, "\"mode\":\"q4_0\"", FM_MODEL_DAMAGED, "embed.weight has shape [96, 40], the model needs [96, 36]"},
        {dense, mode, "\"mode\":\"q4_k\"", FM_MODEL_DAMAGED, "embed.weight has 64 columns, not a multiple of its blocks of 256"},
        {dense, "\"shape\":[96,40]", "\"shape\":[40,96]", FM_MODEL_DAMAGED, "embed.weight has shape [40, 96]"},
        {dense, "\"shape\":[96,40],\"mode\":\"q4_1\"", "\"shape\":[96,40]", FM_MODEL_DAMAGED, "embed.weight"},
        {dense, "\"head.scales\"", "\"embed.scales\"", FM_MODEL_DAMAGED, "embed has scales or biases, but its weight is in blocks"},
        {layout, mode, "\"mode\":\"mxfp4\"", FM_UNSUPPORTED_MODEL, "mode: \"mxfp4\" is not one of"},
        {layout, mode, "\"mode\":\"q5_1\"", FM_MODEL_DAMAGED, "gate_proj.weight has shape [64, 40], the model needs [64, 48]"},
        {layout, "\"offset\":0", "\"offset\":1", FM_MODEL_DAMAGED, "blocks begin at an even offset"},
    };
    for (const Case& one : cases) {
        const std::string before = model.read(one.file);
        model.edit(one.file, one.from, one.to);
        fm_engine* engine = nullptr;
        fm_error error{};
        const fm_status status = model.open(&engine, &error);
        fm_engine_close(engine);
        if (status != one.status || std::string(error.message).find(one.part) == std::string::npos) {
            harness::fail_at(__FILE__, __LINE__, one.to, ": ", fm_status_name(status), ", \"", error.message, "\"");
        }
        model.write(one.file, before);
    }
    const OpenEngine engine(model);
}
