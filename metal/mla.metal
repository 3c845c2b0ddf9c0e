// Latent attention in absorbed form: queries go into latent space, the 16-bit cache [tokens, latent_dim + rope_dim]
// serves as key and value for all heads, and each head's latent result is expanded once.
#include "args.h"
#include "common.h"

constant constexpr uint FM_MAX_ROPE = 128;
constant constexpr float FM_MLA_CODE_MAX = 32767.0f;

static inline void fm_rotate_part(threadgroup float* part, device const float* cos_sin, uint dims, uint interleaved, uint lane) {
    for (uint i = lane; i < dims / 2; i += FM_SIMD) {
        uint a = interleaved != 0 ? 2 * i : i;
        uint b = interleaved != 0 ? 2 * i + 1 : i + dims / 2;
        float c = cos_sin[2 * i];
        float s = cos_sin[2 * i + 1];
        float x = part[a];
        float y = part[b];
        part[a] = x * c - y * s;
        part[b] = fma(y, c, x * s);
    }
}

/// Rotates the last rope_dim values of each query in place, and writes norm(latent) and the rotated key part to the
/// cache: codes [tokens, latent_dim + rope_dim], scales [tokens, 2]. Grid: (heads + 1, tokens), one simdgroup each;
/// the last one of a token is the key.
kernel void fm_mla_append(device float* q [[buffer(0)]],
                          device const float* c [[buffer(1)]],
                          device const float* norm [[buffer(2)]],
                          device const float* cos_sin [[buffer(3)]],
                          device short* codes [[buffer(4)]],
                          device float* scales [[buffer(5)]],
                          constant FmMlaAppendArgs& args [[buffer(6)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]])
{
    threadgroup float part[FM_MAX_ROPE];
    uint token = block.y;
    bool is_key = block.x == args.heads;
    uint width = args.latent_dim + args.rope_dim;
    device const float* input = c + token * width;
    uint q_at = (token * args.heads + (is_key ? 0 : block.x)) * (args.nope_dim + args.rope_dim) + args.nope_dim;
    for (uint i = lane; i < args.rope_dim; i += FM_SIMD) part[i] = is_key ? input[args.latent_dim + i] : q[q_at + i];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    fm_rotate_part(part, cos_sin + token * args.rope_dim, args.rope_dim, args.interleaved, lane);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (!is_key) {
        for (uint i = lane; i < args.rope_dim; i += FM_SIMD) q[q_at + i] = part[i];
        return;
    }
    ulong row = ulong(args.position + token);
    device short* to = codes + row * width;
    float sum = 0.0f;
    for (uint i = lane; i < args.latent_dim; i += FM_SIMD) sum = fma(input[i], input[i], sum);
    float factor = 1.0f / sqrt(simd_sum(sum) / float(args.latent_dim) + args.eps);
    float largest = 0.0f;
    for (uint i = lane; i < args.latent_dim; i += FM_SIMD) largest = max(largest, abs(input[i] * factor * norm[i]));
    largest = simd_max(largest);
    float inverse = largest > 0.0f ? FM_MLA_CODE_MAX / largest : 0.0f;
    for (uint i = lane; i < args.latent_dim; i += FM_SIMD) to[i] = short(rint(input[i] * factor * norm[i] * inverse));
    float rotated = 0.0f;
    for (uint i = lane; i < args.rope_dim; i += FM_SIMD) rotated = max(rotated, abs(part[i]));
    rotated = simd_max(rotated);
    inverse = rotated > 0.0f ? FM_MLA_CODE_MAX / rotated : 0.0f;
    for (uint i = lane; i < args.rope_dim; i += FM_SIMD) to[args.latent_dim + i] = short(rint(part[i] * inverse));
    if (lane == 0) {
        scales[2 * row] = largest / FM_MLA_CODE_MAX;
        scales[2 * row + 1] = rotated / FM_MLA_CODE_MAX;
    }
}

