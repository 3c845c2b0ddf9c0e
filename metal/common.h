// Shared by all kernels: reading packed codes, products with rows of them. Needs args.h before it.
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
    for (uint i = 0; i < 4; i++) {
        float keep = upper ? x[i + 4] : x[i];
        float give = upper ? x[i] : x[i + 4];
        x[i] = keep + simd_shuffle_xor(give, 16);
    }
    upper = (lane & 8) != 0;
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

// Attention over a 16-bit cache: a cached vector is integer codes and scales, value = code * scale. Keys go through
// threadgroup memory eight at a time, a simdgroup unpacking two of them for all four; lane l holds the VALUES dimensions
// from l * VALUES on.

constant constexpr uint FM_TILE_KEYS = 8;

/// COUNT words (1, 2, or a multiple of 4) from a place aligned to as many, four at most.
template <int COUNT>
static inline void fm_load_words(device const uint* from, thread uint* to) {
    if (COUNT == 1) to[0] = from[0];
    if (COUNT == 2) {
        uint2 pair = *(device const uint2*)from;
        to[0] = pair.x;
        to[1] = pair.y;
    }
    for (uint i = 0; i < COUNT / 4; i++) {
        uint4 quad = ((device const uint4*)from)[i];
        to[4 * i] = quad.x;
        to[4 * i + 1] = quad.y;
        to[4 * i + 2] = quad.z;
        to[4 * i + 3] = quad.w;
    }
}

/// Writes a lane's VALUES codes, two a word, times `scale` to a key's place in the tile.
template <int VALUES>
static inline void fm_put_codes(thread const uint* words, float scale, threadgroup float* key, uint lane) {
    float values[VALUES];
    for (uint i = 0; i < VALUES / 2; i++) {
        values[2 * i] = float(int(words[i] << 16) >> 16) * scale;
        values[2 * i + 1] = float(int(words[i]) >> 16) * scale;
    }
    if (VALUES == 2) {
        float2 pair;
        pair.x = values[0];
        pair.y = values[1];
        ((threadgroup float2*)key)[lane] = pair;
    }
    for (uint i = 0; i < VALUES / 4; i++) {
        float4 quad;
        for (uint j = 0; j < 4; j++) quad[j] = values[4 * i + j];
        ((threadgroup float4*)key)[i * FM_SIMD + lane] = quad;
    }
}

/// A lane's VALUES dimensions of a key in the tile.
template <int VALUES>
static inline void fm_take_key(threadgroup const float* key, uint lane, thread float* values) {
    if (VALUES == 2) {
        float2 pair = ((threadgroup const float2*)key)[lane];
        values[0] = pair.x;
        values[1] = pair.y;
    }
    for (uint i = 0; i < VALUES / 4; i++) {
        float4 quad = ((threadgroup const float4*)key)[i * FM_SIMD + lane];
        for (uint j = 0; j < 4; j++) values[4 * i + j] = quad[j];
    }
}

/// Online softmax in powers of two: lane l brings the score of key l / 4 and gets its weight. `fade` is what earlier
/// sums are to be multiplied with. `total` counts this lane's keys.
static inline float fm_weigh(float score, thread float& largest, thread float& total, thread float& fade) {
    float best = max(score, simd_shuffle_xor(score, 4));
    best = max(best, simd_shuffle_xor(best, 8));
    best = max(best, simd_shuffle_xor(best, 16));
    float before = largest;
    largest = max(before, best);
    fade = exp2(before - largest);
    float weight = exp2(score - largest);
    total = fma(total, fade, weight);
    return weight;
}

// Matrix-vector products: a simdgroup keeps a slice of x in registers and multiplies rows with it.

/// Columns of x that a simdgroup holds at a time, 32 a lane.
constant constexpr uint FM_SLICE = 1024;
constant constexpr uint FM_SLICE_QUADS = FM_SLICE / 4;

