// The types of the Metal Shading Language that our kernels use, as plain C++ for a CPU or CUDA compiler.
// half and bfloat are storage with explicit conversions and no arithmetic, on purpose: a kernel that computes
// in them does not compile here.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#ifndef FM_FUNCTION
#error "include the shim of a device first"
#endif

using uint = uint32_t;
using ushort = uint16_t;
using uchar = uint8_t;
using ulong = uint64_t;

template <class To, class From> FM_FUNCTION To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From), "as_type between sizes");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

struct bfloat {
    uint16_t bits;
    bfloat() = default;
    FM_MEMBER explicit bfloat(float value) {
        uint32_t word = as_type<uint32_t>(value);
        if ((word & 0x7fffffffu) > 0x7f800000u) bits = uint16_t(word >> 16) | 0x40;
        else bits = uint16_t((word + 0x7fffu + ((word >> 16) & 1)) >> 16);
    }
    FM_MEMBER explicit operator float() const { return as_type<float>(uint32_t(bits) << 16); }
};

struct half {
    uint16_t bits;
    half() = default;
    FM_MEMBER explicit half(float value) { bits = as_type<uint16_t>(fm_float_to_half(value)); }
    FM_MEMBER explicit operator float() const { return fm_half_to_float(bits); }
};

#define FM_VECTOR2(T, N, A)                                                                                            \
    struct alignas(A) N {                                                                                              \
        T x, y;                                                                                                        \
        N() = default;                                                                                                 \
        FM_MEMBER explicit N(T s) : x(s), y(s) {}                                                                    \
        FM_MEMBER N(T a, T b) : x(a), y(b) {}                                                                        \
    };
#define FM_VECTOR3(T, N, A)                                                                                            \
    struct alignas(A) N {                                                                                              \
        T x, y, z;                                                                                                     \
        N() = default;                                                                                                 \
        FM_MEMBER explicit N(T s) : x(s), y(s), z(s) {}                                                              \
        FM_MEMBER N(T a, T b, T c) : x(a), y(b), z(c) {}                                                             \
    };
#define FM_VECTOR4(T, N, A)                                                                                            \
    struct alignas(A) N {                                                                                              \
        T x, y, z, w;                                                                                                  \
        N() = default;                                                                                                 \
        FM_MEMBER explicit N(T s) : x(s), y(s), z(s), w(s) {}                                                        \
        FM_MEMBER N(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}                                                  \
        template <class V, class = decltype(V{}.w)>                                                                    \
        FM_MEMBER explicit N(const V &v) : x(T(v.x)), y(T(v.y)), z(T(v.z)), w(T(v.w)) {}                             \
        FM_MEMBER T &operator[](uint i) { return (&x)[i]; }                                                          \
        FM_MEMBER const T &operator[](uint i) const { return (&x)[i]; }                                              \
    };

FM_VECTOR2(float, float2, 8)
FM_VECTOR4(float, float4, 16)
FM_VECTOR2(uint, uint2, 8)
FM_VECTOR3(uint, uint3, 16)
FM_VECTOR4(uint, uint4, 16)
FM_VECTOR2(ulong, ulong2, 16)
FM_VECTOR2(ushort, ushort2, 4)
FM_VECTOR4(ushort, ushort4, 8)
FM_VECTOR4(uchar, uchar4, 4)
FM_VECTOR2(half, half2, 4)
FM_VECTOR4(half, half4, 8)
FM_VECTOR2(bfloat, bfloat2, 4)
FM_VECTOR4(bfloat, bfloat4, 8)

#define FM_FLOAT_OPERATOR(op)                                                                                          \
    FM_FUNCTION float4 operator op(float4 a, float4 b) {                                                               \
        return float4(a.x op b.x, a.y op b.y, a.z op b.z, a.w op b.w);                                                 \
    }                                                                                                                  \
    FM_FUNCTION float4 operator op(float4 a, float b) { return a op float4(b); }                                       \
    FM_FUNCTION float4 operator op(float a, float4 b) { return float4(a) op b; }                                       \
    FM_FUNCTION float4 &operator op##=(float4 &a, float4 b) { return a = a op b; }                                     \
    FM_FUNCTION float4 &operator op##=(float4 &a, float b) { return a = a op float4(b); }                              \
    FM_FUNCTION float2 operator op(float2 a, float2 b) { return float2(a.x op b.x, a.y op b.y); }
FM_FLOAT_OPERATOR(+)
FM_FLOAT_OPERATOR(-)
FM_FLOAT_OPERATOR(*)
FM_FLOAT_OPERATOR(/)

#define FM_UINT_OPERATOR(op)                                                                                           \
    FM_FUNCTION uint4 operator op(uint4 a, uint b) { return uint4(a.x op b, a.y op b, a.z op b, a.w op b); }
FM_UINT_OPERATOR(&)
FM_UINT_OPERATOR(|)
FM_UINT_OPERATOR(>>)
FM_UINT_OPERATOR(<<)

FM_FUNCTION float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
FM_FUNCTION float4 fma(float4 a, float4 b, float4 c) {
    return float4(fm_fma(a.x, b.x, c.x), fm_fma(a.y, b.y, c.y), fm_fma(a.z, b.z, c.z), fm_fma(a.w, b.w, c.w));
}
FM_FUNCTION float fma(float a, float b, float c) { return fm_fma(a, b, c); }
FM_FUNCTION float exp(float x) { return fm_exp(x); }
FM_FUNCTION float exp2(float x) { return fm_exp2(x); }
FM_FUNCTION float log(float x) { return fm_log(x); }
FM_FUNCTION float sqrt(float x) { return fm_sqrt(x); }
FM_FUNCTION float rint(float x) { return fm_rint(x); }
FM_FUNCTION float rsqrt(float x) { return 1.0f / fm_sqrt(x); }
FM_FUNCTION float cos(float x) { return fm_cos(x); }
FM_FUNCTION float sin(float x) { return fm_sin(x); }
FM_FUNCTION float abs(float x) { return x < 0 ? -x : x; }
FM_FUNCTION float max(float a, float b) { return a > b ? a : b; }
FM_FUNCTION float min(float a, float b) { return a < b ? a : b; }
FM_FUNCTION uint max(uint a, uint b) { return a > b ? a : b; }
FM_FUNCTION uint min(uint a, uint b) { return a < b ? a : b; }
FM_FUNCTION int max(int a, int b) { return a > b ? a : b; }
FM_FUNCTION int min(int a, int b) { return a < b ? a : b; }
template <class T> FM_FUNCTION T select(T no, T yes, bool which) { return which ? yes : no; }

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
