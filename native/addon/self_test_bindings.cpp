// selfTest and selfTestMetal of src/addon/types.ts.
#include "addon/registers.h"
#include "addon/values.h"

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

void register_self_test(Napi::Env env, Napi::Object exports) {
    exports.Set("selfTest", Napi::Function::New(env, self_test, "selfTest"));
    exports.Set("selfTestMetal", Napi::Function::New(env, self_test_metal, "selfTestMetal"));
}

} // namespace flashmoe::addon
