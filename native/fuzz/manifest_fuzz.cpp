// libFuzzer's entry: `make fuzz` where clang is installed. Seeds: any model_weights.json and layout.json.
#include "fuzz/read_manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    read_manifest({reinterpret_cast<const char*>(data), size});
    return 0;
}