/// y[head, row] = W[head * rows + row] . x[head]: one matrix a head. x and y advance by their strides from head to
/// head and token to token. Grid: (ceil(rows / simdgroups), heads, tokens).
template <int BITS, typename S>
kernel void fm_head_matvec(device const uint* weight [[buffer(0)]],
                           device const S* scales [[buffer(1)]],
                           device const S* biases [[buffer(2)]],
                           device const float* x [[buffer(3)]],
                           device float* y [[buffer(4)]],
                           constant FmHeadLinearArgs& args [[buffer(5)]],
                           uint3 block [[threadgroup_position_in_grid]],
                           uint lane [[thread_index_in_simdgroup]],
                           uint simd [[simdgroup_index_in_threadgroup]],
                           uint simds [[simdgroups_per_threadgroup]])
{
    uint row = block.x * simds + simd;
    ulong line = ulong(block.y) * args.head_rows + args.first_row + min(row, args.rows - 1);
    device const uint* codes = weight + line * (args.cols * uint(BITS) / 32);
    device const float* input = x + (block.z * args.heads + block.y) * args.x_stride;
    float sum = 0.0f;
    for (uint column = lane; column < args.cols; column += FM_SIMD) {
        ulong place = line * (args.cols / args.group) + column / args.group;
        float value = fma(float(scales[place]), float(fm_code<BITS>(codes, column)), float(biases[place]));
        sum = fma(value, input[column], sum);
    }
    sum = simd_sum(sum);
    if (lane == 0 && row < args.rows) y[(block.z * args.heads + block.y) * args.y_stride + row] = sum;
}

/// The same for unquantised weights.
template <typename S>
kernel void fm_head_matvec_plain(device const S* weight [[buffer(0)]],
                                 device const float* x [[buffer(3)]],
                                 device float* y [[buffer(4)]],
                                 constant FmHeadLinearArgs& args [[buffer(5)]],
                                 uint3 block [[threadgroup_position_in_grid]],
                                 uint lane [[thread_index_in_simdgroup]],
                                 uint simd [[simdgroup_index_in_threadgroup]],
                                 uint simds [[simdgroups_per_threadgroup]])
{
    uint row = block.x * simds + simd;
    ulong line = ulong(block.y) * args.head_rows + args.first_row + min(row, args.rows - 1);
    device const float* input = x + (block.z * args.heads + block.y) * args.x_stride;
    float sum = 0.0f;
    for (uint column = lane; column < args.cols; column += FM_SIMD) {
        sum = fma(float(weight[line * args.cols + column]), input[column], sum);
    }
    sum = simd_sum(sum);
    if (lane == 0 && row < args.rows) y[(block.z * args.heads + block.y) * args.y_stride + row] = sum;
}

/// y[head, column] = sum_row W[head, row, column] x[head, row]: the transposed use of kv_b for queries. Lanes take
/// neighbouring columns, so rows are read in order. Grid: (ceil(cols / threads), heads, tokens).
template <typename S>
kernel void fm_head_matvec_transposed(device const S* weight [[buffer(0)]],
                                      device const float* x [[buffer(3)]],
                                      device float* y [[buffer(4)]],
                                      constant FmHeadLinearArgs& args [[buffer(5)]],
                                      uint3 block [[threadgroup_position_in_grid]],
                                      uint3 size [[threads_per_threadgroup]],
                                      uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.cols) return;
    device const float* input = x + (block.z * args.heads + block.y) * args.x_stride;
    ulong line = ulong(block.y) * args.head_rows + args.first_row;
    float sum = 0.0f;
    for (uint row = 0; row < args.rows; row++) {
        sum = fma(float(weight[(line + row) * args.cols + column]), input[row], sum);
    }
    y[(block.z * args.heads + block.y) * args.y_stride + column] = sum;
}

/// The same for packed weights.
template <int BITS, typename S>
kernel void fm_head_matvec_transposed_q(device const uint* weight [[buffer(0)]],
                                        device const S* scales [[buffer(1)]],
                                        device const S* biases [[buffer(2)]],
                                        device const float* x [[buffer(3)]],
                                        device float* y [[buffer(4)]],
                                        constant FmHeadLinearArgs& args [[buffer(5)]],
                                        uint3 block [[threadgroup_position_in_grid]],
                                        uint3 size [[threads_per_threadgroup]],
                                        uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.cols) return;
    device const float* input = x + (block.z * args.heads + block.y) * args.x_stride;
    float sum = 0.0f;
    for (uint row = 0; row < args.rows; row++) {
        ulong line = ulong(block.y) * args.head_rows + args.first_row + row;
        ulong place = line * (args.cols / args.group) + column / args.group;
        float code = float(fm_code<BITS>(weight + line * (args.cols * uint(BITS) / 32), column));
        sum = fma(fma(float(scales[place]), code, float(biases[place])), input[row], sum);
    }
    y[(block.z * args.heads + block.y) * args.y_stride + column] = sum;
}

