// Where there is no Metal, there is no device. On a Mac metal_device.mm takes this file's place.
#ifndef __APPLE__

#include "backend/metal/device.h"

namespace flashmoe::gpu {

std::unique_ptr<Device> open_device(std::string& reason) {
    reason = "this engine was built without Metal";
    return nullptr;
}

} // namespace flashmoe::gpu

#endif
