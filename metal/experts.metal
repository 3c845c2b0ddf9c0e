// Routed experts: all of a step's experts in one dispatch for gate and up, one for down, one to add them up.
// Weights lie in the buffer that reads from disk have filled; each work says where, in bytes.
#include "args.h"
#include "common.h"

/// Entry `index` belongs to the last work whose first entry is not behind it.
static inline uint fm_work_of(constant FmExpertWork* works, uint count, uint index) {
    uint work = 0;
    while (work + 1 < count && works[work + 1].first <= index) work++;
    return work;
}

/// ROWS rows of one matrix times the x that `staged` holds; sums stay per lane.
template <int BITS, typename S, int ROWS>
static inline void fm_expert_rows(device const uchar* data, uint weight, uint scales, uint biases, uint first, uint rows,
                                  uint cols, uint group, device const float* x, uint lane, thread float* sums) {
    uint words = cols * uint(BITS) / 32;
    uint groups = cols / group;
    device const uint* codes = (device const uint*)(data + weight);
    device const S* scale = (device const S*)(data + scales);
    device const S* bias = (device const S*)(data + biases);
    for (uint column = lane * 32; column < cols; column += FM_SIMD * 32) {
        float4 values[8];
        float4 parts = float4(0.0f);
        for (uint i = 0; i < 8; i++) {
            values[i] = ((device const float4*)(x + column))[i];
            parts += values[i];
        }
        float total = (parts.x + parts.y) + (parts.z + parts.w);
        for (uint r = 0; r < uint(ROWS); r++) {
            uint row = min(first + r, rows - 1);
            float product = fm_dot32<BITS>(codes + ulong(row) * words + column * uint(BITS) / 32, values);
            uint place = row * groups + column / group;
            sums[r] = fma(float(scale[place]), product, fma(float(bias[place]), total, sums[r]));
        }
    }
}

/// The same for unquantised weights of type S.
template <typename S>
static inline float fm_expert_row(device const uchar* data, uint weight, uint row, uint cols, device const float* x, uint lane) {
    device const S* line = (device const S*)(data + weight) + ulong(row) * cols;
    float sum = 0.0f;
    for (uint column = lane; column < cols; column += FM_SIMD) sum = fma(float(line[column]), x[column], sum);
    return simd_sum(sum);
}

/// h[entry, row] = silu(gate . x[token]) * (up . x[token]).
/// Grid: (ceil(width / (ROWS * simdgroups)), entries). tokens[entry] names the row of x.
template <int BITS, typename S, int ROWS>
kernel void fm_expert_gate_up(device const uchar* data [[buffer(0)]],
                              constant FmExpertWork* works [[buffer(1)]],
                              constant uint* tokens [[buffer(2)]],
                              device const float* x [[buffer(3)]],
                              device float* h [[buffer(4)]],
                              constant FmExpertArgs& args [[buffer(5)]],
                              uint3 block [[threadgroup_position_in_grid]],
                              uint lane [[thread_index_in_simdgroup]],
                              uint simd [[simdgroup_index_in_threadgroup]],
                              uint simds [[simdgroups_per_threadgroup]])
{
    uint work = fm_work_of(works, args.works, block.y);
    uint first = (block.x * simds + simd) * ROWS;
    device const float* input = x + ulong(tokens[block.y]) * args.hidden;
    float gate[ROWS];
    float up[ROWS];
    for (uint r = 0; r < uint(ROWS); r++) {
        gate[r] = 0.0f;
        up[r] = 0.0f;
    }
    fm_expert_rows<BITS, S, ROWS>(data, works[work].gate_weight, works[work].gate_scales, works[work].gate_biases, first,
                                  args.width, args.hidden, args.group, input, lane, gate);
    fm_expert_rows<BITS, S, ROWS>(data, works[work].up_weight, works[work].up_scales, works[work].up_biases, first,
                                  args.width, args.hidden, args.group, input, lane, up);
    for (uint r = 0; r < uint(ROWS); r++) {
        float g = simd_sum(gate[r]);
        float u = simd_sum(up[r]);
        if (lane == 0 && first + r < args.width) h[block.y * args.width + first + r] = fm_silu(g) * u;
    }
}

