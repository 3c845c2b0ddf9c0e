#include "addon/values.h"

#include "core/error.h"

#include <cmath>
#include <cstring>

namespace flashmoe::addon {
namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

} // namespace

void check(fm_status status, const fm_error& error) {
    if (status != FM_OK) throw Error(status, error.message);
}

void misuse(const std::string& message) { throw Misuse(message); }

double number_of(const Napi::Value& value, const char* name, double min, double max) {
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
    if (!(number >= min && number <= max)) misuse(std::string(name) + " must be a number in its range");
    return number;
}

uint32_t whole_of(const Napi::Value& value, const char* name) {
    const uint64_t count = count_of(value, name);
    if (count > UINT32_MAX) misuse(std::string(name) + " is too large");
    return static_cast<uint32_t>(count);
}

uint64_t count_of(const Napi::Value& value, const char* name) {
    const double number = number_of(value, name, 0, kMaxSafeInteger);
    if (number != std::floor(number)) misuse(std::string(name) + " must be a whole number");
    return static_cast<uint64_t>(number);
}

std::string text_of(const Napi::Value& value, const char* name) {
    if (!value.IsString()) misuse(std::string(name) + " must be a string");
    return value.As<Napi::String>().Utf8Value();
}

std::string name_of(const Napi::Value& value, const char* name) {
    std::string text = text_of(value, name);
    if (text.empty() || text.find('\0') != std::string::npos) misuse(std::string(name) + " must be a string that is not empty and has no NUL");
    return text;
}

Napi::Object object_of(const Napi::Value& value, const char* name) {
    if (!value.IsObject()) misuse(std::string(name) + " must be an object");
    return value.As<Napi::Object>();
}

Napi::Array array_of(const Napi::Value& value, const char* name) {
    if (!value.IsArray()) misuse(std::string(name) + " must be a list");
    return value.As<Napi::Array>();
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

Napi::Value float_array(Napi::Env env, const std::vector<float>& values) {
    auto array = Napi::Float32Array::New(env, values.size());
    std::memcpy(array.Data(), values.data(), values.size() * sizeof(float));
    return array;
}

} // namespace flashmoe::addon
