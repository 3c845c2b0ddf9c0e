// Shared by all kernels: activations, loads of several words, sums over lanes. Needs args.h before it.
#include <metal_stdlib>
using namespace metal;

constant constexpr uint FM_SIMD = 32;

static inline float fm_silu(float x) { return x / (1.0f + exp(-x)); }
static inline float fm_sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }
static inline float fm_softplus(float x) { return x > 20.0f ? x : log(1.0f + exp(x)); }

/// Code of one column.
template <int BITS>
static inline uint fm_code(device const uint* row, uint column) {
    uint per_word = 32 / BITS;
    return (row[column / per_word] >> (BITS * (column % per_word))) & ((1u << BITS) - 1u);
}

/// COUNT words (1, 2, or a multiple of 4) from a place aligned to as many, four at most.
template <int COUNT>
static inline void fm_load_words(device const uint* from, thread uint* to) {
    if (COUNT == 1) to[0] = from[0];
    if (COUNT == 2) {
        uint2 pair = *(device const uint2*)from;
        to[0] = pair.x;
        to[1] = pair.y;
    }
    #pragma unroll
    for (uint i = 0; i < COUNT / 4; i++) {
        uint4 quad = ((device const uint4*)from)[i];
        to[4 * i] = quad.x;
        to[4 * i + 1] = quad.y;
        to[4 * i + 2] = quad.z;
        to[4 * i + 3] = quad.w;
    }
}

/// Adds up four numbers over the 32 lanes at once: six exchanges instead of twenty. Lane l returns the total of
/// number l / 8.
static inline float fm_sum4(thread const float* x, uint lane) {
    bool upper = (lane & 16) != 0;
    float a = (upper ? x[2] : x[0]) + simd_shuffle_xor(upper ? x[0] : x[2], 16);
    float b = (upper ? x[3] : x[1]) + simd_shuffle_xor(upper ? x[1] : x[3], 16);
    upper = (lane & 8) != 0;
    float sum = (upper ? b : a) + simd_shuffle_xor(upper ? a : b, 8);
    sum += simd_shuffle_xor(sum, 4);
    sum += simd_shuffle_xor(sum, 2);
    return sum + simd_shuffle_xor(sum, 1);
}

/// Adds up eight numbers over the 32 lanes at once: nine exchanges instead of forty. Lane l returns the total of
/// number (l / 4) % 8.
static inline float fm_sum8(thread float* x, uint lane) {
    bool upper = (lane & 16) != 0;
    #pragma unroll
    for (uint i = 0; i < 4; i++) {
        float keep = upper ? x[i + 4] : x[i];
        float give = upper ? x[i] : x[i + 4];
        x[i] = keep + simd_shuffle_xor(give, 16);
    }
    upper = (lane & 8) != 0;
    #pragma unroll
    for (uint i = 0; i < 2; i++) {
        float keep = upper ? x[i + 2] : x[i];
        float give = upper ? x[i] : x[i + 2];
        x[i] = keep + simd_shuffle_xor(give, 8);
    }
    upper = (lane & 4) != 0;
    float keep = upper ? x[1] : x[0];
    float give = upper ? x[0] : x[1];
    float sum = keep + simd_shuffle_xor(give, 4);
    sum += simd_shuffle_xor(sum, 2);
    return sum + simd_shuffle_xor(sum, 1);
}
