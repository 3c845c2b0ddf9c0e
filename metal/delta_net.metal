// Gated delta net: causal depthwise convolution; the recurrence on a [value_dim, key_dim] state a value head, and
// the gated norm of what it reads. Formulas: docs/format.md.
#include "args.h"
#include "common.h"

/// Convolution over TAPS tokens each of a batch, then silu; the history moves on by as many tokens. In place.
/// Grid: (ceil(channels / threads)). weight [TAPS, channels], history [TAPS - 1, channels], oldest first.
template <int TAPS>
kernel void fm_delta_conv(device float* qkv [[buffer(0)]],
                          device const float* weight [[buffer(1)]],
                          device float* history [[buffer(2)]],
                          constant FmDeltaConvArgs& args [[buffer(3)]],
                          uint channel [[thread_position_in_grid]])
{
    if (channel >= args.channels) return;
    constexpr uint before = TAPS - 1;
    float past[before];
    float taps[TAPS];
    #pragma unroll
    for (uint i = 0; i < before; i++) past[i] = history[i * args.channels + channel];
    #pragma unroll
    for (uint i = 0; i < uint(TAPS); i++) taps[i] = weight[i * args.channels + channel];
    for (uint t = 0; t < args.tokens; t++) {
        float now = qkv[t * args.channels + channel];
        float sum = taps[before] * now;
        #pragma unroll
        for (uint i = 0; i < before; i++) sum = fma(taps[i], past[i], sum);
        #pragma unroll
        for (uint i = 1; i < before; i++) past[i - 1] = past[i];
        past[before - 1] = now;
        qkv[t * args.channels + channel] = fm_silu(sum);
    }
    #pragma unroll
    for (uint i = 0; i < before; i++) history[i * args.channels + channel] = past[i];
}

template [[host_name("fm_delta_conv_2")]] [[kernel]] decltype(fm_delta_conv<2>) fm_delta_conv<2>;
template [[host_name("fm_delta_conv_3")]] [[kernel]] decltype(fm_delta_conv<3>) fm_delta_conv<3>;
template [[host_name("fm_delta_conv_4")]] [[kernel]] decltype(fm_delta_conv<4>) fm_delta_conv<4>;
template [[host_name("fm_delta_conv_5")]] [[kernel]] decltype(fm_delta_conv<5>) fm_delta_conv<5>;
template [[host_name("fm_delta_conv_6")]] [[kernel]] decltype(fm_delta_conv<6>) fm_delta_conv<6>;
template [[host_name("fm_delta_conv_7")]] [[kernel]] decltype(fm_delta_conv<7>) fm_delta_conv<7>;
template [[host_name("fm_delta_conv_8")]] [[kernel]] decltype(fm_delta_conv<8>) fm_delta_conv<8>;

/// VALUES floats from a place aligned to as many, four at most.
template <int VALUES>
static inline void fm_load_floats(device const float* from, thread float* to) {
    if (VALUES == 1) to[0] = from[0];
    if (VALUES == 2) {
        float2 pair = *(device const float2*)from;
        to[0] = pair.x;
        to[1] = pair.y;
    }
    #pragma unroll
    for (uint i = 0; i < VALUES / 4; i++) {
        float4 quad = ((device const float4*)from)[i];
        #pragma unroll
        for (uint j = 0; j < 4; j++) to[4 * i + j] = quad[j];
    }
}

template <int VALUES>
static inline void fm_store_floats(thread const float* from, device float* to) {
    if (VALUES == 1) to[0] = from[0];
    if (VALUES == 2) {
        float2 pair;
        pair.x = from[0];
        pair.y = from[1];
        *(device float2*)to = pair;
    }
    #pragma unroll
    for (uint i = 0; i < VALUES / 4; i++) {
        float4 quad;
        #pragma unroll
        for (uint j = 0; j < 4; j++) quad[j] = from[4 * i + j];
        ((device float4*)to)[i] = quad;
    }
}

