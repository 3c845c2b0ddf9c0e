// JavaScript values read for C++ and made from it, and methods whose C++ exceptions become JavaScript errors.
#pragma once

#include "addon/job.h"
#include "flashmoe.h"

#include <cstdint>
#include <string>
#include <vector>

namespace flashmoe::addon {

/// Thrown in a job's thread it rejects the promise; in a method it becomes a JavaScript error.
void check(fm_status status, const fm_error& error);

/// What a caller did wrong.
[[noreturn]] void misuse(const std::string& message);

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

double number_of(const Napi::Value& value, const char* name, double min, double max);
uint32_t whole_of(const Napi::Value& value, const char* name);
/// Up to the largest integer that a JavaScript number holds exactly.
uint64_t count_of(const Napi::Value& value, const char* name);
std::string text_of(const Napi::Value& value, const char* name);
/// Of a path or a choice: not empty, without a NUL that would cut it short where the system sees it.
std::string name_of(const Napi::Value& value, const char* name);
Napi::Object object_of(const Napi::Value& value, const char* name);
Napi::Array array_of(const Napi::Value& value, const char* name);
std::vector<int32_t> tokens_of(const Napi::Value& value);
/// None for undefined.
std::vector<uint32_t> lengths_of(const Napi::Value& value);

template <typename Array> Array typed_of(const Napi::Value& value, napi_typedarray_type type, const char* name) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
        misuse(std::string(name) + " is not a typed array of the right kind");
    }
    return value.As<Array>();
}

template <typename Value> Napi::Number number(Napi::Env env, Value value) {
    return Napi::Number::New(env, static_cast<double>(value));
}
Napi::Value float_array(Napi::Env env, const std::vector<float>& values);

} // namespace flashmoe::addon
