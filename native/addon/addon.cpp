#include "addon/registers.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
    exports.Set("contract", Napi::Number::New(env, 9));
    flashmoe::addon::register_pack(env, exports);
    flashmoe::addon::register_tape(env, exports);
    flashmoe::addon::register_engine(env, exports);
    flashmoe::addon::register_self_test(env, exports);
    return exports;
}

} // namespace

NODE_API_MODULE(flashmoe, init)