/// Four rows of a value head's state a simdgroup; lane l holds columns [l * VALUES, (l + 1) * VALUES) of all four in
/// registers for the whole batch, so the state is read and written once, in order. Keys and queries are brought to unit
/// length here, queries also times key_dim^-0.5. What is read is decay (S q) + delta (k q), so that one round of sums
/// serves recall and result. VALUES * 32 >= key_dim, a multiple of VALUES.
/// Grid: (ceil(value_dim / (4 * simdgroups)), value_heads).
template <int VALUES>
kernel void fm_delta_step(device const float* qkv [[buffer(0)]],
                          device const float* a [[buffer(1)]],
                          device const float* b [[buffer(2)]],
                          device const float* a_log [[buffer(3)]],
                          device const float* dt_bias [[buffer(4)]],
                          device float* state [[buffer(5)]],
                          device float* out [[buffer(6)]],
                          constant FmDeltaStepArgs& args [[buffer(7)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]],
                          uint simd [[simdgroup_index_in_threadgroup]],
                          uint simds [[simdgroups_per_threadgroup]])
{
    constexpr uint rows = 4;
    uint head = block.y;
    uint first = (block.x * simds + simd) * rows;
    uint key_head = head / (args.value_heads / args.key_heads);
    uint key_size = args.key_heads * args.key_dim;
    uint channels = 2 * key_size + args.value_heads * args.value_dim;
    bool is_used = lane * VALUES < args.key_dim;
    uint column = is_used ? lane * VALUES : 0;
    float s[rows][VALUES];
    #pragma unroll
    for (uint r = 0; r < rows; r++) {
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) s[r][i] = 0.0f;
        // A row behind the last is not read in its place: its simdgroup may have begun to write it.
        if (first + r < args.value_dim && is_used) {
            fm_load_floats<VALUES>(state + (ulong(head) * args.value_dim + first + r) * args.key_dim + column, s[r]);
        }
    }
    // Sums 0 to 3 are recalls of the rows, 4 to 7 their products with the query; four lanes hold each.
    uint mine = min(first + lane / 4 % 4, args.value_dim - 1);
    float rate = -exp(a_log[head]);
    for (uint t = 0; t < args.tokens; t++) {
        device const float* token = qkv + t * channels;
        float k[VALUES];
        float q[VALUES];
        fm_load_floats<VALUES>(token + key_size + key_head * args.key_dim + column, k);
        fm_load_floats<VALUES>(token + key_head * args.key_dim + column, q);
        float value = token[2 * key_size + head * args.value_dim + mine];
        float decay = exp(rate * fm_softplus(a[t * args.value_heads + head] + dt_bias[head]));
        float beta = fm_sigmoid(b[t * args.value_heads + head]);
        float pairs[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        float sums[8];
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) {
            k[i] = is_used ? k[i] : 0.0f;
            q[i] = is_used ? q[i] : 0.0f;
            pairs[0] = fma(k[i], k[i], pairs[0]);
            pairs[1] = fma(q[i], q[i], pairs[1]);
            pairs[2] = fma(k[i], q[i], pairs[2]);
        }
        #pragma unroll
        for (uint r = 0; r < rows; r++) {
            float recall = 0.0f;
            float read = 0.0f;
            #pragma unroll
            for (uint i = 0; i < uint(VALUES); i++) {
                recall = fma(s[r][i], k[i], recall);
                read = fma(s[r][i], q[i], read);
            }
            sums[r] = recall;
            sums[rows + r] = read;
        }
        float pair = fm_sum4(pairs, lane);
        float key_unit = 1.0f / sqrt(simd_broadcast(pair, 0) + args.qk_norm_eps);
        float query_unit = 1.0f / (sqrt(simd_broadcast(pair, 8) + args.qk_norm_eps) * sqrt(float(args.key_dim)));
        float both = simd_broadcast(pair, 16);
        float sum = fm_sum8(sums, lane) * decay;
        float delta = beta * (value - sum * key_unit) * key_unit;
        float other = simd_shuffle_xor(delta, 16);
        if (lane >= 16 && lane % 4 == 0 && first + lane / 4 % 4 < args.value_dim) {
            out[(t * args.value_heads + head) * args.value_dim + mine] = (sum + other * both) * query_unit;
        }
        #pragma unroll
        for (uint r = 0; r < rows; r++) {
            float change = simd_broadcast(delta, ushort(4 * r));
            #pragma unroll
            for (uint i = 0; i < uint(VALUES); i++) s[r][i] = fma(change, k[i], s[r][i] * decay);
        }
    }
    #pragma unroll
    for (uint r = 0; r < rows; r++) {
        if (first + r >= args.value_dim || !is_used) continue;
        fm_store_floats<VALUES>(s[r], state + (ulong(head) * args.value_dim + first + r) * args.key_dim + column);
    }
}

template [[host_name("fm_delta_step_32")]] [[kernel]] decltype(fm_delta_step<1>) fm_delta_step<1>;
template [[host_name("fm_delta_step_64")]] [[kernel]] decltype(fm_delta_step<2>) fm_delta_step<2>;
template [[host_name("fm_delta_step_128")]] [[kernel]] decltype(fm_delta_step<4>) fm_delta_step<4>;
template [[host_name("fm_delta_step_256")]] [[kernel]] decltype(fm_delta_step<8>) fm_delta_step<8>;

/// out = rms(out; norm, eps) * silu(z), head by head. Grid: (value_heads, tokens), one simdgroup each.
kernel void fm_gated_norm(device float* out [[buffer(0)]],
                          device const float* z [[buffer(1)]],
                          device const float* weight [[buffer(2)]],
                          constant FmDeltaStepArgs& args [[buffer(3)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]])
{
    uint at = (block.y * args.value_heads + block.x) * args.value_dim;
    float sum = 0.0f;
    for (uint i = lane; i < args.value_dim; i += FM_SIMD) sum = fma(out[at + i], out[at + i], sum);
    float factor = 1.0f / sqrt(simd_sum(sum) / float(args.value_dim) + args.norm_eps);
    for (uint i = lane; i < args.value_dim; i += FM_SIMD) {
        out[at + i] = out[at + i] * factor * weight[i] * fm_silu(z[at + i]);
    }
}
