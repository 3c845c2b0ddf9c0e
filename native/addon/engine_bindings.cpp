#include "addon/registers.h"

namespace flashmoe::addon {

void register_engine(Napi::Env, Napi::Object) {}

} // namespace flashmoe::addon
