// selfTest and openEngine of src/addon/types.ts: a skin over flashmoe.h. JavaScript objects hold shared handles, so
// an engine lives as long as any of its sessions, and a session as long as its running job.
#include "addon/job.h"
#include "addon/registers.h"
#include "flashmoe.h"
#include "pack/failure.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

namespace flashmoe::addon {
namespace {

using pack::Failure;

/// Thrown in a job's thread it rejects the promise; elsewhere `guarded` makes it a JavaScript error.
void check(fm_status status, const fm_error& error) {
    if (status != FM_OK) throw Failure(fm_status_name(status), error.message);
}

[[noreturn]] void misuse(const std::string& message) { throw Failure(fm_status_name(FM_ENGINE), message); }

struct EngineHandle {
    fm_engine* engine = nullptr;
    ~EngineHandle() { fm_engine_close(engine); }
};

struct SessionHandle {
    fm_session* session = nullptr;
    uint32_t vocab = 0, hidden = 0, layers = 0;
    /// A job is at work: nothing else may touch the state.
    std::atomic<bool> busy{false};
    ~SessionHandle() { fm_session_close(session); }
};

/// Keeps a session busy until end(), or until a job that never began is gone.
struct Claim {
    explicit Claim(std::shared_ptr<SessionHandle> session) : handle(std::move(session)) { handle->busy.store(true); }
    ~Claim() { end(); }
    Claim(const Claim&) = delete;
    void end() {
        if (!ended) handle->busy.store(false);
        ended = true;
    }
    const std::shared_ptr<SessionHandle> handle;
    bool ended = false;
};

/// What a JavaScript object refers to; empty after close().
template <typename Handle> struct Reference {
    std::shared_ptr<Handle> handle;
    const std::shared_ptr<Handle>& get(const char* what) const {
        if (!handle) misuse(std::string("the ") + what + " is closed");
        return handle;
    }
};
using EngineReference = std::shared_ptr<Reference<EngineHandle>>;
using SessionReference = std::shared_ptr<Reference<SessionHandle>>;

/// Adds a method whose C++ exceptions become JavaScript errors with a code.
template <typename Body> void method(Napi::Object object, const char* name, Body body) {
    object.Set(name, Napi::Function::New(
                         object.Env(),
                         [body](const Napi::CallbackInfo& info) -> Napi::Value {
                             try {
                                 return body(info);
                             } catch (const Napi::Error&) {
                                 throw;
                             } catch (...) {
                                 const auto [code, message] = caught();
                                 throw coded_error(info.Env(), code, message);
                             }
                         },
                         name));
}

double number_of(const Napi::Value& value, const char* name, double min, double max) {
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
    if (!(number >= min && number <= max)) misuse(std::string(name) + " is not a number in its range");
    return number;
}

uint32_t whole_of(const Napi::Value& value, const char* name) {
    const double number = number_of(value, name, 0, UINT32_MAX);
    if (number != std::floor(number)) misuse(std::string(name) + " is not a whole number");
    return static_cast<uint32_t>(number);
}

std::string path_of(const Napi::Value& value, const char* name) {
    std::string path = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
    if (path.empty() || path.find('\0') != std::string::npos) misuse(std::string(name) + " is not a path");
    return path;
}

template <typename Array> Array typed_of(const Napi::Value& value, napi_typedarray_type type, const char* name) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
        misuse(std::string(name) + " is not a typed array of the right kind");
    }
    return value.As<Array>();
}

std::vector<int32_t> tokens_of(const Napi::Value& value) {
    const auto array = typed_of<Napi::Int32Array>(value, napi_int32_array, "tokens");
    return {array.Data(), array.Data() + array.ElementLength()};
}

Napi::Number number(Napi::Env env, double value) { return Napi::Number::New(env, value); }

Napi::Value stats_value(Napi::Env env, fm_step_stats& stats) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("tokens", number(env, stats.tokens));
    object.Set("seconds", number(env, stats.seconds));
    object.Set("expertBytesRead", number(env, static_cast<double>(stats.expert_bytes_read)));
    object.Set("expertReads", number(env, static_cast<double>(stats.expert_reads)));
    object.Set("ioSeconds", number(env, stats.io_seconds));
    return object;
}

Napi::Value float_array(Napi::Env env, const std::vector<float>& values) {
    auto array = Napi::Float32Array::New(env, values.size());
    std::memcpy(array.Data(), values.data(), values.size() * sizeof(float));
    return array;
}

