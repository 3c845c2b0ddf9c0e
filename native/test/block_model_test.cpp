// Models whose linears are blocks of GGUF.
#include <cmath>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/fast_kernels.h"
#include "core/session.h"
#include "test/harness.h"
#include "test/tiny_model.h"

using namespace flashmoe;

namespace {

EngineOptions options_for(const TinyModel& model, bool fast) {
    return {.model_dir = model.path("."),
            .experts_dir = model.path("."),
            .threads = 2,
            .io_threads = 2,
            .token_limit = TinyModel::kVocab,
            .experts_per_token = 0,
            .expert_caching = Caching::page_cache,
            .exact_caches = false,
            .map_experts = false,
            .expert_bytes = 5 * 16384,
            .expert_mass = 1,
            .fast = fast,
            .prefill_tokens = 64};
}

/// A backend as a GPU's is, without blocks.
class WithoutBlocks final : public cpu::CpuBackend {
  public:
    using CpuBackend::CpuBackend;
    uint32_t features() const override { return ~bit(kBlockFormats); }
};

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

TEST("activations of 8 bits give a model in blocks the same bits in any pieces, and what the same numbers in groups give") {
    const auto logits_in = [](const TinyModel& model, size_t piece) {
        const std::vector<int32_t> tokens = some_tokens(40);
        const cpu::Kernels& kernels = cpu::fast_kernels(cpu::best_kernels());
        const auto engine = std::make_shared<Engine>(options_for(model, true), std::make_unique<cpu::CpuBackend>(2, kernels));
        Session session(engine, 64);
        for (size_t at = 0; at < tokens.size(); at += piece) session.prefill(tokens.data() + at, std::min(piece, tokens.size() - at), {});
        return session.logits();
    };
    const TinyModel groups, blocks(TinyModel::Linears::blocks);
    const std::vector<float> wanted = logits_in(groups, 40), got = logits_in(blocks, 40);
    for (const size_t piece : {7u, 1u}) EXPECT(logits_in(blocks, piece) == got);
    double error = 0, size = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        error += std::pow(got[i] - wanted[i], 2);
        size += std::pow(wanted[i], 2);
    }
    EXPECT(std::sqrt(error / size) < 1e-4);
}

TEST("a backend without blocks refuses such a model when it is opened, and says what it lacks") {
    const TinyModel blocks(TinyModel::Linears::blocks), groups;
    const auto open = [](const TinyModel& model) {
        return std::make_shared<Engine>(options_for(model, false), std::make_unique<WithoutBlocks>(2, cpu::best_kernels()));
    };
    open(groups);
    std::string refusal;
    try {
        open(blocks);
    } catch (const Error& error) {
        if (error.status() == FM_UNSUPPORTED_MODEL) refusal = error.what();
    }
    EXPECT(refusal.find("weights in blocks of GGUF") != std::string::npos);
    EXPECT(refusal.find("the cpu backend has them") != std::string::npos);
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