template [[host_name("fm_head_matvec_transposed_q2_bf16")]] [[kernel]] decltype(fm_head_matvec_transposed_q<2, bfloat>) fm_head_matvec_transposed_q<2, bfloat>;
template [[host_name("fm_head_matvec_transposed_q2_f16")]] [[kernel]] decltype(fm_head_matvec_transposed_q<2, half>) fm_head_matvec_transposed_q<2, half>;
template [[host_name("fm_head_matvec_transposed_q2_f32")]] [[kernel]] decltype(fm_head_matvec_transposed_q<2, float>) fm_head_matvec_transposed_q<2, float>;
template [[host_name("fm_head_matvec_transposed_q4_bf16")]] [[kernel]] decltype(fm_head_matvec_transposed_q<4, bfloat>) fm_head_matvec_transposed_q<4, bfloat>;
template [[host_name("fm_head_matvec_transposed_q4_f16")]] [[kernel]] decltype(fm_head_matvec_transposed_q<4, half>) fm_head_matvec_transposed_q<4, half>;
template [[host_name("fm_head_matvec_transposed_q4_f32")]] [[kernel]] decltype(fm_head_matvec_transposed_q<4, float>) fm_head_matvec_transposed_q<4, float>;
template [[host_name("fm_head_matvec_transposed_q8_bf16")]] [[kernel]] decltype(fm_head_matvec_transposed_q<8, bfloat>) fm_head_matvec_transposed_q<8, bfloat>;
template [[host_name("fm_head_matvec_transposed_q8_f16")]] [[kernel]] decltype(fm_head_matvec_transposed_q<8, half>) fm_head_matvec_transposed_q<8, half>;
template [[host_name("fm_head_matvec_transposed_q8_f32")]] [[kernel]] decltype(fm_head_matvec_transposed_q<8, float>) fm_head_matvec_transposed_q<8, float>;
template [[host_name("fm_head_matvec_q2_bf16")]] [[kernel]] decltype(fm_head_matvec<2, bfloat>) fm_head_matvec<2, bfloat>;
template [[host_name("fm_head_matvec_q2_f16")]] [[kernel]] decltype(fm_head_matvec<2, half>) fm_head_matvec<2, half>;
template [[host_name("fm_head_matvec_q2_f32")]] [[kernel]] decltype(fm_head_matvec<2, float>) fm_head_matvec<2, float>;
template [[host_name("fm_head_matvec_q4_bf16")]] [[kernel]] decltype(fm_head_matvec<4, bfloat>) fm_head_matvec<4, bfloat>;
template [[host_name("fm_head_matvec_q4_f16")]] [[kernel]] decltype(fm_head_matvec<4, half>) fm_head_matvec<4, half>;
template [[host_name("fm_head_matvec_q4_f32")]] [[kernel]] decltype(fm_head_matvec<4, float>) fm_head_matvec<4, float>;
template [[host_name("fm_head_matvec_q8_bf16")]] [[kernel]] decltype(fm_head_matvec<8, bfloat>) fm_head_matvec<8, bfloat>;
template [[host_name("fm_head_matvec_q8_f16")]] [[kernel]] decltype(fm_head_matvec<8, half>) fm_head_matvec<8, half>;
template [[host_name("fm_head_matvec_q8_f32")]] [[kernel]] decltype(fm_head_matvec<8, float>) fm_head_matvec<8, float>;
template [[host_name("fm_head_matvec_bf16")]] [[kernel]] decltype(fm_head_matvec_plain<bfloat>) fm_head_matvec_plain<bfloat>;
template [[host_name("fm_head_matvec_f16")]] [[kernel]] decltype(fm_head_matvec_plain<half>) fm_head_matvec_plain<half>;
template [[host_name("fm_head_matvec_f32")]] [[kernel]] decltype(fm_head_matvec_plain<float>) fm_head_matvec_plain<float>;
template [[host_name("fm_head_matvec_transposed_bf16")]] [[kernel]] decltype(fm_head_matvec_transposed<bfloat>) fm_head_matvec_transposed<bfloat>;
template [[host_name("fm_head_matvec_transposed_f16")]] [[kernel]] decltype(fm_head_matvec_transposed<half>) fm_head_matvec_transposed<half>;
template [[host_name("fm_head_matvec_transposed_f32")]] [[kernel]] decltype(fm_head_matvec_transposed<float>) fm_head_matvec_transposed<float>;