/// The progress callback of flashmoe.h over a job's Control.
int report(void* user, uint64_t done, uint64_t total) {
    auto* control = static_cast<Control*>(user);
    if (control->progress) control->progress(done, total);
    return control->cancelled.load() ? 1 : 0;
}

/// The session, free for a synchronous call.
fm_session* idle(const SessionReference& reference) {
    const auto& handle = reference->get("session");
    if (handle->busy.load()) misuse("the session is at work; wait for its job");
    return handle->session;
}

/// Starts a job that owns the session until it ends.
template <typename Result, typename Work, typename Convert>
Napi::Value session_job(const Napi::CallbackInfo& info, const SessionReference& reference, Napi::Value on_progress,
                        Work work, Convert convert) {
    idle(reference);
    const auto claim = std::make_shared<Claim>(reference->handle);
    return Job<Result>::start(
        info.Env(), on_progress,
        [claim, work](Control& control) {
            // Free before the promise settles, so that whoever awaited it can go on at once.
            const std::shared_ptr<void> done(nullptr, [&](void*) { claim->end(); });
            control.check();
            return work(*claim->handle, control);
        },
        convert);
}

struct Evaluation {
    std::vector<float> logits;
    std::vector<std::vector<float>> hidden;
};

Evaluation evaluate(SessionHandle& handle, Control& control, const std::vector<int32_t>& tokens, bool with_hidden) {
    Evaluation result;
    result.logits.resize(tokens.size() * handle.vocab);
    std::vector<float*> rows;
    if (with_hidden) {
        result.hidden.assign(handle.layers + 1, std::vector<float>(tokens.size() * handle.hidden));
        for (auto& layer : result.hidden) rows.push_back(layer.data());
    }
    fm_error error;
    check(fm_session_evaluate(handle.session, tokens.data(), tokens.size(), result.logits.data(),
                              with_hidden ? rows.data() : nullptr, report, &control, &error),
          error);
    return result;
}

Napi::Value evaluation_value(Napi::Env env, Evaluation& evaluation) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("logits", float_array(env, evaluation.logits));
    Napi::Array hidden = Napi::Array::New(env, evaluation.hidden.size());
    for (uint32_t i = 0; i < evaluation.hidden.size(); ++i) hidden.Set(i, float_array(env, evaluation.hidden[i]));
    object.Set("hidden", hidden);
    return object;
}

int32_t sample(fm_session* session, const Napi::Value& value) {
    if (!value.IsObject()) misuse("sampling parameters are not an object");
    const auto params = value.As<Napi::Object>();
    fm_sampling sampling{};
    sampling.temperature = number_of(params.Get("temperature"), "temperature", 0, 100);
    sampling.top_p = number_of(params.Get("topP"), "topP", 0, 1);
    sampling.top_k = whole_of(params.Get("topK"), "topK");
    sampling.min_p = number_of(params.Get("minP"), "minP", 0, 1);
    if (const Napi::Value allowed = params.Get("allowed"); allowed.IsTypedArray()) {
        const auto words = typed_of<Napi::Int32Array>(allowed, napi_int32_array, "allowed");
        sampling.allowed = reinterpret_cast<const uint32_t*>(words.Data());
        sampling.allowed_words = words.ElementLength();
    }
    if (const Napi::Value bias = params.Get("bias"); bias.IsObject()) {
        const auto pairs = bias.As<Napi::Object>();
        const auto ids = typed_of<Napi::Int32Array>(pairs.Get("ids"), napi_int32_array, "bias.ids");
        const auto values = typed_of<Napi::Float32Array>(pairs.Get("values"), napi_float32_array, "bias.values");
        if (ids.ElementLength() != values.ElementLength()) misuse("bias.ids and bias.values differ in length");
        sampling.bias_ids = ids.Data();
        sampling.bias_values = values.Data();
        sampling.bias_count = ids.ElementLength();
    }
    int32_t token = -1;
    fm_error error;
    check(fm_session_sample(session, &sampling, &token, &error), error);
    return token;
}

Napi::Object session_object(Napi::Env env, std::shared_ptr<SessionHandle> handle);

