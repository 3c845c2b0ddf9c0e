// Gated delta net: causal depthwise convolution, the recurrence on a [value_dim, key_dim] state a value head, and
// the gated norm of what it reads. Formulas: docs/format.md.
#include "args.h"
#include "common.h"

constant constexpr uint FM_MAX_CONV = 8;

/// Convolution over the tokens of a batch, then silu; the history moves on by as many tokens. In place.
/// Grid: (ceil(channels / threads)). weight [kernel, channels], history [kernel - 1, channels], oldest first.
kernel void fm_delta_conv(device float* qkv [[buffer(0)]],
                          device const float* weight [[buffer(1)]],
                          device float* history [[buffer(2)]],
                          constant FmDeltaConvArgs& args [[buffer(3)]],
                          uint channel [[thread_position_in_grid]])
{
    if (channel >= args.channels) return;
    float past[FM_MAX_CONV];
    uint before = args.conv_kernel - 1;
    for (uint i = 0; i < before; i++) past[i] = history[i * args.channels + channel];
    float taps[FM_MAX_CONV];
    for (uint i = 0; i < args.conv_kernel; i++) taps[i] = weight[i * args.channels + channel];
    for (uint t = 0; t < args.tokens; t++) {
        float now = qkv[t * args.channels + channel];
        float sum = taps[before] * now;
        for (uint i = 0; i < before; i++) sum = fma(taps[i], past[i], sum);
        for (uint i = 1; i < before; i++) past[i - 1] = past[i];
        past[before - 1] = now;
        qkv[t * args.channels + channel] = fm_silu(sum);
    }
    for (uint i = 0; i < before; i++) history[i * args.channels + channel] = past[i];
}

/// Queries and keys to unit length, queries also times key_dim^-0.5. Grid: (2 * key_heads, tokens), one simdgroup each.
kernel void fm_delta_unit(device float* qkv [[buffer(0)]],
                          constant FmDeltaConvArgs& args [[buffer(1)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]])
{
    device float* head = qkv + block.y * args.channels + block.x * args.key_dim;
    float sum = 0.0f;
    for (uint i = lane; i < args.key_dim; i += FM_SIMD) sum = fma(head[i], head[i], sum);
    float factor = 1.0f / sqrt(simd_sum(sum) + args.qk_norm_eps);
    if (block.x < args.key_heads) factor = factor / sqrt(float(args.key_dim));
    for (uint i = lane; i < args.key_dim; i += FM_SIMD) head[i] = head[i] * factor;
}

/// Four rows of a value head's state a simdgroup; a lane holds the same columns of all four in registers for the
/// whole batch, so the state is read and written once, in order. VALUES * 32 = key_dim rounded up.
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
    float s[rows][VALUES];
    for (uint r = 0; r < rows; r++) {
        uint row = min(first + r, args.value_dim - 1);
        // A row behind the last is not read in its place: its simdgroup may have begun to write it.
        bool is_row = first + r < args.value_dim;
        device const float* line = state + (ulong(head) * args.value_dim + row) * args.key_dim;
        for (uint i = 0; i < uint(VALUES); i++) {
            uint column = i * FM_SIMD + lane;
            s[r][i] = is_row && column < args.key_dim ? line[column] : 0.0f;
        }
    }
    float rate = -exp(a_log[head]);
    for (uint t = 0; t < args.tokens; t++) {
        device const float* token = qkv + t * channels;
        device const float* query = token + key_head * args.key_dim;
        device const float* key = query + key_size;
        device const float* value = token + 2 * key_size + head * args.value_dim;
        float decay = exp(rate * fm_softplus(a[t * args.value_heads + head] + dt_bias[head]));
        float beta = fm_sigmoid(b[t * args.value_heads + head]);
        float k[VALUES];
        float q[VALUES];
        for (uint i = 0; i < uint(VALUES); i++) {
            uint column = i * FM_SIMD + lane;
            k[i] = column < args.key_dim ? key[column] : 0.0f;
            q[i] = column < args.key_dim ? query[column] : 0.0f;
        }
        for (uint r = 0; r < rows; r++) {
            uint row = min(first + r, args.value_dim - 1);
            float recall = 0.0f;
            for (uint i = 0; i < uint(VALUES); i++) {
                s[r][i] = s[r][i] * decay;
                recall = fma(s[r][i], k[i], recall);
            }
            float delta = beta * (value[row] - simd_sum(recall));
            float read = 0.0f;
            for (uint i = 0; i < uint(VALUES); i++) {
                s[r][i] = fma(delta, k[i], s[r][i]);
                read = fma(s[r][i], q[i], read);
            }
            read = simd_sum(read);
            if (lane == 0 && first + r < args.value_dim) {
                out[(t * args.value_heads + head) * args.value_dim + row] = read;
            }
        }
    }
    for (uint r = 0; r < rows; r++) {
        if (first + r >= args.value_dim) continue;
        device float* line = state + (ulong(head) * args.value_dim + first + r) * args.key_dim;
        for (uint i = 0; i < uint(VALUES); i++) {
            uint column = i * FM_SIMD + lane;
            if (column < args.key_dim) line[column] = s[r][i];
        }
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
