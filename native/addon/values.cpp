#include "addon/values.h"

#include "pack/failure.h"

#include <cmath>
#include <cstring>

namespace flashmoe::addon {

using pack::Failure;

void check(fm_status status, const fm_error& error) {
    if (status != FM_OK) throw Failure(fm_status_name(status), error.message);
}

void misuse(const std::string& message) { throw Failure(fm_status_name(FM_ENGINE), message); }

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

std::string text_of(const Napi::Value& value, const char* name) {
    if (!value.IsString()) misuse(std::string(name) + " is not a text");
    return value.As<Napi::String>().Utf8Value();
}

std::string path_of(const Napi::Value& value, const char* name) {
    std::string path = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
    if (path.empty() || path.find('\0') != std::string::npos) misuse(std::string(name) + " is not a path");
    return path;
}

std::vector<int32_t> tokens_of(const Napi::Value& value) {
    const auto array = typed_of<Napi::Int32Array>(value, napi_int32_array, "tokens");
    return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<uint32_t> lengths_of(const Napi::Value& value) {
    if (value.IsUndefined()) return {};
    const auto array = typed_of<Napi::Uint32Array>(value, napi_uint32_array, "marks");
    return {array.Data(), array.Data() + array.ElementLength()};
}

Napi::Number number(Napi::Env env, double value) { return Napi::Number::New(env, value); }

Napi::Value float_array(Napi::Env env, const std::vector<float>& values) {
    auto array = Napi::Float32Array::New(env, values.size());
    std::memcpy(array.Data(), values.data(), values.size() * sizeof(float));
    return array;
}

} // namespace flashmoe::addon
