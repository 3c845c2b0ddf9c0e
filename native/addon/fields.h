// Fields of plain objects, read one by one by the readers of values.h, so that a wrong one is a failure with the field's name
// and not a crash.
#pragma once

#include "addon/values.h"
#include "pack/importance.h"

namespace flashmoe::addon {

inline Napi::Value field(const Napi::Object& object, const char* name) { return object.Get(name); }

inline uint64_t count_field(const Napi::Object& object, const char* name) { return count_of(field(object, name), name); }
inline uint32_t small_field(const Napi::Object& object, const char* name) { return whole_of(field(object, name), name); }
inline std::string text_field(const Napi::Object& object, const char* name) { return name_of(field(object, name), name); }
inline Napi::Array array_field(const Napi::Object& object, const char* name) { return array_of(field(object, name), name); }

/// `importance` of a projection or a place: null and undefined are none.
inline pack::ImportancePlace importance_field(const Napi::Object& object, uint64_t columns) {
    const Napi::Value value = field(object, "importance");
    if (value.IsNull() || value.IsUndefined()) return {};
    const Napi::Object place = object_of(value, "importance");
    return {count_field(place, "offset"), count_field(place, "stride"), columns};
}

} // namespace flashmoe::addon
