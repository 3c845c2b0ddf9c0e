// Matrix times vector. Weights are read once, in order, 16 bytes a lane.
#include "args.h"
#include "common.h"
#include "rows.h"

/// Grid: (ceil(rows / (rows_each * FM_ROW_SIMDS / parts)), tokens), FM_ROW_SIMDS simdgroups. cols % 32 == 0,
/// group % 32 == 0, rows_each % 4 == 0.
template <int BITS, typename S>
kernel void fm_matvec(device const uint* weight [[buffer(0)]],
                      device const S* scales [[buffer(1)]],
                      device const S* biases [[buffer(2)]],
                      device const float* x [[buffer(3)]],
                      device float* y [[buffer(4)]],
                      constant FmLinearArgs& args [[buffer(5)]],
                      uint3 block [[threadgroup_position_in_grid]],
                      uint lane [[thread_index_in_simdgroup]],
                      uint simd [[simdgroup_index_in_threadgroup]])
{
    threadgroup float4 staged[FM_ROW_SIMDS * FM_SLICE_QUADS];
    threadgroup float sums[FM_ROW_SUMS];
    threadgroup float* mine = sums + simd * FM_MAX_ROWS_EACH;
    FmRows<S> matrix = {weight, scales, biases, args.rows, args.cols * uint(BITS) / 32, args.cols / args.group};
    FmWalk walk = fm_walk(args.cols, args.group, args.parts, args.rows_each, args.exponent, block.x, simd);
    fm_walk_rows<BITS, S>(matrix, x + block.y * args.x_stride, walk, staged + simd * FM_SLICE_QUADS, mine, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint row = walk.first + lane;
    if (walk.part == 0 && lane < walk.rows_each && row < args.rows) {
        y[block.y * args.y_stride + row] = fm_sum_parts(mine, walk.parts, lane);
    }
}

/// Unquantised weights of type S. Grid as above; any cols.
template <typename S>
kernel void fm_matvec_plain(device const S* weight [[buffer(0)]],
                            device const float* x [[buffer(3)]],
                            device float* y [[buffer(4)]],
                            constant FmLinearArgs& args [[buffer(5)]],
                            uint3 block [[threadgroup_position_in_grid]],
                            uint lane [[thread_index_in_simdgroup]],
                            uint simd [[simdgroup_index_in_threadgroup]],
                            uint simds [[simdgroups_per_threadgroup]])
{
    uint row = block.x * simds + simd;
    uint safe = min(row, args.rows - 1);
    device const S* line = weight + ulong(safe) * args.cols;
    device const float* input = x + block.y * args.x_stride;
    float sum = 0.0f;
    for (uint column = lane; column < args.cols; column += FM_SIMD) sum = fma(float(line[column]), input[column], sum);
    sum = simd_sum(sum);
    if (lane == 0 && row < args.rows) y[block.y * args.y_stride + row] = sum;
}

template [[host_name("fm_matvec_q4_bf16")]] [[kernel]] decltype(fm_matvec<4, bfloat>) fm_matvec<4, bfloat>;
template [[host_name("fm_matvec_q4_f16")]] [[kernel]] decltype(fm_matvec<4, half>) fm_matvec<4, half>;
template [[host_name("fm_matvec_q4_f32")]] [[kernel]] decltype(fm_matvec<4, float>) fm_matvec<4, float>;
template [[host_name("fm_matvec_q8_bf16")]] [[kernel]] decltype(fm_matvec<8, bfloat>) fm_matvec<8, bfloat>;
template [[host_name("fm_matvec_q8_f16")]] [[kernel]] decltype(fm_matvec<8, half>) fm_matvec<8, half>;
template [[host_name("fm_matvec_q8_f32")]] [[kernel]] decltype(fm_matvec<8, float>) fm_matvec<8, float>;
template [[host_name("fm_matvec_q2_bf16")]] [[kernel]] decltype(fm_matvec<2, bfloat>) fm_matvec<2, bfloat>;
template [[host_name("fm_matvec_q2_f16")]] [[kernel]] decltype(fm_matvec<2, half>) fm_matvec<2, half>;
template [[host_name("fm_matvec_q2_f32")]] [[kernel]] decltype(fm_matvec<2, float>) fm_matvec<2, float>;
template [[host_name("fm_matvec_bf16")]] [[kernel]] decltype(fm_matvec_plain<bfloat>) fm_matvec_plain<bfloat>;
template [[host_name("fm_matvec_f16")]] [[kernel]] decltype(fm_matvec_plain<half>) fm_matvec_plain<half>;
template [[host_name("fm_matvec_f32")]] [[kernel]] decltype(fm_matvec_plain<float>) fm_matvec_plain<float>;
