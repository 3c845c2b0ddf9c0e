// What CUDA-compiled kernels and the device over them share: how arguments travel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

constexpr int FM_MAX_BUFFERS = 12;
/// A kernel takes one structure of arguments, and at most two arrays of constants.
constexpr int FM_STRUCTURE_BYTES = 64;
constexpr int FM_ARRAY_BYTES = 1536;

struct FmBuffers {
    void *address[FM_MAX_BUFFERS];
};

template <int ARRAYS> struct FmInline {
    alignas(16) unsigned char bytes[FM_STRUCTURE_BYTES + ARRAYS * FM_ARRAY_BYTES];
};

struct CudaBinding {
    uint32_t index;
    size_t bytes;
    bool array, writable;
};

struct CudaKernel {
    std::string name;
    const void *entry;
    int arrays;
    std::vector<CudaBinding> bindings;
};

struct CudaRegistration {
    CudaRegistration(CudaKernel kernel);
};