/// out[entry, row] = weight[entry] * (down . h[entry]). Grid: (ceil(hidden / (ROWS * simdgroups)), entries).
template <int BITS, typename S, int ROWS>
kernel void fm_expert_down(device const uchar* data [[buffer(0)]],
                           constant FmExpertWork* works [[buffer(1)]],
                           constant float* weights [[buffer(2)]],
                           device const float* h [[buffer(3)]],
                           device float* out [[buffer(4)]],
                           constant FmExpertArgs& args [[buffer(5)]],
                           uint3 block [[threadgroup_position_in_grid]],
                           uint lane [[thread_index_in_simdgroup]],
                           uint simd [[simdgroup_index_in_threadgroup]],
                           uint simds [[simdgroups_per_threadgroup]])
{
    uint work = fm_work_of(works, args.works, block.y);
    uint first = (block.x * simds + simd) * ROWS;
    float sums[ROWS];
    for (uint r = 0; r < uint(ROWS); r++) sums[r] = 0.0f;
    fm_expert_rows<BITS, S, ROWS>(data, works[work].down_weight, works[work].down_scales, works[work].down_biases, first,
                                  args.hidden, args.width, args.group, h + block.y * args.width, lane, sums);
    for (uint r = 0; r < uint(ROWS); r++) {
        float sum = simd_sum(sums[r]);
        if (lane == 0 && first + r < args.hidden) out[ulong(block.y) * args.hidden + first + r] = weights[block.y] * sum;
    }
}

/// Unquantised weights: one row a simdgroup. Grid: (ceil(width / simdgroups), entries).
template <typename S>
kernel void fm_expert_gate_up_plain(device const uchar* data [[buffer(0)]],
                                    constant FmExpertWork* works [[buffer(1)]],
                                    constant uint* tokens [[buffer(2)]],
                                    device const float* x [[buffer(3)]],
                                    device float* h [[buffer(4)]],
                                    constant FmExpertArgs& args [[buffer(5)]],
                                    uint3 block [[threadgroup_position_in_grid]],
                                    uint lane [[thread_index_in_simdgroup]],
                                    uint simd [[simdgroup_index_in_threadgroup]],
                                    uint simds [[simdgroups_per_threadgroup]])
{
    uint work = fm_work_of(works, args.works, block.y);
    uint row = block.x * simds + simd;
    uint safe = min(row, args.width - 1);
    device const float* input = x + ulong(tokens[block.y]) * args.hidden;
    float gate = fm_expert_row<S>(data, works[work].gate_weight, safe, args.hidden, input, lane);
    float up = fm_expert_row<S>(data, works[work].up_weight, safe, args.hidden, input, lane);
    if (lane == 0 && row < args.width) h[block.y * args.width + row] = fm_silu(gate) * up;
}

template <typename S>
kernel void fm_expert_down_plain(device const uchar* data [[buffer(0)]],
                                 constant FmExpertWork* works [[buffer(1)]],
                                 constant float* weights [[buffer(2)]],
                                 device const float* h [[buffer(3)]],
                                 device float* out [[buffer(4)]],
                                 constant FmExpertArgs& args [[buffer(5)]],
                                 uint3 block [[threadgroup_position_in_grid]],
                                 uint lane [[thread_index_in_simdgroup]],
                                 uint simd [[simdgroup_index_in_threadgroup]],
                                 uint simds [[simdgroups_per_threadgroup]])
{
    uint work = fm_work_of(works, args.works, block.y);
    uint row = block.x * simds + simd;
    uint safe = min(row, args.hidden - 1);
    float sum = fm_expert_row<S>(data, works[work].down_weight, safe, args.width, h + block.y * args.width, lane);
    if (lane == 0 && row < args.hidden) out[ulong(block.y) * args.hidden + row] = weights[block.y] * sum;
}

/// y[token] += every entry of that token, in ascending entry order, so that the sum does not depend on timing.
/// Grid: (ceil(hidden / threads), tokens).
kernel void fm_combine(device const float* out [[buffer(0)]],
                       constant uint* tokens [[buffer(1)]],
                       device float* y [[buffer(2)]],
                       constant FmCombineArgs& args [[buffer(3)]],
                       uint3 block [[threadgroup_position_in_grid]],
                       uint3 size [[threads_per_threadgroup]],
                       uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.hidden) return;
    float sum = y[ulong(block.y) * args.hidden + column];
    for (uint entry = 0; entry < args.entries; entry++) {
        if (tokens[entry] == block.y) sum += out[ulong(entry) * args.hidden + column];
    }
    y[ulong(block.y) * args.hidden + column] = sum;
}