/// QUERIES heads a simdgroup over the shared cache; latent query [tokens, heads, latent_dim] and the rotated part,
/// `rope` + rope_offset, stride rope_stride a head. LATENT * 32 >= latent_dim, ROPE * 32 >= rope_dim. Partial results
/// as in fm_gqa_attend. Grid: (ceil(heads / (QUERIES * simdgroups)), splits, tokens).
template <int LATENT, int ROPE, int QUERIES>
kernel void fm_mla_attend(device const float* latent [[buffer(0)]],
                          device const float* rope [[buffer(1)]],
                          device const short* codes [[buffer(2)]],
                          device const float* scales [[buffer(3)]],
                          device float* out [[buffer(4)]],
                          device float* stats [[buffer(5)]],
                          constant FmMlaAttendArgs& args [[buffer(6)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]],
                          uint simd [[simdgroup_index_in_threadgroup]],
                          uint simds [[simdgroups_per_threadgroup]])
{
    uint token = block.z;
    uint row = args.latent_dim + args.rope_dim;
    uint begin = block.y * args.split_keys;
    uint end = min(begin + args.split_keys, args.position + token + 1);
    uint head0 = (block.x * simds + simd) * QUERIES;
    float ql[QUERIES][LATENT];
    float qr[QUERIES][ROPE];
    float sum[QUERIES][LATENT];
    float largest[QUERIES];
    float total[QUERIES];
    for (uint j = 0; j < uint(QUERIES); j++) {
        uint head = min(head0 + j, args.heads - 1);
        ulong at = ulong(token) * args.heads + head;
        for (uint i = 0; i < uint(LATENT); i++) {
            uint d = i * FM_SIMD + lane;
            ql[j][i] = d < args.latent_dim ? latent[at * args.latent_dim + d] * args.scale : 0.0f;
            sum[j][i] = 0.0f;
        }
        for (uint i = 0; i < uint(ROPE); i++) {
            uint d = i * FM_SIMD + lane;
            qr[j][i] = d < args.rope_dim ? rope[at * args.rope_stride + args.rope_offset + d] * args.scale : 0.0f;
        }
        largest[j] = -INFINITY;
        total[j] = 0.0f;
    }
    for (uint key = begin; key < end; key++) {
        device const short* from = codes + ulong(key) * row;
        float scale = scales[2 * key];
        float rope_scale = scales[2 * key + 1];
        float value[LATENT];
        float part[ROPE];
        for (uint i = 0; i < uint(LATENT); i++) {
            uint d = i * FM_SIMD + lane;
            value[i] = d < args.latent_dim ? float(from[d]) * scale : 0.0f;
        }
        for (uint i = 0; i < uint(ROPE); i++) {
            uint d = i * FM_SIMD + lane;
            part[i] = d < args.rope_dim ? float(from[args.latent_dim + d]) * rope_scale : 0.0f;
        }
        for (uint j = 0; j < uint(QUERIES); j++) {
            float score = 0.0f;
            for (uint i = 0; i < uint(LATENT); i++) score = fma(value[i], ql[j][i], score);
            for (uint i = 0; i < uint(ROPE); i++) score = fma(part[i], qr[j][i], score);
            score = simd_sum(score);
            float before = largest[j];
            largest[j] = max(before, score);
            float fade = exp(before - largest[j]);
            float weight = exp(score - largest[j]);
            total[j] = fma(total[j], fade, weight);
            for (uint i = 0; i < uint(LATENT); i++) sum[j][i] = fma(sum[j][i], fade, weight * value[i]);
        }
    }
    for (uint j = 0; j < uint(QUERIES); j++) {
        if (head0 + j >= args.heads) continue;
        ulong place = (ulong(token) * args.heads + head0 + j) * args.splits + block.y;
        for (uint i = 0; i < uint(LATENT); i++) {
            uint d = i * FM_SIMD + lane;
            if (d < args.latent_dim) out[place * args.latent_dim + d] = sum[j][i];
        }
        if (lane == 0) {
            stats[2 * place] = largest[j];
            stats[2 * place + 1] = total[j];
        }
    }
}

template [[host_name("fm_mla_attend_128")]] [[kernel]] decltype(fm_mla_attend<4, 2, 2>) fm_mla_attend<4, 2, 2>;
template [[host_name("fm_mla_attend_512")]] [[kernel]] decltype(fm_mla_attend<16, 2, 2>) fm_mla_attend<16, 2, 2>;
