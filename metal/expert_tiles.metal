// Routed experts of many tokens each: as experts.metal, a tile of TOKENS entries of a work at a time.
#include "args.h"
#include "common.h"
#include "rows.h"
#include "tiles.h"
#include "works.h"

/// h[entry, row] = silu(gate . x[token]) * (up . x[token]); the halves of a threadgroup have a matrix each.
/// Grid: (ceil(width / FM_MATMUL_ROWS), tiles of all works), FM_MATMUL_THREADS.
template <int BITS, typename S, int TOKENS>
kernel void fm_expert_tile_gate_up(device const uchar* data [[buffer(0)]],
                                   constant FmExpertWork* works [[buffer(1)]],
                                   constant uint* tokens [[buffer(2)]],
                                   device const float* x [[buffer(3)]],
                                   device float* h [[buffer(4)]],
                                   constant FmExpertArgs& args [[buffer(5)]],
                                   uint3 block [[threadgroup_position_in_grid]],
                                   uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup float weights[2 * FM_ROWS_TILE];
    threadgroup float vectors[2 * FM_VECTORS_TILE];
    uint side = thread_index / 128;
    uint index = thread_index % 128;
    FmTileOfWork tile = fm_tile_of<TOKENS>(works, block.y);
    constant FmExpertWork& work = works[tile.work];
    FmRows<S> matrix = fm_expert_matrix<BITS, S>(data, side == 0 ? work.gate_weight : work.up_weight, side == 0 ? work.gate_scales : work.up_scales,
                                                 side == 0 ? work.gate_biases : work.up_biases, args.width, args.hidden, args.group);
    FmTileShare share = {args.group, block.x * FM_MATMUL_ROWS, 0, args.hidden, args.hidden / FM_DEPTH};
    uint first = tokens[tile.first + min(fm_vector_of<TOKENS>(index, 0), tile.count - 1)];
    uint second = tokens[tile.first + min(fm_vector_of<TOKENS>(index, 1), tile.count - 1)];
    fm_multiply_tiles<BITS, S, TOKENS>(matrix, share, x + ulong(first) * args.hidden, x + ulong(second) * args.hidden, weights, vectors, side, index);
    for (uint at = thread_index; at < FM_MATMUL_ROWS * TOKENS; at += FM_MATMUL_THREADS) {
        uint row = at % FM_MATMUL_ROWS;
        uint to = at / FM_MATMUL_ROWS;
        threadgroup const float* sums = weights + to * FM_SUMS_PITCH + row;
        uint line = block.x * FM_MATMUL_ROWS + row;
        if (line < args.width && to < tile.count) h[(tile.first + to) * args.width + line] = fm_silu(sums[0]) * sums[FM_ROWS_TILE];
    }
}

/// out[entry, row] = weight[entry] * (down . h[entry]); the halves of a threadgroup take a half of the columns each.
/// Grid: (ceil(hidden / FM_MATMUL_ROWS), tiles of all works), FM_MATMUL_THREADS.
template <int BITS, typename S, int TOKENS>
kernel void fm_expert_tile_down(device const uchar* data [[buffer(0)]],
                                constant FmExpertWork* works [[buffer(1)]],
                                constant float* routed [[buffer(2)]],
                                device const float* h [[buffer(3)]],
                                device float* out [[buffer(4)]],
                                constant FmExpertArgs& args [[buffer(5)]],
                                uint3 block [[threadgroup_position_in_grid]],
                                uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup float weights[2 * FM_ROWS_TILE];
    threadgroup float vectors[2 * FM_VECTORS_TILE];
    uint side = thread_index / 128;
    uint index = thread_index % 128;
    FmTileOfWork tile = fm_tile_of<TOKENS>(works, block.y);
    constant FmExpertWork& work = works[tile.work];
    FmRows<S> matrix = fm_expert_matrix<BITS, S>(data, work.down_weight, work.down_scales, work.down_biases, args.hidden, args.width, args.group);
    FmTileShare share = fm_half_of_columns(args.width, args.group, block.x * FM_MATMUL_ROWS, side);
    uint first = tile.first + min(fm_vector_of<TOKENS>(index, 0), tile.count - 1);
    uint second = tile.first + min(fm_vector_of<TOKENS>(index, 1), tile.count - 1);
    fm_multiply_tiles<BITS, S, TOKENS>(matrix, share, h + ulong(first) * args.width, h + ulong(second) * args.width, weights, vectors, side, index);
    for (uint at = thread_index; at < FM_MATMUL_ROWS * TOKENS; at += FM_MATMUL_THREADS) {
        uint row = at % FM_MATMUL_ROWS;
        uint to = at / FM_MATMUL_ROWS;
        threadgroup const float* sums = weights + to * FM_SUMS_PITCH + row;
        uint line = block.x * FM_MATMUL_ROWS + row;
        if (line >= args.hidden || to >= tile.count) continue;
        uint place = tile.first + to;
        out[ulong(place) * args.hidden + line] = routed[place] * (sums[0] + sums[FM_ROWS_TILE]);
    }
}

