// Latent attention in absorbed form: queries go into latent space, the 16-bit cache [tokens, latent_dim + rope_dim]
// serves as key and value for all heads, and each head's latent result is expanded once.
#include "args.h"
#include "common.h"
#include "cached_keys.h"
#include "rows.h"

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

/// y[head, row] = W[head * head_rows + first_row + row] . x[head]: one matrix a head. x and y advance by their strides
/// from head to head and token to token. A simdgroup walks through four rows.
/// Grid: (ceil(rows / (4 * FM_ROW_SIMDS)), heads, tokens), FM_ROW_SIMDS simdgroups. cols % 32 == 0, group % 32 == 0.
template <int BITS, typename S>
kernel void fm_head_matvec(device const uint* weight [[buffer(0)]],
                           device const S* scales [[buffer(1)]],
                           device const S* biases [[buffer(2)]],
                           device const float* x [[buffer(3)]],
                           device float* y [[buffer(4)]],
                           constant FmHeadLinearArgs& args [[buffer(5)]],
                           uint3 block [[threadgroup_position_in_grid]],
                           uint lane [[thread_index_in_simdgroup]],
                           uint simd [[simdgroup_index_in_threadgroup]])
{
    threadgroup float4 staged[FM_ROW_SIMDS * FM_SLICE_QUADS];
    uint words = args.cols * uint(BITS) / 32;
    uint groups = args.cols / args.group;
    ulong line = ulong(block.y) * args.head_rows + args.first_row;
    FmRows<S> matrix = {weight + line * words, scales + line * groups, biases + line * groups, args.rows, words, groups};
    uint first = (block.x * FM_ROW_SIMDS + simd) * 4;
    device const float* input = x + (block.z * args.heads + block.y) * args.x_stride;
    float sum = 0.0f;
    for (uint begin = 0; begin < args.cols; begin += FM_SLICE) {
        uint width = min(FM_SLICE, args.cols - begin);
        uint column = begin + (lane * 32 < width ? lane * 32 : 0);
        FmFour<BITS, S> four;
        fm_load4<BITS, S>(matrix, first, column * uint(BITS) / 32, column / args.group, four);
        float4 values[8];
        float total = fm_take_slice<BITS>(input + begin, staged + simd * FM_SLICE_QUADS, width, lane, values);
        sum += fm_dot4<BITS, S>(four, args.exponent, values, total, lane);
    }
    uint row = first + lane / 8;
    if (lane % 8 == 0 && row < args.rows) y[(block.z * args.heads + block.y) * args.y_stride + row] = sum;
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

/// The same for packed weights: a lane owns the columns of one word, a simdgroup every FM_TRANSPOSED_SIMDS-th row.
/// Grid: (ceil(words / 32), heads, tokens), FM_TRANSPOSED_SIMDS simdgroups.
template <int BITS, typename S>
kernel void fm_head_matvec_transposed_q(device const uint* weight [[buffer(0)]],
                                        device const S* scales [[buffer(1)]],
                                        device const S* biases [[buffer(2)]],
                                        device const float* x [[buffer(3)]],
                                        device float* y [[buffer(4)]],
                                        constant FmHeadLinearArgs& args [[buffer(5)]],
                                        uint3 block [[threadgroup_position_in_grid]],
                                        uint lane [[thread_index_in_simdgroup]],
                                        uint simd [[simdgroup_index_in_threadgroup]])
{
    constexpr uint codes = 32 / BITS;
    threadgroup float parts[FM_TRANSPOSED_SIMDS * FM_SIMD * codes];
    uint words = args.cols * uint(BITS) / 32;
    uint groups = args.cols / args.group;
    uint word = block.x * FM_SIMD + lane;
    uint safe = min(word, words - 1);
    uint group = safe * codes / args.group;
    device const float* input = x + (block.z * args.heads + block.y) * args.x_stride;
    ulong line = ulong(block.y) * args.head_rows + args.first_row;
    float sums[codes];
    float total = 0.0f;
    #pragma unroll
    for (uint i = 0; i < codes; i++) sums[i] = 0.0f;
    for (uint row = simd; row < args.rows; row += FM_TRANSPOSED_SIMDS) {
        uint packed = weight[(line + row) * words + safe];
        ulong place = (line + row) * groups + group;
        float value = input[row];
        float scaled = float(scales[place]) * value;
        total = fma(float(biases[place]), value, total);
        #pragma unroll
        for (uint i = 0; i < codes; i++) sums[i] = fma(scaled, float((packed >> (BITS * i)) & ((1u << BITS) - 1u)), sums[i]);
    }
    #pragma unroll
    for (uint i = 0; i < codes; i++) parts[(simd * codes + i) * FM_SIMD + lane] = sums[i] + total;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (word >= words) return;
    for (uint i = simd; i < codes; i += FM_TRANSPOSED_SIMDS) {
        float sum = 0.0f;
        for (uint s = 0; s < FM_TRANSPOSED_SIMDS; s++) sum += parts[(s * codes + i) * FM_SIMD + lane];
        y[(block.z * args.heads + block.y) * args.y_stride + word * codes + i] = sum;
    }
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
/// `rope` + rope_offset, stride rope_stride a head. A lane holds VALUES latent dimensions and two rotated ones:
/// latent_dim <= VALUES * 32, rope_dim <= 64, multiples of VALUES and 2; a cached row is a multiple of eight codes.
/// Partial results and scale as in fm_gqa_attend. Grid: (ceil(heads / (QUERIES * FM_ATTEND_SIMDS)), splits, tokens).
template <int VALUES, int QUERIES>
kernel void fm_mla_attend(device const float* latent [[buffer(0)]],
                          device const float* rope [[buffer(1)]],
                          device const short* codes [[buffer(2)]],
                          device const float* scales [[buffer(3)]],
                          device float* out [[buffer(4)]],
                          device float* stats [[buffer(5)]],
                          constant FmMlaAttendArgs& args [[buffer(6)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]],
                          uint simd [[simdgroup_index_in_threadgroup]])
{
    constexpr uint words = VALUES / 2;
    constexpr uint pitch = (VALUES + 2) * FM_SIMD;
    constexpr uint each = FM_TILE_KEYS / FM_ATTEND_SIMDS;
    threadgroup float tile[FM_TILE_KEYS * pitch];
    uint token = block.z;
    uint row = (args.latent_dim + args.rope_dim) / 2;
    bool is_used = lane * VALUES < args.latent_dim;
    bool is_rotated = lane * 2 < args.rope_dim;
    device const uint* latent_words = (device const uint*)codes + (is_used ? lane * words : 0);
    device const uint* rope_words = (device const uint*)codes + args.latent_dim / 2 + (is_rotated ? lane : 0);
    uint begin = block.y * args.split_keys;
    uint end = min(begin + args.split_keys, args.position + token + 1);
    uint head0 = (block.x * FM_ATTEND_SIMDS + simd) * QUERIES;

    float query[QUERIES][VALUES];
    float rope_query[QUERIES][2];
    float sum[QUERIES][VALUES];
    float largest[QUERIES];
    float total[QUERIES];
    #pragma unroll
    for (uint j = 0; j < uint(QUERIES); j++) {
        ulong at = ulong(token) * args.heads + min(head0 + j, args.heads - 1);
        device const float* from = latent + at * args.latent_dim + lane * VALUES;
        device const float* rope_from = rope + at * args.rope_stride + args.rope_offset + lane * 2;
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) {
            query[j][i] = is_used ? from[i] * args.scale : 0.0f;
            sum[j][i] = 0.0f;
        }
        #pragma unroll
        for (uint i = 0; i < 2; i++) rope_query[j][i] = is_rotated ? rope_from[i] * args.scale : 0.0f;
        largest[j] = -INFINITY;
        total[j] = 0.0f;
    }

    uint mine = lane / 4;
    uint next[each][words];
    uint rope_next[each];
    float scale[each];
    float rope_scale[each];
    // A turn more than there are tiles: each fetches the tile of the next one.
    for (uint first = begin; first < end + FM_TILE_KEYS; first += FM_TILE_KEYS) {
        uint now = first - FM_TILE_KEYS;
        if (first > begin) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            #pragma unroll
            for (uint m = 0; m < each; m++) {
                threadgroup float* key = tile + (simd * each + m) * pitch;
                fm_put_codes<VALUES>(next[m], scale[m], key, lane);
                fm_put_codes<2>(rope_next + m, rope_scale[m], key + VALUES * FM_SIMD, lane);
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        if (first < end) {
            #pragma unroll
            for (uint m = 0; m < each; m++) {
                ulong key = min(first + simd * each + m, end - 1);
                fm_load_words<words>(latent_words + key * row, next[m]);
                rope_next[m] = rope_words[key * row];
                scale[m] = scales[2 * key];
                rope_scale[m] = scales[2 * key + 1];
            }
        }
        if (first == begin) continue;

        uint last = min(FM_TILE_KEYS, end - now) - 1;
        float products[QUERIES][FM_TILE_KEYS];
        #pragma unroll
        for (uint n = 0; n < FM_TILE_KEYS; n++) {
            float part[VALUES];
            float rotated[2];
            fm_take_key<VALUES>(tile + n * pitch, lane, part);
            fm_take_key<2>(tile + n * pitch + VALUES * FM_SIMD, lane, rotated);
            #pragma unroll
            for (uint j = 0; j < uint(QUERIES); j++) {
                float product = rotated[0] * rope_query[j][0];
                product = fma(rotated[1], rope_query[j][1], product);
                #pragma unroll
                for (uint i = 0; i < uint(VALUES); i++) product = fma(part[i], query[j][i], product);
                products[j][n] = product;
            }
        }
        float weight[QUERIES];
        #pragma unroll
        for (uint j = 0; j < uint(QUERIES); j++) {
            float score = fm_sum8(products[j], lane);
            float fade;
            weight[j] = fm_online_softmax(mine <= last ? score : -INFINITY, largest[j], total[j], fade);
            #pragma unroll
            for (uint i = 0; i < uint(VALUES); i++) sum[j][i] *= fade;
        }
        for (uint n = 0; n < FM_TILE_KEYS; n++) {
            float part[VALUES];
            fm_take_key<VALUES>(tile + n * pitch, lane, part);
            #pragma unroll
            for (uint j = 0; j < uint(QUERIES); j++) {
                float factor = simd_broadcast(weight[j], ushort(4 * n));
                #pragma unroll
                for (uint i = 0; i < uint(VALUES); i++) sum[j][i] = fma(factor, part[i], sum[j][i]);
            }
        }
    }

    #pragma unroll
    for (uint j = 0; j < uint(QUERIES); j++) {
        float all = simd_sum(total[j]) * 0.25f;
        if (head0 + j >= args.heads) continue;
        ulong place = (ulong(token) * args.heads + head0 + j) * args.splits + block.y;
        if (is_used) {
            #pragma unroll
            for (uint i = 0; i < uint(VALUES); i++) out[place * args.latent_dim + lane * VALUES + i] = sum[j][i];
        }
        if (lane == 0) {
            stats[2 * place] = largest[j];
            stats[2 * place + 1] = all;
        }
    }
}

template [[host_name("fm_mla_attend_128")]] [[kernel]] decltype(fm_mla_attend<4, 2>) fm_mla_attend<4, 2>;
template [[host_name("fm_mla_attend_512")]] [[kernel]] decltype(fm_mla_attend<16, 2>) fm_mla_attend<16, 2>;
