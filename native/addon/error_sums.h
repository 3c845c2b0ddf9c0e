// ErrorSums of src/addon/types.ts.
#pragma once

#include "addon/fields.h"
#include "quant/requantise.h"

namespace flashmoe::addon {

inline Napi::Object error_sums_object(Napi::Env env, const quant::ErrorSums& sums) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("squaredError", sums.squared_error);
    object.Set("rangeError", sums.range_error);
    object.Set("sum", sums.sum);
    object.Set("sumOfSquares", sums.sum_of_squares);
    object.Set("values", static_cast<double>(sums.values));
    return object;
}

inline quant::ErrorSums error_sums_of(const Napi::Object& object) {
    const auto value = [&](const char* name) { return field(object, name).ToNumber().DoubleValue(); };
    return {value("squaredError"), value("rangeError"), value("sum"), value("sumOfSquares"), count_field(object, "values"), 0};
}

} // namespace flashmoe::addon
