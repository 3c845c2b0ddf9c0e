// Embedding rows, norms and the small sums between larger operations.
#include "args.h"
#include "common.h"

/// y[t] = row ids[t]. Grid: (ceil(cols / threads), tokens).
template <int BITS, typename S>
kernel void fm_embed(device const uint* weight [[buffer(0)]],
                     device const S* scales [[buffer(1)]],
                     device const S* biases [[buffer(2)]],
                     device const int* ids [[buffer(3)]],
                     device float* y [[buffer(4)]],
                     constant FmEmbedArgs& args [[buffer(5)]],
                     uint3 block [[threadgroup_position_in_grid]],
                     uint3 size [[threads_per_threadgroup]],
                     uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.cols) return;
    ulong row = ulong(ids[block.y]);
    device const uint* line = weight + row * (args.cols * uint(BITS) / 32);
    ulong place = row * (args.cols / args.group) + column / args.group;
    float code = float(fm_code<BITS>(line, column));
    y[block.y * args.cols + column] = fma(float(scales[place]), code, float(biases[place]));
}

template <typename S>
kernel void fm_embed_plain(device const S* weight [[buffer(0)]],
                           device const int* ids [[buffer(3)]],
                           device float* y [[buffer(4)]],
                           constant FmEmbedArgs& args [[buffer(5)]],
                           uint3 block [[threadgroup_position_in_grid]],
                           uint3 size [[threads_per_threadgroup]],
                           uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.cols) return;
    y[block.y * args.cols + column] = float(weight[ulong(ids[block.y]) * args.cols + column]);
}

template [[host_name("fm_embed_q4_bf16")]] [[kernel]] decltype(fm_embed<4, bfloat>) fm_embed<4, bfloat>;
template [[host_name("fm_embed_q4_f16")]] [[kernel]] decltype(fm_embed<4, half>) fm_embed<4, half>;
template [[host_name("fm_embed_q4_f32")]] [[kernel]] decltype(fm_embed<4, float>) fm_embed<4, float>;
template [[host_name("fm_embed_q8_bf16")]] [[kernel]] decltype(fm_embed<8, bfloat>) fm_embed<8, bfloat>;
template [[host_name("fm_embed_q8_f16")]] [[kernel]] decltype(fm_embed<8, half>) fm_embed<8, half>;
template [[host_name("fm_embed_q8_f32")]] [[kernel]] decltype(fm_embed<8, float>) fm_embed<8, float>;
template [[host_name("fm_embed_q2_bf16")]] [[kernel]] decltype(fm_embed<2, bfloat>) fm_embed<2, bfloat>;
template [[host_name("fm_embed_q2_f16")]] [[kernel]] decltype(fm_embed<2, half>) fm_embed<2, half>;
template [[host_name("fm_embed_q2_f32")]] [[kernel]] decltype(fm_embed<2, float>) fm_embed<2, float>;
template [[host_name("fm_embed_bf16")]] [[kernel]] decltype(fm_embed_plain<bfloat>) fm_embed_plain<bfloat>;
template [[host_name("fm_embed_f16")]] [[kernel]] decltype(fm_embed_plain<half>) fm_embed_plain<half>;
template [[host_name("fm_embed_f32")]] [[kernel]] decltype(fm_embed_plain<float>) fm_embed_plain<float>;

/// Sum over all threads of a threadgroup; `partial` holds a number for each simdgroup.
static inline float fm_sum_all(float value, threadgroup float* partial, uint lane, uint simd, uint simds) {
    value = simd_sum(value);
    if (lane == 0) partial[simd] = value;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return simd_sum(lane < simds ? partial[lane] : 0.0f);
}

