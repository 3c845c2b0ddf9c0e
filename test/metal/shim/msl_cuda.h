// MSL on an NVIDIA GPU: what the translator's output is compiled against there. A simdgroup is a warp, threadgroup
// memory is shared memory. Constants lie in the launch's parameters, so that the compiler keeps their address space.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_fp16.h>

#include "device/cuda_kernels.h"

// CUDA has global types of the same names: everything of ours is looked up in this namespace first.
#define FM_OPEN namespace fm_shim {
#define FM_CLOSE }

FM_OPEN

#define FM_FUNCTION static __device__ __forceinline__ __attribute__((unused))
#define FM_MEMBER __device__ __forceinline__
#define FM_UNROLL _Pragma("unroll")

FM_FUNCTION uint16_t fm_float_to_half(float value) { return __half_as_ushort(__float2half_rn(value)); }
FM_FUNCTION float fm_half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
FM_FUNCTION float fm_fma(float a, float b, float c) { return ::fmaf(a, b, c); }
FM_FUNCTION float fm_exp(float x) { return ::expf(x); }
FM_FUNCTION float fm_exp2(float x) { return ::exp2f(x); }
FM_FUNCTION float fm_log(float x) { return ::logf(x); }
FM_FUNCTION float fm_sqrt(float x) { return ::sqrtf(x); }
FM_FUNCTION float fm_rint(float x) { return ::rintf(x); }
FM_FUNCTION float fm_cos(float x) { return ::cosf(x); }
FM_FUNCTION float fm_sin(float x) { return ::sinf(x); }

#include "msl_types.h"

struct FmPosition {
    uint32_t x, y, z;
    FM_MEMBER operator uint() const { return x; }
    FM_MEMBER operator uint2() const { return uint2(x, y); }
    FM_MEMBER operator uint3() const { return uint3(x, y, z); }
};

struct FmPointer {
    void *address;
    template <class T> FM_MEMBER operator T *() const { return static_cast<T *>(address); }
};
struct FmConstant {
    const void *address;
    template <class T> FM_MEMBER operator const T &() const { return *static_cast<const T *>(address); }
    template <class T> FM_MEMBER operator const T *() const { return static_cast<const T *>(address); }
};

template <class Inline> struct FmBindings {
    const FmBuffers &buffers;
    const Inline &values;
    FM_MEMBER FmPointer device(int index) const { return {buffers.address[index]}; }
    FM_MEMBER FmConstant constant(int) const { return {values.bytes}; }
    FM_MEMBER FmConstant constants(int, int which) const {
        return {values.bytes + FM_STRUCTURE_BYTES + which * FM_ARRAY_BYTES};
    }
};