template [[host_name("fm_expert_tile_gate_up_8_q2_bf16")]] [[kernel]] decltype(fm_expert_tile_gate_up<2, bfloat, 8>) fm_expert_tile_gate_up<2, bfloat, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q2_f16")]] [[kernel]] decltype(fm_expert_tile_gate_up<2, half, 8>) fm_expert_tile_gate_up<2, half, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q2_f32")]] [[kernel]] decltype(fm_expert_tile_gate_up<2, float, 8>) fm_expert_tile_gate_up<2, float, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q4_bf16")]] [[kernel]] decltype(fm_expert_tile_gate_up<4, bfloat, 8>) fm_expert_tile_gate_up<4, bfloat, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q4_f16")]] [[kernel]] decltype(fm_expert_tile_gate_up<4, half, 8>) fm_expert_tile_gate_up<4, half, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q4_f32")]] [[kernel]] decltype(fm_expert_tile_gate_up<4, float, 8>) fm_expert_tile_gate_up<4, float, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q8_bf16")]] [[kernel]] decltype(fm_expert_tile_gate_up<8, bfloat, 8>) fm_expert_tile_gate_up<8, bfloat, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q8_f16")]] [[kernel]] decltype(fm_expert_tile_gate_up<8, half, 8>) fm_expert_tile_gate_up<8, half, 8>;
template [[host_name("fm_expert_tile_gate_up_8_q8_f32")]] [[kernel]] decltype(fm_expert_tile_gate_up<8, float, 8>) fm_expert_tile_gate_up<8, float, 8>;
template [[host_name("fm_expert_tile_gate_up_32_q2_bf16")]] [[kernel]] decltype(fm_expert_tile_gate_up<2, bfloat, 32>) fm_expert_tile_gate_up<2, bfloat, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q2_f16")]] [[kernel]] decltype(fm_expert_tile_gate_up<2, half, 32>) fm_expert_tile_gate_up<2, half, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q2_f32")]] [[kernel]] decltype(fm_expert_tile_gate_up<2, float, 32>) fm_expert_tile_gate_up<2, float, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q4_bf16")]] [[kernel]] decltype(fm_expert_tile_gate_up<4, bfloat, 32>) fm_expert_tile_gate_up<4, bfloat, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q4_f16")]] [[kernel]] decltype(fm_expert_tile_gate_up<4, half, 32>) fm_expert_tile_gate_up<4, half, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q4_f32")]] [[kernel]] decltype(fm_expert_tile_gate_up<4, float, 32>) fm_expert_tile_gate_up<4, float, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q8_bf16")]] [[kernel]] decltype(fm_expert_tile_gate_up<8, bfloat, 32>) fm_expert_tile_gate_up<8, bfloat, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q8_f16")]] [[kernel]] decltype(fm_expert_tile_gate_up<8, half, 32>) fm_expert_tile_gate_up<8, half, 32>;
template [[host_name("fm_expert_tile_gate_up_32_q8_f32")]] [[kernel]] decltype(fm_expert_tile_gate_up<8, float, 32>) fm_expert_tile_gate_up<8, float, 32>;
template [[host_name("fm_expert_tile_down_8_q2_bf16")]] [[kernel]] decltype(fm_expert_tile_down<2, bfloat, 8>) fm_expert_tile_down<2, bfloat, 8>;
template [[host_name("fm_expert_tile_down_8_q2_f16")]] [[kernel]] decltype(fm_expert_tile_down<2, half, 8>) fm_expert_tile_down<2, half, 8>;
template [[host_name("fm_expert_tile_down_8_q2_f32")]] [[kernel]] decltype(fm_expert_tile_down<2, float, 8>) fm_expert_tile_down<2, float, 8>;
template [[host_name("fm_expert_tile_down_8_q4_bf16")]] [[kernel]] decltype(fm_expert_tile_down<4, bfloat, 8>) fm_expert_tile_down<4, bfloat, 8>;
template [[host_name("fm_expert_tile_down_8_q4_f16")]] [[kernel]] decltype(fm_expert_tile_down<4, half, 8>) fm_expert_tile_down<4, half, 8>;
template [[host_name("fm_expert_tile_down_8_q4_f32")]] [[kernel]] decltype(fm_expert_tile_down<4, float, 8>) fm_expert_tile_down<4, float, 8>;
template [[host_name("fm_expert_tile_down_8_q8_bf16")]] [[kernel]] decltype(fm_expert_tile_down<8, bfloat, 8>) fm_expert_tile_down<8, bfloat, 8>;
template [[host_name("fm_expert_tile_down_8_q8_f16")]] [[kernel]] decltype(fm_expert_tile_down<8, half, 8>) fm_expert_tile_down<8, half, 8>;
template [[host_name("fm_expert_tile_down_8_q8_f32")]] [[kernel]] decltype(fm_expert_tile_down<8, float, 8>) fm_expert_tile_down<8, float, 8>;
template [[host_name("fm_expert_tile_down_32_q2_bf16")]] [[kernel]] decltype(fm_expert_tile_down<2, bfloat, 32>) fm_expert_tile_down<2, bfloat, 32>;
template [[host_name("fm_expert_tile_down_32_q2_f16")]] [[kernel]] decltype(fm_expert_tile_down<2, half, 32>) fm_expert_tile_down<2, half, 32>;
template [[host_name("fm_expert_tile_down_32_q2_f32")]] [[kernel]] decltype(fm_expert_tile_down<2, float, 32>) fm_expert_tile_down<2, float, 32>;
template [[host_name("fm_expert_tile_down_32_q4_bf16")]] [[kernel]] decltype(fm_expert_tile_down<4, bfloat, 32>) fm_expert_tile_down<4, bfloat, 32>;
template [[host_name("fm_expert_tile_down_32_q4_f16")]] [[kernel]] decltype(fm_expert_tile_down<4, half, 32>) fm_expert_tile_down<4, half, 32>;
template [[host_name("fm_expert_tile_down_32_q4_f32")]] [[kernel]] decltype(fm_expert_tile_down<4, float, 32>) fm_expert_tile_down<4, float, 32>;
template [[host_name("fm_expert_tile_down_32_q8_bf16")]] [[kernel]] decltype(fm_expert_tile_down<8, bfloat, 32>) fm_expert_tile_down<8, bfloat, 32>;
template [[host_name("fm_expert_tile_down_32_q8_f16")]] [[kernel]] decltype(fm_expert_tile_down<8, half, 32>) fm_expert_tile_down<8, half, 32>;
template [[host_name("fm_expert_tile_down_32_q8_f32")]] [[kernel]] decltype(fm_expert_tile_down<8, float, 32>) fm_expert_tile_down<8, float, 32>;
