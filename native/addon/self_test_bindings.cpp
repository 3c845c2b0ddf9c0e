// selfTest, metalDevice and selfTestBackend of src/addon/types.ts.
#include "addon/registers.h"
#include "addon/values.h"
#include "core/thread_class.h"

#include <algorithm>

namespace flashmoe::addon {
namespace {

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

Napi::Value metal_device(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    fm_device device;
    fm_error error;
    Napi::Object answer = Napi::Object::New(env);
    const bool there = fm_metal_device(&device, &error) == FM_OK;
    answer.Set("reason", there ? "" : error.message);
    answer.Set("device", env.Null());
    if (!there) return answer;
    Napi::Object facts = Napi::Object::New(env);
    facts.Set("name", device.name);
    facts.Set("recommendedWorkingSetBytes", number(env, device.recommended_working_set));
    facts.Set("maxBufferBytes", number(env, device.max_buffer_bytes));
    facts.Set("lowPower", device.low_power != 0);
    answer.Set("device", facts);
    return answer;
}

/// Runs to its end in this thread, which is a child's of its own.
template <typename Call> Napi::Value in_this_thread(Napi::Env env, const char* name, const Call& call) {
    // What it measures is to be what an answer would have.
    make_user_initiated();
    try {
        return call();
    } catch (const Napi::Error&) {
        throw;
    } catch (...) {
        const auto [code, message] = caught();
        Napi::Error thrown = Napi::Error::New(env, std::string(name) + ": " + message);
        thrown.Set("code", code);
        throw thrown;
    }
}

/// selfTestBackend(backend, kernelsDir, seed).
Napi::Value self_test_backend(const Napi::CallbackInfo& info) {
    return in_this_thread(info.Env(), "selfTestBackend", [&] {
        const std::string backend = name_of(info[0], "backend"), kernels = name_of(info[1], "kernelsDir");
        fm_kernel_check checks[128];
        char isa[256];
        size_t count = 0;
        fm_error error;
        check(fm_self_test_backend(backend.c_str(), kernels.c_str(), whole_of(info[2], "seed"), checks, 128, &count, isa,
                                   sizeof isa, &error),
              error);
        return self_test_value(info.Env(), backend.c_str(), isa, checks, std::min<size_t>(count, 128));
    });
}

/// measureRates(backend, kernelsDir, threads, memoryBytes, seconds).
Napi::Value measure_rates(const Napi::CallbackInfo& info) {
    return in_this_thread(info.Env(), "measureRates", [&] {
        const Napi::Env env = info.Env();
        const std::string backend = name_of(info[0], "backend"), kernels = name_of(info[1], "kernelsDir");
        fm_rate rates[32];
        size_t count = 0;
        double wait_seconds = 0;
        fm_error error;
        check(fm_measure_rates(backend.c_str(), kernels.c_str(), static_cast<uint32_t>(whole_of(info[2], "threads")),
                               whole_of(info[3], "memoryBytes"), info[4].As<Napi::Number>().DoubleValue(), rates, 32, &count,
                               &wait_seconds, &error),
              error);
        Napi::Array list = Napi::Array::New(env, std::min<size_t>(count, 32));
        for (uint32_t i = 0; i < list.Length(); ++i) {
            Napi::Object rate = Napi::Object::New(env);
            rate.Set("name", rates[i].name);
            rate.Set("bytes", number(env, rates[i].bytes));
            rate.Set("seconds", number(env, rates[i].seconds));
            rate.Set("deviceSeconds", number(env, rates[i].device_seconds));
            list.Set(i, rate);
        }
        Napi::Object result = Napi::Object::New(env);
        result.Set("operations", list);
        result.Set("waitSeconds", number(env, wait_seconds));
        return result;
    });
}

/// measureWired(backend, kernelsDir, file).
Napi::Value measure_wired(const Napi::CallbackInfo& info) {
    return in_this_thread(info.Env(), "measureWired", [&] {
        const std::string backend = name_of(info[0], "backend"), kernels = name_of(info[1], "kernelsDir"), file = name_of(info[2], "file");
        double mapped = 0, allocated = 0;
        fm_error error;
        check(fm_measure_wired(backend.c_str(), kernels.c_str(), file.c_str(), &mapped, &allocated, &error), error);
        Napi::Object result = Napi::Object::New(info.Env());
        result.Set("mappedBytes", number(info.Env(), mapped));
        result.Set("allocatedBytes", number(info.Env(), allocated));
        return result;
    });
}

} // namespace

void register_self_test(Napi::Env env, Napi::Object exports) {
    exports.Set("selfTest", Napi::Function::New(env, self_test, "selfTest"));
    exports.Set("metalDevice", Napi::Function::New(env, metal_device, "metalDevice"));
    exports.Set("selfTestBackend", Napi::Function::New(env, self_test_backend, "selfTestBackend"));
    exports.Set("measureRates", Napi::Function::New(env, measure_rates, "measureRates"));
    exports.Set("measureWired", Napi::Function::New(env, measure_wired, "measureWired"));
}

} // namespace flashmoe::addon