struct FmThread {
    FM_MEMBER FmPosition thread_position_in_grid() const {
        return {blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y, blockIdx.z * blockDim.z + threadIdx.z};
    }
    FM_MEMBER FmPosition threadgroup_position_in_grid() const { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
    FM_MEMBER FmPosition thread_position_in_threadgroup() const { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
    FM_MEMBER FmPosition threads_per_threadgroup() const { return {blockDim.x, blockDim.y, blockDim.z}; }
    FM_MEMBER FmPosition threadgroups_per_grid() const { return {gridDim.x, gridDim.y, gridDim.z}; }
    // Our threadgroups have one dimension.
    FM_MEMBER uint thread_index_in_threadgroup() const { return threadIdx.x; }
    FM_MEMBER uint thread_index_in_simdgroup() const { return threadIdx.x % 32; }
    FM_MEMBER uint simdgroup_index_in_threadgroup() const { return threadIdx.x / 32; }
    FM_MEMBER uint simdgroups_per_threadgroup() const { return blockDim.x / 32; }
};

#define FM_THREADGROUP(T, name, count) __shared__ T name[count]

#define FM_LIST(...) {__VA_ARGS__}
#define FM_ENTRY(host, arrays, bound, ...)                                                                             \
    extern "C" __global__ void fm_entry_##host(const __grid_constant__ FmBuffers buffers,                              \
                                               const __grid_constant__ FmInline<arrays> values) {                      \
        const FmBindings<FmInline<arrays>> b{buffers, values};                                                         \
        const FmThread t;                                                                                              \
        (void)t;                                                                                                       \
        __VA_ARGS__;                                                                                                   \
    }                                                                                                                  \
    static const CudaRegistration fm_registration_##host(                                                              \
        {#host, reinterpret_cast<const void *>(fm_entry_##host), arrays, bound});

FM_FUNCTION void threadgroup_barrier(mem_flags) { __syncthreads(); }
FM_FUNCTION void simdgroup_barrier(mem_flags) { __syncwarp(); }

constexpr unsigned FM_ALL = 0xffffffffu;
// The same xor tree as on the CPU.
template <class T> FM_FUNCTION T simd_sum(T value) {
    for (int step = 16; step > 0; step /= 2) value = value + __shfl_xor_sync(FM_ALL, value, step);
    return value;
}
template <class T> FM_FUNCTION T simd_max(T value) {
    for (int step = 16; step > 0; step /= 2) value = max(value, __shfl_xor_sync(FM_ALL, value, step));
    return value;
}
template <class T> FM_FUNCTION T simd_broadcast(T value, ushort lane) { return __shfl_sync(FM_ALL, value, lane); }
template <class T> FM_FUNCTION T simd_shuffle(T value, ushort lane) { return __shfl_sync(FM_ALL, value, lane); }
template <class T> FM_FUNCTION T simd_shuffle_xor(T value, ushort mask) { return __shfl_xor_sync(FM_ALL, value, mask); }

// Eight by eight numbers of a warp: lane l has [l / 4][2 (l % 4)] and its neighbour, and of what was loaded the same of the
// transposed matrix, for the right side of a product; what isn't used costs nothing. Products are two m8n8k4 of the tensor cores
// in f64, of the even and of the odd columns: f32 numbers times each other are exact there, as Metal's are not to tf32's 10 bits.
struct simdgroup_float8x8 {
    double sums[2];
    float values[2], transposed[2];
};
template <class T, int COLS, int ROWS> FM_FUNCTION simdgroup_float8x8 make_filled_simdgroup_matrix(T value) {
    return {{value, value}, {value, value}, {value, value}};
}
/// As two floats at once: rows begin on 8 bytes, which the executor sees to.
FM_FUNCTION void fm_load_pair(const float *from, float *pair) {
    const float2 both = *reinterpret_cast<const float2 *>(from);
    pair[0] = both.x;
    pair[1] = both.y;
}
FM_FUNCTION void simdgroup_load(simdgroup_float8x8 &matrix, const float *from, ulong pitch = 8, ulong2 origin = ulong2(0), bool transposed = false) {
    from += origin.y * pitch + origin.x;
    const uint row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    fm_load_pair(from + row * pitch + column, transposed ? matrix.transposed : matrix.values);
    for (int i = 0; i < 2; i++) (transposed ? matrix.values : matrix.transposed)[i] = from[(column + i) * pitch + row];
    for (int i = 0; i < 2; i++) matrix.sums[i] = matrix.values[i];
}
FM_FUNCTION void simdgroup_store(const simdgroup_float8x8 &matrix, float *to, ulong pitch = 8) {
    const uint row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    for (int i = 0; i < 2; i++) to[row * pitch + column + i] = float(matrix.sums[i]);
}
FM_FUNCTION void simdgroup_multiply_accumulate(simdgroup_float8x8 &d, const simdgroup_float8x8 &a, const simdgroup_float8x8 &b, const simdgroup_float8x8 &c) {
    double sums[2] = {c.sums[0], c.sums[1]};
    for (int half = 0; half < 2; half++) {
        asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
                     : "+d"(sums[0]), "+d"(sums[1])
                     : "d"(double(a.values[half])), "d"(double(b.transposed[half])));
    }
    // A product's own transposed is not known without asking other lanes: no kernel multiplies with one.
    const float none = __int_as_float(0x7fffffff);
    d = {{sums[0], sums[1]}, {float(sums[0]), float(sums[1])}, {none, none}};
}

FM_CLOSE
