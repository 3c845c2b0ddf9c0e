// NativeSession of src/addon/types.ts: steps as jobs, the rest at once.
#include "addon/handles.h"
#include "core/thread_class.h"

#include <cstring>

namespace flashmoe::addon {
namespace {

struct Step {
    fm_step_stats stats;
    uint64_t largest_expert;
};

Napi::Value stats_value(Napi::Env env, Step& step) {
    const fm_step_stats& stats = step.stats;
    Napi::Object object = Napi::Object::New(env);
    object.Set("tokens", number(env, stats.tokens));
    object.Set("seconds", number(env, stats.seconds));
    object.Set("expertBytesRead", number(env, stats.expert_bytes_read));
    object.Set("expertReads", number(env, stats.expert_reads));
    object.Set("expertUses", number(env, stats.expert_uses));
    object.Set("expertHits", number(env, stats.expert_hits));
    object.Set("expertWaits", number(env, stats.expert_waits));
    const uint64_t used = stats.expert_bytes_read + stats.expert_hits * step.largest_expert;
    object.Set("expertBytesUsed", number(env, used));
    object.Set("ioSeconds", number(env, stats.io_seconds));
    object.Set("deviceWaits", number(env, stats.device_waits));
    object.Set("deviceWaitSeconds", number(env, stats.device_wait_seconds));
    object.Set("deviceSeconds", number(env, stats.device_seconds));
    return object;
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
            make_user_initiated();
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
        result.hidden.assign(handle.layers, std::vector<float>(tokens.size() * handle.residual));
        result.hidden.emplace_back(tokens.size() * handle.hidden);
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

void add_steps(Napi::Object object, const SessionReference& reference) {
    method(object, "prefill", [reference](const Napi::CallbackInfo& info) {
        return session_job<Step>(
            info, reference, info[1],
            [tokens = tokens_of(info[0]), marks = lengths_of(info[2])](SessionHandle& handle, Control& control) {
                fm_step_stats stats;
                fm_error error;
                check(fm_session_mark_at(handle.session, marks.data(), marks.size(), &error), error);
                check(fm_session_prefill(handle.session, tokens.data(), tokens.size(), report, &control, &stats, &error),
                      error);
                return Step{stats, handle.largest_expert};
            },
            stats_value);
    });
    method(object, "decode", [reference](const Napi::CallbackInfo& info) {
        const auto token = static_cast<int32_t>(number_of(info[0], "token", INT32_MIN, INT32_MAX));
        return session_job<Step>(
            info, reference, info.Env().Undefined(),
            [token](SessionHandle& handle, Control&) {
                fm_step_stats stats;
                fm_error error;
                check(fm_session_decode(handle.session, token, &stats, &error), error);
                return Step{stats, handle.largest_expert};
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
        fm_error error;
        check(fm_session_reset(idle(reference), &error), error);
        return info.Env().Undefined();
    });
    method(object, "mark", [reference](const Napi::CallbackInfo& info) {
        fm_error error;
        check(fm_session_mark(idle(reference), &error), error);
        return info.Env().Undefined();
    });
    method(object, "reachable", [reference](const Napi::CallbackInfo& info) {
        return number(info.Env(), fm_session_reachable(idle(reference), whole_of(info[0], "limit")));
    });
    method(object, "rewind", [reference](const Napi::CallbackInfo& info) {
        fm_error error;
        check(fm_session_rewind(idle(reference), whole_of(info[0], "length"), &error), error);
        return info.Env().Undefined();
    });
    method(object, "fork", [reference](const Napi::CallbackInfo& info) {
        fm_session* session = idle(reference);
        auto copy = std::make_shared<SessionHandle>();
        copy->vocab = reference->handle->vocab;
        copy->hidden = reference->handle->hidden;
        copy->residual = reference->handle->residual;
        copy->layers = reference->handle->layers;
        copy->largest_expert = reference->handle->largest_expert;
        fm_error error;
        check(fm_session_fork(session, &copy->session, &error), error);
        return session_object(info.Env(), std::move(copy));
    });
    // A running job keeps the state until it ends.
    method(object, "close", [reference](const Napi::CallbackInfo& info) {
        reference->handle.reset();
        return info.Env().Undefined();
    });
}

/// Paths and ranges of a state's files, as they came and as the C API takes them.
struct StateFiles {
    std::vector<std::string> paths;
    std::vector<fm_state_file> files;
};

std::shared_ptr<StateFiles> state_files_of(const Napi::Value& value) {
    auto result = std::make_shared<StateFiles>();
    if (!value.IsArray()) misuse("files must be a list");
    const auto list = value.As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
        const Napi::Value item = list.Get(i);
        if (!item.IsObject()) misuse("a file must be an object");
        const auto file = item.As<Napi::Object>();
        result->paths.push_back(name_of(file.Get("path"), "path"));
        result->files.push_back({nullptr, whole_of(file.Get("from"), "from"), whole_of(file.Get("to"), "to")});
    }
    for (size_t i = 0; i < result->paths.size(); ++i) result->files[i].path = result->paths[i].c_str();
    return result;
}

/// save runs beside later steps, restore owns the session as they do.
void add_files(Napi::Object object, const SessionReference& reference) {
    method(object, "save", [reference](const Napi::CallbackInfo& info) -> Napi::Value {
        fm_session* session = idle(reference);
        auto tokens = tokens_of(info[0]);
        fm_snapshot* taken = nullptr;
        fm_error error;
        check(fm_snapshot_take(session, static_cast<uint32_t>(tokens.size()), &taken, &error), error);
        const std::shared_ptr<fm_snapshot> snapshot(taken, fm_snapshot_free);
        return Job<uint64_t>::start(
            info.Env(), info.Env().Undefined(),
            [held = std::make_shared<std::shared_ptr<fm_snapshot>>(snapshot), tokens = std::move(tokens),
             program = text_of(info[1], "program"), parts = state_files_of(info[2])](Control& control) {
                // Free before the promise settles, so that whoever awaited it may go back at once.
                const std::shared_ptr<fm_snapshot> snapshot = std::move(*held);
                uint64_t total = 0;
                for (const fm_state_file& file : parts->files) {
                    uint64_t bytes = 0;
                    fm_error error;
                    check(fm_snapshot_save(snapshot.get(), tokens.data(), program.c_str(), &file, report, &control,
                                           &bytes, &error),
                          error);
                    total += bytes;
                }
                return total;
            },
            [](Napi::Env env, uint64_t& bytes) { return number(env, bytes); });
    });
    method(object, "restore", [reference](const Napi::CallbackInfo& info) {
        return session_job<bool>(
            info, reference, info.Env().Undefined(),
            [tokens = tokens_of(info[0]), program = text_of(info[1], "program"), parts = state_files_of(info[2])](
                SessionHandle& handle, Control& control) {
                fm_error error;
                check(fm_session_restore(handle.session, tokens.data(), tokens.size(), program.c_str(),
                                         parts->files.data(), parts->files.size(), report, &control, &error),
                      error);
                return true;
            },
            [](Napi::Env env, bool&) { return env.Undefined(); });
    });
}

} // namespace

Napi::Object session_object(Napi::Env env, std::shared_ptr<SessionHandle> handle) {
    const auto reference = std::make_shared<Reference<SessionHandle>>();
    reference->handle = std::move(handle);
    Napi::Object object = Napi::Object::New(env);
    add_steps(object, reference);
    add_state(object, reference);
    add_files(object, reference);
    return object;
}

} // namespace flashmoe::addon