/// Bit of a word, or of the word without its low codes, at which code `index` is read.
template <int BITS>
static inline uint fm_place(uint index) {
    constexpr uint low = 23 / BITS;
    return BITS * (index < low ? index : index - low);
}

/// sum_j q_j x_j over the codes of one word, least significant first, x being scaled by fm_take_slice. A code is made a
/// number without shift or conversion: where it stands in the word it is the mantissa of 2^23 + q * 2^place. `exponent`
/// is FM_CODE_EXPONENT: a value that the compiler does not know stays in a register, a constant costs an instruction a code.
template <int BITS>
static inline float fm_dot_word(uint codes, uint exponent, thread const float4* x, float sum) {
    constexpr uint low = 23 / BITS;
    constexpr uint mask = (1u << BITS) - 1u;
    uint rest = codes >> (low * BITS);
    for (uint index = 0; index < 32 / BITS; index++) {
        uint word = index < low ? codes : rest;
        float code = as_type<float>((word & (mask << fm_place<BITS>(index))) | exponent) - 8388608.0f;
        sum = fma(code, x[index / 4][index % 4], sum);
    }
    return sum;
}

/// Lane l's columns [32 l, 32 l + 32) of the slice `x`, `width` columns long, zero behind its end; returns their sum.
/// Read in order, handed on through `staged`, the simdgroup's own; the exclusive or spreads lanes over its banks.
/// `values` are divided by 2^place of the codes that they meet.
template <int BITS>
static inline float fm_take_slice(device const float* x, threadgroup float4* staged, uint width, uint lane, thread float4* values) {
    // A slice before this one may still be read.
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = 0; i < 8; i++) {
        uint quad = i * FM_SIMD + lane;
        float4 value = float4(0.0f);
        if (quad * 4 < width) value = *(device const float4*)(x + quad * 4);
        staged[quad ^ (quad / 8 % 8)] = value;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    float4 sum = float4(0.0f);
    for (uint i = 0; i < 8; i++) {
        values[i] = staged[lane * 8 + (i ^ (lane % 8))];
        sum += values[i];
        for (uint j = 0; j < 4; j++) values[i][j] *= 1.0f / float(1u << fm_place<BITS>((4 * i + j) % (32 / BITS)));
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

/// A quantised matrix in words of codes; fewer than 2^32 of them.
template <typename S> struct FmRows {
    device const uint* codes;
    device const S* scales;
    device const S* biases;
    uint rows, words, groups;
};

/// 32 codes a lane of each of four rows, and the parameters of their group.
template <int BITS, typename S> struct FmFour {
    uint words[4 * BITS];
    S scales[4];
    S biases[4];
};

/// Rows [first, first + 4), behind the last row that row again, from word `word` and group `group` on.
template <int BITS, typename S>
static inline void fm_load4(FmRows<S> matrix, uint first, uint word, uint group, thread FmFour<BITS, S>& four) {
    for (uint r = 0; r < 4; r++) {
        uint row = min(first + r, matrix.rows - 1);
        fm_load_words<BITS>(matrix.codes + (row * matrix.words + word), four.words + r * BITS);
        uint place = row * matrix.groups + group;
        four.scales[r] = matrix.scales[place];
        four.biases[r] = matrix.biases[place];
    }
}

/// The four rows times the slice in `x`, whose sum is `total`; lane l returns the product of row l / 8. The bias of a
/// group enters as bias * sum(x): one multiplication for 32 weights.
template <int BITS, typename S>
static inline float fm_dot4(thread const FmFour<BITS, S>& four, uint exponent, thread const float4* x, float total, uint lane) {
    float sums[4];
    for (uint r = 0; r < 4; r++) {
        float product = 0.0f;
        for (uint i = 0; i < uint(BITS); i++) product = fm_dot_word<BITS>(four.words[r * BITS + i], exponent, x + i * (8 / BITS), product);
        sums[r] = fma(float(four.scales[r]), product, float(four.biases[r]) * total);
    }
    return fm_sum4(sums, lane);
}
