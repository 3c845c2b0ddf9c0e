// Matrix times vector. Weights are read once, in order, 16 bytes a lane; each lane multiplies 32 columns of ROWS
// rows with the same staged x. The bias of a group enters as bias * sum(x): one multiplication for 32 weights.
#include "args.h"
#include "common.h"

/// Fills `staged` with columns [first, first + width) of x; zero behind the end is not needed, width % 32 == 0.
static inline void fm_stage(device const float* x, threadgroup float* staged, uint first, uint width, uint index,
                            uint threads) {
    for (uint column = index * 4; column < width; column += threads * 4) {
        float4 value = *(device const float4*)(x + first + column);
        *(threadgroup float4*)(staged + fm_padded(column)) = value;
    }
}

/// 32 staged columns into registers; returns their sum.
static inline float fm_take32(threadgroup const float* staged, uint column, thread float4* x) {
    threadgroup const float4* from = (threadgroup const float4*)(staged + fm_padded(column));
    float4 sum = float4(0.0f);
    for (uint i = 0; i < 8; i++) {
        x[i] = from[i];
        sum += x[i];
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

/// Grid: (ceil(rows / (ROWS * simdgroups)), tokens). cols % 32 == 0, group % 32 == 0.
template <int BITS, typename S, int ROWS>
kernel void fm_matvec(device const uint* weight [[buffer(0)]],
                      device const S* scales [[buffer(1)]],
                      device const S* biases [[buffer(2)]],
                      device const float* x [[buffer(3)]],
                      device float* y [[buffer(4)]],
                      constant FmLinearArgs& args [[buffer(5)]],
                      uint3 block [[threadgroup_position_in_grid]],
                      uint3 size [[threads_per_threadgroup]],
                      uint index [[thread_index_in_threadgroup]],
                      uint lane [[thread_index_in_simdgroup]],
                      uint simd [[simdgroup_index_in_threadgroup]],
                      uint simds [[simdgroups_per_threadgroup]])
{
    threadgroup float staged[FM_TILE_PADDED];
    uint first = (block.x * simds + simd) * ROWS;
    uint words = args.cols * uint(BITS) / 32;
    uint groups = args.cols / args.group;
    device const float* input = x + block.y * args.x_stride;
    float sums[ROWS];
    for (uint r = 0; r < uint(ROWS); r++) sums[r] = 0.0f;

    for (uint tile = 0; tile < args.cols; tile += FM_TILE) {
        uint width = min(FM_TILE, args.cols - tile);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        fm_stage(input, staged, tile, width, index, size.x);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint column = lane * 32; column < width; column += FM_SIMD * 32) {
            float4 values[8];
            float total = fm_take32(staged, column, values);
            uint at = (tile + column) * uint(BITS) / 32;
            uint group = (tile + column) / args.group;
            for (uint r = 0; r < uint(ROWS); r++) {
                uint row = min(first + r, args.rows - 1);
                float product = fm_dot32<BITS>(weight + ulong(row) * words + at, values);
                ulong place = ulong(row) * groups + group;
                sums[r] = fma(float(scales[place]), product, fma(float(biases[place]), total, sums[r]));
            }
        }
    }
    for (uint r = 0; r < uint(ROWS); r++) {
        float sum = simd_sum(sums[r]);
        if (lane == 0 && first + r < args.rows) y[block.y * args.y_stride + first + r] = sum;
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

template [[host_name("fm_matvec_q4_bf16")]] [[kernel]] decltype(fm_matvec<4, bfloat, 4>) fm_matvec<4, bfloat, 4>;
template [[host_name("fm_matvec_q4_f16")]] [[kernel]] decltype(fm_matvec<4, half, 4>) fm_matvec<4, half, 4>;
template [[host_name("fm_matvec_q4_f32")]] [[kernel]] decltype(fm_matvec<4, float, 4>) fm_matvec<4, float, 4>;
template [[host_name("fm_matvec_q8_bf16")]] [[kernel]] decltype(fm_matvec<8, bfloat, 2>) fm_matvec<8, bfloat, 2>;
template [[host_name("fm_matvec_q8_f16")]] [[kernel]] decltype(fm_matvec<8, half, 2>) fm_matvec<8, half, 2>;
template [[host_name("fm_matvec_q8_f32")]] [[kernel]] decltype(fm_matvec<8, float, 2>) fm_matvec<8, float, 2>;
template [[host_name("fm_matvec_q2_bf16")]] [[kernel]] decltype(fm_matvec<2, bfloat, 4>) fm_matvec<2, bfloat, 4>;
template [[host_name("fm_matvec_q2_f16")]] [[kernel]] decltype(fm_matvec<2, half, 4>) fm_matvec<2, half, 4>;
template [[host_name("fm_matvec_q2_f32")]] [[kernel]] decltype(fm_matvec<2, float, 4>) fm_matvec<2, float, 4>;
template [[host_name("fm_matvec_bf16")]] [[kernel]] decltype(fm_matvec_plain<bfloat>) fm_matvec_plain<bfloat>;
template [[host_name("fm_matvec_f16")]] [[kernel]] decltype(fm_matvec_plain<half>) fm_matvec_plain<half>;
template [[host_name("fm_matvec_f32")]] [[kernel]] decltype(fm_matvec_plain<float>) fm_matvec_plain<float>;
