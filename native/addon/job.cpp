#include "addon/job.h"

namespace flashmoe::addon {

Napi::Error coded_error(Napi::Env env, const std::string& code, const std::string& message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, code));
    return error;
}

std::pair<std::string, std::string> caught(const char* misuse) {
    try {
        throw;
    } catch (const Misuse& error) {
        return {misuse, error.what()};
    } catch (const Error& error) {
        return {error.code(), error.what()};
    } catch (const std::bad_alloc&) {
        return {"ENOMEM", "not enough memory"};
    } catch (const std::exception& error) {
        return {"ERR_INTERNAL", error.what()};
    } catch (...) {
        return {"ERR_INTERNAL", "unknown failure in native code"};
    }
}

Napi::Object failed_job(Napi::Env env, const std::string& code, const std::string& message) {
    auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(coded_error(env, code, message).Value());
    Napi::Object object = Napi::Object::New(env);
    object.Set("done", deferred.Promise());
    object.Set("cancel", Napi::Function::New(env, [](const Napi::CallbackInfo&) {}));
    return object;
}

} // namespace flashmoe::addon
