// Matrix times many vectors (prefill).
#include "args.h"
#include "common.h"
#include "rows.h"
#include "tiles.h"

/// 64 rows x 32 tokens a threadgroup, whose two halves take a half of the columns each, so that one computes while the other
/// waits. Grid: (ceil(rows / FM_MATMUL_ROWS), ceil(tokens / FM_MATMUL_TOKENS)). cols % 32 == 0, group % 32 == 0.
template <int BITS, typename S>
kernel void fm_matmul(device const uint* weight [[buffer(0)]],
                      device const S* scales [[buffer(1)]],
                      device const S* biases [[buffer(2)]],
                      device const float* x [[buffer(3)]],
                      device float* y [[buffer(4)]],
                      constant FmLinearArgs& args [[buffer(5)]],
                      uint3 block [[threadgroup_position_in_grid]],
                      uint thread_index [[thread_index_in_threadgroup]])
{
    threadgroup float weights[2 * FM_ROWS_TILE];
    threadgroup float vectors[2 * FM_VECTORS_TILE];
    uint side = thread_index / 128;
    uint index = thread_index % 128;
    FmRows<S> matrix = {weight, scales, biases, args.rows, args.cols * uint(BITS) / 32, args.cols / args.group};
    FmTileShare share = fm_half_of_columns(args.cols, args.group, block.x * FM_MATMUL_ROWS, side);
    uint token = block.y * FM_MATMUL_TOKENS;
    device const float* first = x + ulong(min(token + fm_vector_of<FM_MATMUL_TOKENS>(index, 0), args.tokens - 1)) * args.x_stride;
    device const float* second = x + ulong(min(token + fm_vector_of<FM_MATMUL_TOKENS>(index, 1), args.tokens - 1)) * args.x_stride;
    fm_multiply_tiles<BITS, S, FM_MATMUL_TOKENS>(matrix, share, first, second, weights, vectors, side, index);
    for (uint i = 0; i < FM_MATMUL_ROWS * FM_MATMUL_TOKENS / FM_MATMUL_THREADS; i++) {
        uint at = i * FM_MATMUL_THREADS + thread_index;
        uint row = at % FM_MATMUL_ROWS;
        uint to = at / FM_MATMUL_ROWS;
        threadgroup const float* sums = weights + to * FM_SUMS_PITCH + row;
        uint line = block.x * FM_MATMUL_ROWS + row;
        uint place = block.y * FM_MATMUL_TOKENS + to;
        if (line < args.rows && place < args.tokens) y[ulong(place) * args.y_stride + line] = sums[0] + sums[FM_ROWS_TILE];
    }
}

template [[host_name("fm_matmul_q2_bf16")]] [[kernel]] decltype(fm_matmul<2, bfloat>) fm_matmul<2, bfloat>;
template [[host_name("fm_matmul_q2_f16")]] [[kernel]] decltype(fm_matmul<2, half>) fm_matmul<2, half>;
template [[host_name("fm_matmul_q2_f32")]] [[kernel]] decltype(fm_matmul<2, float>) fm_matmul<2, float>;
template [[host_name("fm_matmul_q4_bf16")]] [[kernel]] decltype(fm_matmul<4, bfloat>) fm_matmul<4, bfloat>;
template [[host_name("fm_matmul_q4_f16")]] [[kernel]] decltype(fm_matmul<4, half>) fm_matmul<4, half>;
template [[host_name("fm_matmul_q4_f32")]] [[kernel]] decltype(fm_matmul<4, float>) fm_matmul<4, float>;
template [[host_name("fm_matmul_q8_bf16")]] [[kernel]] decltype(fm_matmul<8, bfloat>) fm_matmul<8, bfloat>;
template [[host_name("fm_matmul_q8_f16")]] [[kernel]] decltype(fm_matmul<8, half>) fm_matmul<8, half>;
template [[host_name("fm_matmul_q8_f32")]] [[kernel]] decltype(fm_matmul<8, float>) fm_matmul<8, float>;
