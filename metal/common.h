// Shared by all kernels: reading packed codes and 16-bit numbers. Needs args.h before it.
#include <metal_stdlib>
using namespace metal;

constant constexpr uint FM_SIMD = 32;
/// Columns of x that a threadgroup stages at once. Four floats of padding after each 32 keep lanes that read
/// float4s 32 columns apart in different banks.
constant constexpr uint FM_TILE = 4096;
constant constexpr uint FM_TILE_PADDED = FM_TILE + FM_TILE / 8;

static inline uint fm_padded(uint column) { return column + column / 32 * 4; }

static inline float fm_silu(float x) { return x / (1.0f + exp(-x)); }
static inline float fm_sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }
static inline float fm_softplus(float x) { return x > 20.0f ? x : log(1.0f + exp(x)); }

/// sum_j q_j x_j over the codes of one word, least significant first. x points at the word's first four columns.
template <int BITS>
static inline float fm_dot_word(uint codes, thread const float4* x, float sum) {
    constexpr uint mask = (1u << BITS) - 1u;
    for (uint part = 0; part < 32 / (4 * BITS); part++) {
        uint four = codes >> (4 * BITS * part);
        sum = fma(float(four & mask), x[part].x, sum);
        sum = fma(float((four >> BITS) & mask), x[part].y, sum);
        sum = fma(float((four >> (2 * BITS)) & mask), x[part].z, sum);
        sum = fma(float((four >> (3 * BITS)) & mask), x[part].w, sum);
    }
    return sum;
}

/// sum_j q_j x_j over 32 codes; `codes` is aligned to 4 * BITS bytes (at most 16), x holds 32 columns.
template <int BITS>
static inline float fm_dot32(device const uint* codes, thread const float4* x) {
    float sum = 0.0f;
    if (BITS == 2) {
        uint2 pair = *(device const uint2*)codes;
        sum = fm_dot_word<BITS>(pair.x, x, sum);
        return fm_dot_word<BITS>(pair.y, x + 4, sum);
    }
    for (uint quad = 0; quad < uint(BITS) / 4; quad++) {
        uint4 words = ((device const uint4*)codes)[quad];
        thread const float4* at = x + quad * 4;
        constexpr uint step = 8 / BITS;
        sum = fm_dot_word<BITS>(words.x, at, sum);
        sum = fm_dot_word<BITS>(words.y, at + step, sum);
        sum = fm_dot_word<BITS>(words.z, at + 2 * step, sum);
        sum = fm_dot_word<BITS>(words.w, at + 3 * step, sum);
    }
    return sum;
}

/// Code of one column.
template <int BITS>
static inline uint fm_code(device const uint* row, uint column) {
    uint per_word = 32 / BITS;
    return (row[column / per_word] >> (BITS * (column % per_word))) & ((1u << BITS) - 1u);
}
