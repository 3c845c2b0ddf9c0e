// Matrix times many vectors (prefill): a tile of weights is decoded once into threadgroup memory and multiplied with
// a tile of tokens. No matrix units: the subset we can verify has none.
#include "args.h"
#include "common.h"

constant constexpr uint FM_DEPTH = 32;
/// Columns lie one behind the other; four floats of padding keep them in different banks.
constant constexpr uint FM_ROW_PITCH = FM_MATMUL_ROWS + 4;
constant constexpr uint FM_TOKEN_PITCH = FM_MATMUL_TOKENS + 4;

/// 64 rows x 32 tokens a threadgroup. Its two halves of 128 threads take every other tile of 32 columns, so that one
/// computes while the other waits; a thread owns 4 rows x 4 tokens of its half's sums, and fetches 16 columns of a row and
/// 8 of a token for the tile after the one it multiplies.
/// Grid: (ceil(rows / FM_MATMUL_ROWS), ceil(tokens / FM_MATMUL_TOKENS)). cols % 32 == 0, group % 32 == 0.
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
    constexpr uint words = BITS / 2;
    constexpr uint codes = 32 / BITS;
    threadgroup float rows_tile[2 * FM_DEPTH * FM_ROW_PITCH];
    threadgroup float tokens_tile[2 * FM_DEPTH * FM_TOKEN_PITCH];
    uint side = thread_index / 128;
    uint index = thread_index % 128;
    threadgroup float* w = rows_tile + side * (FM_DEPTH * FM_ROW_PITCH);
    threadgroup float* v = tokens_tile + side * (FM_DEPTH * FM_TOKEN_PITCH);
    uint row = index % FM_MATMUL_ROWS;
    uint row_part = index / FM_MATMUL_ROWS * 16;
    uint token = index % FM_MATMUL_TOKENS;
    uint token_part = index / FM_MATMUL_TOKENS * 8;
    ulong line = min(block.x * FM_MATMUL_ROWS + row, args.rows - 1);
    device const uint* packed = weight + line * (args.cols * uint(BITS) / 32) + row_part * uint(BITS) / 32;
    ulong group_line = line * (args.cols / args.group);
    device const float* input = x + ulong(min(block.y * FM_MATMUL_TOKENS + token, args.tokens - 1)) * args.x_stride + token_part;
    uint out_row = index % 16 * 4;
    uint out_token = index / 16 * 4;
    float4 sums[4];
    #pragma unroll
    for (uint t = 0; t < 4; t++) sums[t] = float4(0.0f);

    uint next[words];
    float4 next_x[2];
    float scale = 0.0f;
    float bias = 0.0f;
    #pragma unroll
    for (uint i = 0; i < words; i++) next[i] = 0;
    // A turn more than there are tiles: each fetches the tile of the next one.
    for (uint pair = 0; pair < args.cols + 2 * FM_DEPTH; pair += 2 * FM_DEPTH) {
        if (pair > 0) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            #pragma unroll
            for (uint i = 0; i < 16; i++) {
                float code = float((next[i / codes] >> (BITS * (i % codes))) & ((1u << BITS) - 1u));
                w[(row_part + i) * FM_ROW_PITCH + row] = fma(scale, code, bias);
            }
            #pragma unroll
            for (uint i = 0; i < 8; i++) v[(token_part + i) * FM_TOKEN_PITCH + token] = next_x[i / 4][i % 4];
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        uint first = pair + side * FM_DEPTH;
        next_x[0] = float4(0.0f);
        next_x[1] = float4(0.0f);
        if (first < args.cols) {
            fm_load_words<words>(packed + first * uint(BITS) / 32, next);
            scale = float(scales[group_line + (first + row_part) / args.group]);
            bias = float(biases[group_line + (first + row_part) / args.group]);
            next_x[0] = ((device const float4*)(input + first))[0];
            next_x[1] = ((device const float4*)(input + first))[1];
        }
        if (pair == 0) continue;
        for (uint k = 0; k < FM_DEPTH; k++) {
            float4 rows = *(threadgroup const float4*)(w + k * FM_ROW_PITCH + out_row);
            float4 tokens = *(threadgroup const float4*)(v + k * FM_TOKEN_PITCH + out_token);
            #pragma unroll
            for (uint t = 0; t < 4; t++) sums[t] = fma(rows, float4(tokens[t]), sums[t]);
        }
    }
    // The second half hands its sums to the first through its own tile.
    threadgroup float4* handed = (threadgroup float4*)(rows_tile + FM_DEPTH * FM_ROW_PITCH);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    #pragma unroll
    for (uint t = 0; t < 4; t++) {
        if (side == 1) handed[t * 128 + index] = sums[t];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (side == 1) return;
    #pragma unroll
    for (uint t = 0; t < 4; t++) sums[t] += handed[t * 128 + index];
    #pragma unroll
    for (uint t = 0; t < 4; t++) {
        uint to = block.y * FM_MATMUL_TOKENS + out_token + t;
        #pragma unroll
        for (uint r = 0; r < 4; r++) {
            uint at = block.x * FM_MATMUL_ROWS + out_row + r;
            if (at < args.rows && to < args.tokens) y[ulong(to) * args.y_stride + at] = sums[t][r];
        }
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
