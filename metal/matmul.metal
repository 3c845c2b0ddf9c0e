// Matrix times many vectors (prefill): a tile of weights is decoded once into threadgroup memory and multiplied with
// a tile of tokens. No matrix units: the subset we can verify has none.
#include "args.h"
#include "common.h"

constant constexpr uint FM_ROWS = 64;
constant constexpr uint FM_TOKENS = 32;
constant constexpr uint FM_DEPTH = 32;
/// One float of padding keeps column reads of neighbouring rows in different banks.
constant constexpr uint FM_PITCH = FM_DEPTH + 1;

/// 64 rows x 32 tokens a threadgroup of 256 threads; a thread owns 4 rows x 2 tokens.
static inline void fm_tile_product(threadgroup const float* w, threadgroup const float* x, uint row, uint token,
                                   thread float* sums) {
    for (uint k = 0; k < FM_DEPTH; k++) {
        float x0 = x[token * FM_PITCH + k];
        float x1 = x[(token + 16) * FM_PITCH + k];
        for (uint r = 0; r < 4; r++) {
            float value = w[(row + 16 * r) * FM_PITCH + k];
            sums[2 * r] = fma(value, x0, sums[2 * r]);
            sums[2 * r + 1] = fma(value, x1, sums[2 * r + 1]);
        }
    }
}

/// Grid: (ceil(rows / 64), ceil(tokens / 32)), 256 threads. cols % 32 == 0, group % 32 == 0.
template <int BITS, typename S>
kernel void fm_matmul(device const uint* weight [[buffer(0)]],
                      device const S* scales [[buffer(1)]],
                      device const S* biases [[buffer(2)]],
                      device const float* x [[buffer(3)]],
                      device float* y [[buffer(4)]],
                      constant FmLinearArgs& args [[buffer(5)]],
                      uint3 block [[threadgroup_position_in_grid]],
                      uint index [[thread_index_in_threadgroup]])
{
    threadgroup float w[FM_ROWS * FM_PITCH];
    threadgroup float v[FM_TOKENS * FM_PITCH];
    uint words = args.cols * uint(BITS) / 32;
    uint groups = args.cols / args.group;
    uint row = index % 16;
    uint token = index / 16;
    float sums[8];
    for (uint i = 0; i < 8; i++) sums[i] = 0.0f;
    for (uint first = 0; first < args.cols; first += FM_DEPTH) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        // A thread decodes eight columns of one row: 64 rows x 4 pieces.
        uint r = index / 4;
        uint piece = index % 4 * 8;
        uint source = min(block.x * FM_ROWS + r, args.rows - 1);
        ulong place = ulong(source) * groups + (first + piece) / args.group;
        float scale = float(scales[place]);
        float bias = float(biases[place]);
        device const uint* line = weight + ulong(source) * words;
        for (uint i = 0; i < 8; i++) {
            w[r * FM_PITCH + piece + i] = fma(scale, float(fm_code<BITS>(line, first + piece + i)), bias);
        }
        for (uint i = index; i < FM_TOKENS * FM_DEPTH; i += 256) {
            uint t = min(block.y * FM_TOKENS + i / FM_DEPTH, args.tokens - 1);
            v[i / FM_DEPTH * FM_PITCH + i % FM_DEPTH] = x[ulong(t) * args.x_stride + first + i % FM_DEPTH];
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        fm_tile_product(w, v, row, token, sums);
    }
    for (uint r = 0; r < 4; r++) {
        uint out_row = block.x * FM_ROWS + row + 16 * r;
        for (uint t = 0; t < 2; t++) {
            uint out_token = block.y * FM_TOKENS + token + 16 * t;
            if (out_row < args.rows && out_token < args.tokens) y[ulong(out_token) * args.y_stride + out_row] = sums[2 * r + t];
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
