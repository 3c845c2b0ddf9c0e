// What each part of the addon adds to `exports`. The only folder that includes napi.h.
#pragma once

#include <napi.h>

namespace flashmoe::addon {

void register_pack(Napi::Env env, Napi::Object exports);
void register_tape(Napi::Env env, Napi::Object exports);
void register_engine(Napi::Env env, Napi::Object exports);
void register_self_test(Napi::Env env, Napi::Object exports);

} // namespace flashmoe::addon