template [[host_name("fm_expert_gate_up_q2_bf16")]] [[kernel]] decltype(fm_expert_gate_up<2, bfloat, 4>) fm_expert_gate_up<2, bfloat, 4>;
template [[host_name("fm_expert_gate_up_q2_f16")]] [[kernel]] decltype(fm_expert_gate_up<2, half, 4>) fm_expert_gate_up<2, half, 4>;
template [[host_name("fm_expert_gate_up_q2_f32")]] [[kernel]] decltype(fm_expert_gate_up<2, float, 4>) fm_expert_gate_up<2, float, 4>;
template [[host_name("fm_expert_gate_up_q4_bf16")]] [[kernel]] decltype(fm_expert_gate_up<4, bfloat, 4>) fm_expert_gate_up<4, bfloat, 4>;
template [[host_name("fm_expert_gate_up_q4_f16")]] [[kernel]] decltype(fm_expert_gate_up<4, half, 4>) fm_expert_gate_up<4, half, 4>;
template [[host_name("fm_expert_gate_up_q4_f32")]] [[kernel]] decltype(fm_expert_gate_up<4, float, 4>) fm_expert_gate_up<4, float, 4>;
template [[host_name("fm_expert_gate_up_q8_bf16")]] [[kernel]] decltype(fm_expert_gate_up<8, bfloat, 2>) fm_expert_gate_up<8, bfloat, 2>;
template [[host_name("fm_expert_gate_up_q8_f16")]] [[kernel]] decltype(fm_expert_gate_up<8, half, 2>) fm_expert_gate_up<8, half, 2>;
template [[host_name("fm_expert_gate_up_q8_f32")]] [[kernel]] decltype(fm_expert_gate_up<8, float, 2>) fm_expert_gate_up<8, float, 2>;
template [[host_name("fm_expert_down_q2_bf16")]] [[kernel]] decltype(fm_expert_down<2, bfloat, 4>) fm_expert_down<2, bfloat, 4>;
template [[host_name("fm_expert_down_q2_f16")]] [[kernel]] decltype(fm_expert_down<2, half, 4>) fm_expert_down<2, half, 4>;
template [[host_name("fm_expert_down_q2_f32")]] [[kernel]] decltype(fm_expert_down<2, float, 4>) fm_expert_down<2, float, 4>;
template [[host_name("fm_expert_down_q4_bf16")]] [[kernel]] decltype(fm_expert_down<4, bfloat, 4>) fm_expert_down<4, bfloat, 4>;
template [[host_name("fm_expert_down_q4_f16")]] [[kernel]] decltype(fm_expert_down<4, half, 4>) fm_expert_down<4, half, 4>;
template [[host_name("fm_expert_down_q4_f32")]] [[kernel]] decltype(fm_expert_down<4, float, 4>) fm_expert_down<4, float, 4>;
template [[host_name("fm_expert_down_q8_bf16")]] [[kernel]] decltype(fm_expert_down<8, bfloat, 2>) fm_expert_down<8, bfloat, 2>;
template [[host_name("fm_expert_down_q8_f16")]] [[kernel]] decltype(fm_expert_down<8, half, 2>) fm_expert_down<8, half, 2>;
template [[host_name("fm_expert_down_q8_f32")]] [[kernel]] decltype(fm_expert_down<8, float, 2>) fm_expert_down<8, float, 2>;
template [[host_name("fm_expert_gate_up_bf16")]] [[kernel]] decltype(fm_expert_gate_up_plain<bfloat>) fm_expert_gate_up_plain<bfloat>;
template [[host_name("fm_expert_down_bf16")]] [[kernel]] decltype(fm_expert_down_plain<bfloat>) fm_expert_down_plain<bfloat>;
template [[host_name("fm_expert_gate_up_f16")]] [[kernel]] decltype(fm_expert_gate_up_plain<half>) fm_expert_gate_up_plain<half>;
template [[host_name("fm_expert_down_f16")]] [[kernel]] decltype(fm_expert_down_plain<half>) fm_expert_down_plain<half>;
template [[host_name("fm_expert_gate_up_f32")]] [[kernel]] decltype(fm_expert_gate_up_plain<float>) fm_expert_gate_up_plain<float>;
template [[host_name("fm_expert_down_f32")]] [[kernel]] decltype(fm_expert_down_plain<float>) fm_expert_down_plain<float>;