/// y = x / sqrt(mean(x^2) + eps) * weight. Grid: (tokens). x and y may be the same.
kernel void fm_rms_norm(device const float* x [[buffer(0)]],
                        device const float* weight [[buffer(1)]],
                        device float* y [[buffer(2)]],
                        constant FmNormArgs& args [[buffer(3)]],
                        uint3 block [[threadgroup_position_in_grid]],
                        uint3 size [[threads_per_threadgroup]],
                        uint index [[thread_index_in_threadgroup]],
                        uint lane [[thread_index_in_simdgroup]],
                        uint simd [[simdgroup_index_in_threadgroup]],
                        uint simds [[simdgroups_per_threadgroup]])
{
    threadgroup float partial[FM_SIMD];
    ulong row = ulong(block.x) * args.width;
    float sum = 0.0f;
    for (uint i = index; i < args.width; i += size.x) sum = fma(x[row + i], x[row + i], sum);
    float factor = 1.0f / sqrt(fm_sum_all(sum, partial, lane, simd, simds) / float(args.width) + args.eps);
    for (uint i = index; i < args.width; i += size.x) y[row + i] = x[row + i] * factor * weight[i];
}

/// y = 0.
kernel void fm_clear(device float* y [[buffer(0)]],
                     constant FmCountArgs& args [[buffer(1)]],
                     uint index [[thread_position_in_grid]])
{
    if (index < args.count) y[index] = 0.0f;
}

/// y += x, out = rms_norm(y): a residual and the norm after it. Grid: (tokens).
kernel void fm_add_norm(device float* y [[buffer(0)]],
                        device const float* x [[buffer(1)]],
                        device const float* weight [[buffer(2)]],
                        device float* out [[buffer(3)]],
                        constant FmNormArgs& args [[buffer(4)]],
                        uint3 block [[threadgroup_position_in_grid]],
                        uint3 size [[threads_per_threadgroup]],
                        uint index [[thread_index_in_threadgroup]],
                        uint lane [[thread_index_in_simdgroup]],
                        uint simd [[simdgroup_index_in_threadgroup]],
                        uint simds [[simdgroups_per_threadgroup]])
{
    threadgroup float partial[FM_SIMD];
    ulong row = ulong(block.x) * args.width;
    float sum = 0.0f;
    for (uint i = index; i < args.width; i += size.x) {
        float value = y[row + i] + x[row + i];
        y[row + i] = value;
        sum = fma(value, value, sum);
    }
    float factor = 1.0f / sqrt(fm_sum_all(sum, partial, lane, simd, simds) / float(args.width) + args.eps);
    // Each thread reads back what it wrote itself.
    for (uint i = index; i < args.width; i += size.x) out[row + i] = y[row + i] * factor * weight[i];
}

/// y += x.
kernel void fm_add(device float* y [[buffer(0)]],
                   device const float* x [[buffer(1)]],
                   constant FmCountArgs& args [[buffer(2)]],
                   uint at [[thread_position_in_grid]])
{
    if (at < args.count) y[at] += x[at];
}

/// y[t] += sigmoid(gate[t]) * x[t], or y += x. Grid: (ceil(width / threads), tokens).
kernel void fm_add_gated(device float* y [[buffer(0)]],
                         device const float* x [[buffer(1)]],
                         device const float* gate [[buffer(2)]],
                         constant FmGatedAddArgs& args [[buffer(3)]],
                         uint3 block [[threadgroup_position_in_grid]],
                         uint3 size [[threads_per_threadgroup]],
                         uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.width) return;
    float factor = args.gated != 0 ? fm_sigmoid(gate[block.y]) : 1.0f;
    uint at = block.y * args.width + column;
    y[at] = fma(factor, x[at], y[at]);
}

/// y = silu(gate) * up. y may be gate or up.
kernel void fm_swiglu(device const float* gate [[buffer(0)]],
                      device const float* up [[buffer(1)]],
                      device float* y [[buffer(2)]],
                      constant FmCountArgs& args [[buffer(3)]],
                      uint at [[thread_position_in_grid]])
{
    if (at < args.count) y[at] = fm_silu(gate[at]) * up[at];
}
