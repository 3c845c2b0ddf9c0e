// Fields of plain objects, read one by one, so that a wrong one is a failure with the field's name and not a crash.
#pragma once

#include <napi.h>

#include "pack/failure.h"
#include "pack/importance.h"

#include <cmath>
#include <string>

namespace flashmoe::addon {

inline constexpr double kMaxSafeInteger = 9007199254740991.0;

inline Napi::Value field(const Napi::Object& object, const char* name) { return object.Get(name); }

inline std::uint64_t count_field(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (!(number >= 0 && number <= kMaxSafeInteger) || number != std::floor(number)) {
        pack::fail_plan(std::string(name) + " must be a whole number of at least 0");
    }
    return static_cast<std::uint64_t>(number);
}

inline std::uint32_t small_field(const Napi::Object& object, const char* name) {
    const std::uint64_t value = count_field(object, name);
    if (value > UINT32_MAX) pack::fail_plan(std::string(name) + " is too large");
    return static_cast<std::uint32_t>(value);
}

inline std::string text_field(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    if (!value.IsString()) pack::fail_plan(std::string(name) + " must be a string");
    std::string text = value.As<Napi::String>().Utf8Value();
    // A NUL would cut the path short where the system sees it.
    if (text.empty() || text.find('\0') != std::string::npos) pack::fail_plan(std::string(name) + " is no path");
    return text;
}

inline Napi::Object object_of(const Napi::Value& value, const char* name) {
    if (!value.IsObject()) pack::fail_plan(std::string(name) + " must be an object");
    return value.As<Napi::Object>();
}

inline Napi::Array array_field(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    if (!value.IsArray()) pack::fail_plan(std::string(name) + " must be a list");
    return value.As<Napi::Array>();
}

/// `importance` of a projection or a place: null and undefined are none.
inline pack::ImportancePlace importance_field(const Napi::Object& object, std::uint64_t columns) {
    const Napi::Value value = field(object, "importance");
    if (value.IsNull() || value.IsUndefined()) return {};
    const Napi::Object place = object_of(value, "importance");
    return {count_field(place, "offset"), count_field(place, "stride"), columns};
}

inline Napi::Number number(Napi::Env env, std::uint64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
}

} // namespace flashmoe::addon
