// Declarations only, for clang's type checker: address spaces become real ones, so that a pointer which loses or
// changes its own does not compile. The Makefile takes Metal's attributes off and makes threadgroup arrays static.
#pragma once

#include <stdint.h>

#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
#define thread
#define kernel
#define INFINITY __builtin_inff()

typedef uint32_t uint;
typedef uint16_t ushort;
typedef uint8_t uchar;
typedef uint64_t ulong;
typedef _Float16 half;
typedef __bf16 bfloat;
typedef float float2 __attribute__((ext_vector_type(2)));
typedef float float4 __attribute__((ext_vector_type(4)));
typedef uint uint2 __attribute__((ext_vector_type(2)));
typedef uint uint3 __attribute__((ext_vector_type(3)));
typedef uint uint4 __attribute__((ext_vector_type(4)));
typedef uint64_t ulong2 __attribute__((ext_vector_type(2)));
typedef short short4 __attribute__((ext_vector_type(4)));

namespace metal {
enum class mem_flags { mem_none, mem_device, mem_threadgroup };
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);
float fma(float, float, float);
float4 fma(float4, float4, float4);
float exp(float);
float exp2(float);
float log(float);
float sqrt(float);
float rint(float);
float abs(float);
float max(float, float);
float min(float, float);
uint max(uint, uint);
uint min(uint, uint);
float simd_sum(float);
float simd_max(float);
float simd_broadcast(float, ushort);
float simd_shuffle_xor(float, ushort);
uint simd_shuffle_xor(uint, ushort);
uint simd_shuffle(uint, ushort);
template <class To, class From> To as_type(From);
struct simdgroup_float8x8 {};
template <class T, int COLS, int ROWS> simdgroup_float8x8 make_filled_simdgroup_matrix(T);
void simdgroup_load(simdgroup_float8x8 &, const threadgroup float *, ulong pitch = 8, ulong2 origin = 0, bool transposed = false);
void simdgroup_store(simdgroup_float8x8, threadgroup float *, ulong pitch = 8);
void simdgroup_multiply_accumulate(simdgroup_float8x8 &, simdgroup_float8x8, simdgroup_float8x8, simdgroup_float8x8);
} // namespace metal
