#include "addon/registers.h"

namespace flashmoe::addon {

void register_pack(Napi::Env, Napi::Object) {}

} // namespace flashmoe::addon