void add_steps(Napi::Object object, const SessionReference& reference) {
    method(object, "prefill", [reference](const Napi::CallbackInfo& info) {
        return session_job<fm_step_stats>(
            info, reference, info[1],
            [tokens = tokens_of(info[0])](SessionHandle& handle, Control& control) {
                fm_step_stats stats;
                fm_error error;
                check(fm_session_prefill(handle.session, tokens.data(), tokens.size(), report, &control, &stats, &error),
                      error);
                return stats;
            },
            stats_value);
    });
    method(object, "decode", [reference](const Napi::CallbackInfo& info) {
        const auto token = static_cast<int32_t>(number_of(info[0], "token", INT32_MIN, INT32_MAX));
        return session_job<fm_step_stats>(
            info, reference, info.Env().Undefined(),
            [token](SessionHandle& handle, Control&) {
                fm_step_stats stats;
                fm_error error;
                check(fm_session_decode(handle.session, token, &stats, &error), error);
                return stats;
            },
            stats_value);
    });
    method(object, "evaluate", [reference](const Napi::CallbackInfo& info) {
        return session_job<Evaluation>(
            info, reference, info.Env().Undefined(),
            [tokens = tokens_of(info[0]), hidden = info[1].ToBoolean().Value()](
                SessionHandle& handle, Control& control) { return evaluate(handle, control, tokens, hidden); },
            evaluation_value);
    });
}

void add_state(Napi::Object object, const SessionReference& reference) {
    method(object, "length", [reference](const Napi::CallbackInfo& info) {
        return number(info.Env(), fm_session_length(idle(reference)));
    });
    method(object, "sample", [reference](const Napi::CallbackInfo& info) {
        return number(info.Env(), sample(idle(reference), info[0]));
    });
    method(object, "seed", [reference](const Napi::CallbackInfo& info) {
        fm_session_seed(idle(reference), static_cast<uint64_t>(static_cast<int64_t>(
                                             number_of(info[0], "seed", -9007199254740991.0, 9007199254740991.0))));
        return info.Env().Undefined();
    });
    method(object, "logits", [reference](const Napi::CallbackInfo& info) {
        std::vector<float> logits(reference->get("session")->vocab);
        fm_error error;
        check(fm_session_logits(idle(reference), logits.data(), &error), error);
        return float_array(info.Env(), logits);
    });
    method(object, "reset", [reference](const Napi::CallbackInfo& info) {
        fm_session_reset(idle(reference));
        return info.Env().Undefined();
    });
    method(object, "fork", [reference](const Napi::CallbackInfo& info) {
        fm_session* session = idle(reference);
        auto copy = std::make_shared<SessionHandle>();
        copy->vocab = reference->handle->vocab;
        copy->hidden = reference->handle->hidden;
        copy->layers = reference->handle->layers;
        fm_error error;
        check(fm_session_fork(session, &copy->session, &error), error);
        return session_object(info.Env(), std::move(copy));
    });
    method(object, "save", [reference](const Napi::CallbackInfo& info) {
        size_t size = 0;
        fm_error error;
        check(fm_session_save_size(idle(reference), &size, &error), error);
        auto bytes = Napi::Uint8Array::New(info.Env(), size);
        check(fm_session_save(idle(reference), bytes.Data(), size, &error), error);
        return bytes;
    });
    method(object, "restore", [reference](const Napi::CallbackInfo& info) {
        const auto bytes = typed_of<Napi::Uint8Array>(info[0], napi_uint8_array, "the saved state");
        fm_error error;
        check(fm_session_restore(idle(reference), bytes.Data(), bytes.ElementLength(), &error), error);
        return info.Env().Undefined();
    });
    // A running job keeps the state until it ends.
    method(object, "close", [reference](const Napi::CallbackInfo& info) {
        reference->handle.reset();
        return info.Env().Undefined();
    });
}

Napi::Object session_object(Napi::Env env, std::shared_ptr<SessionHandle> handle) {
    const auto reference = std::make_shared<Reference<SessionHandle>>();
    reference->handle = std::move(handle);
    Napi::Object object = Napi::Object::New(env);
    add_steps(object, reference);
    add_state(object, reference);
    return object;
}

