// Attention over a 16-bit cache: a cached vector is integer codes and scales, value = code * scale. Keys go through
// threadgroup memory eight at a time, a simdgroup unpacking two of them for all four; lane l holds the VALUES dimensions
// from l * VALUES on. Needs common.h before it.

constant constexpr uint FM_TILE_KEYS = 8;

/// Writes a lane's VALUES codes, two a word, times `scale` to a key's place in the tile.
template <int VALUES>
static inline void fm_put_codes(thread const uint* words, float scale, threadgroup float* key, uint lane) {
    float values[VALUES];
    #pragma unroll
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
    #pragma unroll
    for (uint i = 0; i < VALUES / 4; i++) {
        float4 quad;
        #pragma unroll
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
    #pragma unroll
    for (uint i = 0; i < VALUES / 4; i++) {
        float4 quad = ((threadgroup const float4*)key)[i * FM_SIMD + lane];
        #pragma unroll
        for (uint j = 0; j < 4; j++) values[4 * i + j] = quad[j];
    }
}

/// Online softmax in powers of two: lane l brings the score of key l / 4 and gets its weight. `fade` is what earlier
/// sums are to be multiplied with. `total` counts this lane's keys.
static inline float fm_online_softmax(float score, thread float& largest, thread float& total, thread float& fade) {
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
