// openEngine of src/addon/types.ts: a skin over flashmoe.h.
#include "addon/handles.h"
#include "addon/registers.h"

#include <algorithm>
#include <cinttypes>
#include <vector>
#include <cstdio>

namespace flashmoe::addon {
namespace {

Napi::Object info_value(Napi::Env env, const fm_engine_info& info) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("backend", info.backend);
    object.Set("isa", info.isa);
    object.Set("vocabSize", number(env, info.vocab_size));
    object.Set("maxPositions", number(env, info.max_positions));
    object.Set("layers", number(env, info.layers));
    object.Set("expertsPerToken", number(env, info.experts_per_token));
    object.Set("denseBytes", number(env, info.dense_bytes));
    object.Set("expertBytesPerToken", number(env, info.expert_bytes_per_token));
    object.Set("stateBytes", number(env, info.state_bytes));
    object.Set("kvBytesPerToken", number(env, info.kv_bytes_per_token));
    object.Set("expertFileBytes", number(env, info.expert_file_bytes));
    object.Set("largestExpertBytes", number(env, info.largest_expert_bytes));
    object.Set("expertPoolBytes", number(env, info.expert_pool_bytes));
    object.Set("expertsHeld", number(env, info.experts_held));
    object.Set("expertsMapped", Napi::Boolean::New(env, info.experts_mapped != 0));
    object.Set("prefillTokens", number(env, info.prefill_tokens));
    object.Set("prefillBytesPerToken", number(env, info.prefill_bytes_per_token));
    return object;
}

Napi::Float64Array floats_value(Napi::Env env, const double* from, size_t count) {
    auto values = Napi::Float64Array::New(env, count);
    std::copy_n(from, count, values.Data());
    return values;
}

Napi::Value squares_value(Napi::Env env, const fm_channel_squares& squares) {
    if (squares.experts == 0) return env.Null();
    Napi::Object object = Napi::Object::New(env);
    object.Set("experts", number(env, squares.experts));
    object.Set("input", floats_value(env, squares.input, squares.hidden));
    object.Set("inner", floats_value(env, squares.inner, size_t{squares.experts} * squares.intermediate));
    const std::vector<double> tokens(squares.tokens, squares.tokens + squares.experts);
    object.Set("tokens", floats_value(env, tokens.data(), tokens.size()));
    return object;
}

Napi::Value engine_value(Napi::Env env, std::shared_ptr<EngineHandle>& handle) {
    const auto reference = std::make_shared<Reference<EngineHandle>>();
    reference->handle = handle;
    Napi::Object object = Napi::Object::New(env);
    method(object, "info", [reference](const Napi::CallbackInfo& info) {
        fm_engine_info values;
        fm_engine_info_get(reference->get("engine")->engine, &values);
        return info_value(info.Env(), values);
    });
    method(object, "stateKey", [reference](const Napi::CallbackInfo& info) {
        const std::string program = text_of(info[0], "program");
        char digits[17];
        std::snprintf(digits, sizeof digits, "%016" PRIx64,
                      fm_engine_state_key(reference->get("engine")->engine, program.c_str()));
        return Napi::String::New(info.Env(), digits);
    });
    method(object, "createSession", [reference](const Napi::CallbackInfo& info) {
        fm_engine* engine = reference->get("engine")->engine;
        fm_engine_info values;
        fm_engine_info_get(engine, &values);
        auto session = std::make_shared<SessionHandle>();
        session->vocab = values.vocab_size;
        session->hidden = values.hidden_size;
        session->residual = values.residual_size;
        session->layers = values.layers;
        session->largest_expert = values.largest_expert_bytes;
        fm_error error;
        check(fm_session_create(engine, whole_of(info[0], "maxTokens"), &session->session, &error), error);
        return session_object(info.Env(), std::move(session));
    });
    method(object, "observe", [reference](const Napi::CallbackInfo& info) {
        fm_error error;
        check(fm_engine_observe(reference->get("engine")->engine, &error), error);
        return info.Env().Undefined();
    });
    method(object, "squares", [reference](const Napi::CallbackInfo& info) {
        fm_channel_squares squares;
        fm_error error;
        check(fm_engine_squares(reference->get("engine")->engine, whole_of(info[0], "layer"), &squares, &error), error);
        return squares_value(info.Env(), squares);
    });
    method(object, "resizeExperts", [reference](const Napi::CallbackInfo& info) {
        const double bytes = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
        if (!(bytes >= 0)) misuse("bytes is not a number from 0 on");
        const uint64_t whole = bytes >= 9007199254740992.0 ? UINT64_MAX : static_cast<uint64_t>(bytes);
        return Job<bool>::start(
            info.Env(), info.Env().Undefined(),
            [handle = reference->get("engine"), whole](Control&) {
                fm_error error;
                check(fm_engine_resize_experts(handle->engine, whole, &error), error);
                return true;
            },
            [](Napi::Env env, bool&) { return env.Undefined(); });
    });
    method(object, "saveHottest", [reference](const Napi::CallbackInfo& info) {
        fm_error error;
        check(fm_engine_save_hottest(reference->get("engine")->engine, name_of(info[0], "path").c_str(), &error), error);
        return info.Env().Undefined();
    });
    method(object, "warm", [reference](const Napi::CallbackInfo& info) {
        fm_error error;
        check(fm_engine_warm(reference->get("engine")->engine, name_of(info[0], "path").c_str(), &error), error);
        return info.Env().Undefined();
    });
    method(object, "close", [reference](const Napi::CallbackInfo& info) {
        reference->handle.reset();
        return info.Env().Undefined();
    });
    return object;
}

/// fm_engine_options with the text it points to.
struct Options {
    std::string model_dir, experts_dir, backend, kernels_dir, isa;
    fm_engine_options values{};
};

Options options_of(const Napi::Value& value) {
    if (!value.IsObject()) misuse("engine options are not an object");
    const auto object = value.As<Napi::Object>();
    const Napi::Value backend = object.Get("backend");
    const std::string name = backend.IsString() ? backend.As<Napi::String>().Utf8Value() : "";
    if (name != "cpu" && name != "metal") misuse("backend is not one of cpu, metal");
    Options options{name_of(object.Get("modelDir"), "modelDir"), name_of(object.Get("expertsDir"), "expertsDir"), name,
                    name_of(object.Get("kernelsDir"), "kernelsDir"), "", {}};
    options.values.threads = whole_of(object.Get("threads"), "threads");
    options.values.io_threads = whole_of(object.Get("ioThreads"), "ioThreads");
    options.values.token_limit = whole_of(object.Get("tokenLimit"), "tokenLimit");
    options.values.experts_per_token = whole_of(object.Get("expertsPerToken"), "expertsPerToken");
    options.values.direct_reads = object.Get("directReads").ToBoolean() ? 1 : 0;
    const Napi::Value cache = object.Get("cache");
    const std::string cache_name = cache.IsString() ? cache.As<Napi::String>().Utf8Value() : "16bit";
    if (cache_name != "16bit" && cache_name != "f32") misuse("cache is not one of 16bit, f32");
    options.values.exact_caches = cache_name == "f32" ? 1 : 0;
    const Napi::Value isa = object.Get("isa");
    if (isa.IsString()) options.isa = isa.As<Napi::String>().Utf8Value();
    const Napi::Value arithmetic = object.Get("arithmetic");
    const std::string arithmetic_name = arithmetic.IsString() ? arithmetic.As<Napi::String>().Utf8Value() : "exact";
    if (arithmetic_name != "exact" && arithmetic_name != "fast") misuse("arithmetic is not one of exact, fast");
    options.values.fast = arithmetic_name == "fast" ? 1 : 0;
    const Napi::Value mass = object.Get("expertMass");
    options.values.expert_mass = mass.IsNumber() ? mass.As<Napi::Number>().FloatValue() : 1.0f;
    const Napi::Value prefill = object.Get("prefillTokens");
    options.values.prefill_tokens = prefill.IsNumber() ? whole_of(prefill, "prefillTokens") : 0;
    return options;
}

Napi::Value open_engine(const Napi::CallbackInfo& info) {
    try {
        return Job<std::shared_ptr<EngineHandle>>::start(
            info.Env(), info.Env().Undefined(),
            [options = options_of(info[0])](Control& control) {
                fm_engine_options values = options.values;
                values.model_dir = options.model_dir.c_str();
                values.experts_dir = options.experts_dir.c_str();
                values.backend = options.backend.c_str();
                values.kernels_dir = options.kernels_dir.c_str();
                values.isa = options.isa.c_str();
                auto handle = std::make_shared<EngineHandle>();
                fm_error error;
                check(fm_engine_open(&values, &handle->engine, &error), error);
                control.check();
                return handle;
            },
            engine_value);
    } catch (const Napi::Error&) {
        throw;
    } catch (...) {
        const auto [code, message] = caught();
        return failed_job(info.Env(), code, "openEngine: " + message);
    }
}

} // namespace

void register_engine(Napi::Env env, Napi::Object exports) {
    exports.Set("openEngine", Napi::Function::New(env, open_engine, "openEngine"));
}

} // namespace flashmoe::addon