Napi::Object info_value(Napi::Env env, const fm_engine_info& info) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("backend", info.backend);
    object.Set("isa", info.isa);
    object.Set("vocabSize", number(env, info.vocab_size));
    object.Set("maxPositions", number(env, info.max_positions));
    object.Set("layers", number(env, info.layers));
    object.Set("expertsPerToken", number(env, info.experts_per_token));
    object.Set("denseBytes", number(env, static_cast<double>(info.dense_bytes)));
    object.Set("expertBytesPerToken", number(env, static_cast<double>(info.expert_bytes_per_token)));
    object.Set("stateBytes", number(env, static_cast<double>(info.state_bytes)));
    object.Set("kvBytesPerToken", number(env, static_cast<double>(info.kv_bytes_per_token)));
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
    method(object, "createSession", [reference](const Napi::CallbackInfo& info) {
        fm_engine* engine = reference->get("engine")->engine;
        fm_engine_info values;
        fm_engine_info_get(engine, &values);
        auto session = std::make_shared<SessionHandle>();
        session->vocab = values.vocab_size;
        session->hidden = values.hidden_size;
        session->layers = values.layers;
        fm_error error;
        check(fm_session_create(engine, whole_of(info[0], "maxTokens"), &session->session, &error), error);
        return session_object(info.Env(), std::move(session));
    });
    method(object, "close", [reference](const Napi::CallbackInfo& info) {
        reference->handle.reset();
        return info.Env().Undefined();
    });
    return object;
}

/// fm_engine_options with the text it points to.
struct Options {
    std::string model_dir, experts_dir, backend, kernels_dir;
    fm_engine_options values{};
};

Options options_of(const Napi::Value& value) {
    if (!value.IsObject()) misuse("engine options are not an object");
    const auto object = value.As<Napi::Object>();
    const Napi::Value backend = object.Get("backend");
    const std::string name = backend.IsString() ? backend.As<Napi::String>().Utf8Value() : "";
    if (name != "cpu" && name != "metal") misuse("backend is not one of cpu, metal");
    Options options{path_of(object.Get("modelDir"), "modelDir"), path_of(object.Get("expertsDir"), "expertsDir"), name,
                    path_of(object.Get("kernelsDir"), "kernelsDir"), {}};
    options.values.threads = whole_of(object.Get("threads"), "threads");
    options.values.io_threads = whole_of(object.Get("ioThreads"), "ioThreads");
    options.values.token_limit = whole_of(object.Get("tokenLimit"), "tokenLimit");
    options.values.experts_per_token = whole_of(object.Get("expertsPerToken"), "expertsPerToken");
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

Napi::Value self_test_value(Napi::Env env, const char* backend, const char* isa, const fm_kernel_check* checks, size_t count) {
    Napi::Array list = Napi::Array::New(env, count);
    bool ok = true;
    for (uint32_t i = 0; i < count; ++i) {
        Napi::Object check = Napi::Object::New(env);
        check.Set("name", checks[i].name);
        check.Set("maxError", number(env, checks[i].max_error));
        check.Set("tolerance", number(env, checks[i].tolerance));
        check.Set("ok", checks[i].ok != 0);
        list.Set(i, check);
        ok = ok && checks[i].ok != 0;
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("ok", ok);
    result.Set("backend", backend);
    result.Set("isa", isa);
    result.Set("checks", list);
    return result;
}

Napi::Value self_test(const Napi::CallbackInfo& info) {
    fm_kernel_check checks[64];
    const char *backend, *isa;
    const size_t count = std::min<size_t>(fm_self_test(checks, 64, &backend, &isa), 64);
    return self_test_value(info.Env(), backend, isa, checks, count);
}

/// selfTestMetal(kernelsDir, seed): runs to its end in this thread, which is a child's of its own.
Napi::Value self_test_metal(const Napi::CallbackInfo& info) {
    try {
        const std::string kernels = path_of(info[0], "kernelsDir");
        fm_kernel_check checks[128];
        char device[256];
        size_t count = 0;
        fm_error error;
        check(fm_self_test_metal(kernels.c_str(), whole_of(info[1], "seed"), checks, 128, &count, device, sizeof device, &error),
              error);
        return self_test_value(info.Env(), "metal", device, checks, std::min<size_t>(count, 128));
    } catch (const Napi::Error&) {
        throw;
    } catch (...) {
        const auto [code, message] = caught();
        Napi::Error thrown = Napi::Error::New(info.Env(), "selfTestMetal: " + message);
        thrown.Set("code", code);
        throw thrown;
    }
}

} // namespace

void register_engine(Napi::Env env, Napi::Object exports) {
    exports.Set("selfTest", Napi::Function::New(env, self_test, "selfTest"));
    exports.Set("selfTestMetal", Napi::Function::New(env, self_test_metal, "selfTestMetal"));
    exports.Set("openEngine", Napi::Function::New(env, open_engine, "openEngine"));
}

} // namespace flashmoe::addon
