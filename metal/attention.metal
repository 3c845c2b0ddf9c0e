// Grouped-query attention over a 16-bit cache: norm, RoPE and cache write; flash-style decode in splits of the keys;
// joining the splits. A cached vector is integer codes and one scale: value = code * scale.
#include "args.h"
#include "common.h"
#include "cached_keys.h"

constant constexpr uint FM_MAX_HEAD = 256;
constant constexpr float FM_CODE_MAX = 32767.0f;

/// Rotates pairs of a head that lies in threadgroup memory; lanes take pairs in turn.
/// cos_sin [dims / 2, 2]. half pairing: i with i + dims/2; interleaved: 2i with 2i + 1.
static inline void fm_rotate(threadgroup float* head, device const float* cos_sin, uint dims, uint interleaved, uint lane) {
    for (uint i = lane; i < dims / 2; i += FM_SIMD) {
        uint a = interleaved != 0 ? 2 * i : i;
        uint b = interleaved != 0 ? 2 * i + 1 : i + dims / 2;
        float c = cos_sin[2 * i];
        float s = cos_sin[2 * i + 1];
        float x = head[a];
        float y = head[b];
        head[a] = x * c - y * s;
        head[b] = fma(y, c, x * s);
    }
}

/// Codes of a vector in threadgroup memory; returns its scale. One simdgroup.
static inline float fm_store_codes(threadgroup const float* from, device short* to, uint count, uint lane) {
    float largest = 0.0f;
    for (uint i = lane; i < count; i += FM_SIMD) largest = max(largest, abs(from[i]));
    largest = simd_max(largest);
    float scale = largest / FM_CODE_MAX;
    float inverse = largest > 0.0f ? FM_CODE_MAX / largest : 0.0f;
    for (uint i = lane; i < count; i += FM_SIMD) to[i] = short(rint(from[i] * inverse));
    return scale;
}

/// Grid: (heads + 2 * kv_heads, tokens), one simdgroup each: queries in place, then keys and values to the caches.
kernel void fm_gqa_append(device float* q [[buffer(0)]],
                          device const float* k [[buffer(1)]],
                          device const float* v [[buffer(2)]],
                          device const float* q_norm [[buffer(3)]],
                          device const float* k_norm [[buffer(4)]],
                          device const float* cos_sin [[buffer(5)]],
                          device short* k_codes [[buffer(6)]],
                          device float* k_scales [[buffer(7)]],
                          device short* v_codes [[buffer(8)]],
                          device float* v_scales [[buffer(9)]],
                          constant FmGqaAppendArgs& args [[buffer(10)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]])
{
    threadgroup float head[FM_MAX_HEAD];
    uint token = block.y;
    uint slot = block.x;
    bool is_query = slot < args.heads;
    bool is_value = slot >= args.heads + args.kv_heads;
    uint kv_head = is_query ? 0 : (slot - args.heads) % args.kv_heads;
    uint kv_at = (token * args.kv_heads + kv_head) * args.head_dim;
    uint q_at = (token * args.heads + (is_query ? slot : 0)) * args.q_stride;

    float sum = 0.0f;
    for (uint i = lane; i < args.head_dim; i += FM_SIMD) {
        float value = is_query ? q[q_at + i] : is_value ? v[kv_at + i] : k[kv_at + i];
        head[i] = value;
        sum = fma(value, value, sum);
    }
    sum = simd_sum(sum);
    if (!is_value && args.normed != 0) {
        float factor = 1.0f / sqrt(sum / float(args.head_dim) + args.eps);
        for (uint i = lane; i < args.head_dim; i += FM_SIMD) {
            head[i] = head[i] * factor * (is_query ? q_norm[i] : k_norm[i]);
        }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (!is_value) fm_rotate(head, cos_sin + token * args.rope_dims, args.rope_dims, args.interleaved, lane);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (is_query) {
        for (uint i = lane; i < args.head_dim; i += FM_SIMD) q[q_at + i] = head[i];
        return;
    }
    ulong row = ulong(args.position + token) * args.kv_heads + kv_head;
    device short* codes = (is_value ? v_codes : k_codes) + row * args.head_dim;
    float scale = fm_store_codes(head, codes, args.head_dim, lane);
    if (lane == 0) (is_value ? v_scales : k_scales)[row] = scale;
}

/// QUERIES query heads of one kv head a simdgroup; the FM_ATTEND_SIMDS simdgroups of a threadgroup share the keys.
/// Partial results go to `out` [tokens, heads, splits, head_dim] and `stats` [tokens, heads, splits, 2] = largest score
/// (in powers of two), sum of weights. Grid: (kv_heads * chunks, splits, tokens), a chunk being the query heads of one
/// threadgroup. head_dim <= VALUES * 32, a multiple of VALUES. args.scale has log2(e) in it.
template <int VALUES, int QUERIES>
kernel void fm_gqa_attend(device const float* q [[buffer(0)]],
                          device const short* k_codes [[buffer(1)]],
                          device const float* k_scales [[buffer(2)]],
                          device const short* v_codes [[buffer(3)]],
                          device const float* v_scales [[buffer(4)]],
                          device float* out [[buffer(5)]],
                          device float* stats [[buffer(6)]],
                          constant FmGqaAttendArgs& args [[buffer(7)]],
                          uint3 block [[threadgroup_position_in_grid]],
                          uint lane [[thread_index_in_simdgroup]],
                          uint simd [[simdgroup_index_in_threadgroup]])
{
    constexpr uint words = VALUES / 2;
    constexpr uint pitch = VALUES * FM_SIMD;
    constexpr uint each = FM_TILE_KEYS / FM_ATTEND_SIMDS;
    threadgroup float k_tile[FM_TILE_KEYS * pitch];
    threadgroup float v_tile[FM_TILE_KEYS * pitch];
    uint token = block.z;
    uint group = args.heads / args.kv_heads;
    uint kv_head = block.x / args.chunks;
    uint head0 = (block.x % args.chunks * FM_ATTEND_SIMDS + simd) * QUERIES;
    // Of a cached vector, in words.
    uint width = args.head_dim / 2;
    uint row = args.kv_heads * width;
    bool is_used = lane * VALUES < args.head_dim;
    uint place = kv_head * width + (is_used ? lane * words : 0);
    device const uint* k_words = (device const uint*)k_codes + place;
    device const uint* v_words = (device const uint*)v_codes + place;
    uint begin = block.y * args.split_keys;
    uint end = min(begin + args.split_keys, args.position + token + 1);

    float query[QUERIES][VALUES];
    float sum[QUERIES][VALUES];
    float largest[QUERIES];
    float total[QUERIES];
    #pragma unroll
    for (uint j = 0; j < uint(QUERIES); j++) {
        uint head = kv_head * group + min(head0 + j, group - 1);
        device const float* from = q + (token * args.heads + head) * args.q_stride;
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) {
            query[j][i] = is_used ? from[lane * VALUES + i] * args.scale : 0.0f;
            sum[j][i] = 0.0f;
        }
        largest[j] = -INFINITY;
        total[j] = 0.0f;
    }

    uint mine = lane / 4;
    uint k_next[each][words];
    uint v_next[each][words];
    // A turn more than there are tiles: each fetches the tile of the next one.
    for (uint first = begin; first < end + FM_TILE_KEYS; first += FM_TILE_KEYS) {
        uint now = first - FM_TILE_KEYS;
        if (first > begin) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            #pragma unroll
            for (uint m = 0; m < each; m++) {
                fm_put_codes<VALUES>(k_next[m], 1.0f, k_tile + (simd * each + m) * pitch, lane);
                fm_put_codes<VALUES>(v_next[m], 1.0f, v_tile + (simd * each + m) * pitch, lane);
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        if (first < end) {
            #pragma unroll
            for (uint m = 0; m < each; m++) {
                ulong key = min(first + simd * each + m, end - 1);
                fm_load_words<words>(k_words + key * row, k_next[m]);
                fm_load_words<words>(v_words + key * row, v_next[m]);
            }
        }
        if (first == begin) continue;

        uint last = min(FM_TILE_KEYS, end - now) - 1;
        uint scale_at = (now + min(mine, last)) * args.kv_heads + kv_head;
        float k_scale = k_scales[scale_at];
        float v_scale = v_scales[scale_at];
        float products[QUERIES][FM_TILE_KEYS];
        #pragma unroll
        for (uint n = 0; n < FM_TILE_KEYS; n++) {
            float part[VALUES];
            fm_take_key<VALUES>(k_tile + n * pitch, lane, part);
            #pragma unroll
            for (uint j = 0; j < uint(QUERIES); j++) {
                float product = 0.0f;
                #pragma unroll
                for (uint i = 0; i < uint(VALUES); i++) product = fma(part[i], query[j][i], product);
                products[j][n] = product;
            }
        }
        float weight[QUERIES];
        #pragma unroll
        for (uint j = 0; j < uint(QUERIES); j++) {
            float score = fm_sum8(products[j], lane) * k_scale;
            float fade;
            weight[j] = fm_online_softmax(mine <= last ? score : -INFINITY, largest[j], total[j], fade) * v_scale;
            #pragma unroll
            for (uint i = 0; i < uint(VALUES); i++) sum[j][i] *= fade;
        }
        for (uint n = 0; n < FM_TILE_KEYS; n++) {
            float part[VALUES];
            fm_take_key<VALUES>(v_tile + n * pitch, lane, part);
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
        // Four lanes counted each key.
        float all = simd_sum(total[j]) * 0.25f;
        if (head0 + j >= group) continue;
        ulong at = (ulong(token) * args.heads + kv_head * group + head0 + j) * args.splits + block.y;
        if (is_used) {
            #pragma unroll
            for (uint i = 0; i < uint(VALUES); i++) out[at * args.head_dim + lane * VALUES + i] = sum[j][i];
        }
        if (lane == 0) {
            stats[2 * at] = largest[j];
            stats[2 * at + 1] = all;
        }
    }
}

template [[host_name("fm_gqa_attend_64_1")]] [[kernel]] decltype(fm_gqa_attend<2, 1>) fm_gqa_attend<2, 1>;
template [[host_name("fm_gqa_attend_64_2")]] [[kernel]] decltype(fm_gqa_attend<2, 2>) fm_gqa_attend<2, 2>;
template [[host_name("fm_gqa_attend_64_4")]] [[kernel]] decltype(fm_gqa_attend<2, 4>) fm_gqa_attend<2, 4>;
template [[host_name("fm_gqa_attend_128_1")]] [[kernel]] decltype(fm_gqa_attend<4, 1>) fm_gqa_attend<4, 1>;
template [[host_name("fm_gqa_attend_128_2")]] [[kernel]] decltype(fm_gqa_attend<4, 2>) fm_gqa_attend<4, 2>;
template [[host_name("fm_gqa_attend_128_4")]] [[kernel]] decltype(fm_gqa_attend<4, 4>) fm_gqa_attend<4, 4>;
template [[host_name("fm_gqa_attend_256_1")]] [[kernel]] decltype(fm_gqa_attend<8, 1>) fm_gqa_attend<8, 1>;
template [[host_name("fm_gqa_attend_256_2")]] [[kernel]] decltype(fm_gqa_attend<8, 2>) fm_gqa_attend<8, 2>;
template [[host_name("fm_gqa_attend_256_4")]] [[kernel]] decltype(fm_gqa_attend<8, 4>) fm_gqa_attend<8, 4>;

/// Joins splits and applies the output gate. A thread owns a dimension of every FM_MERGE_SIMDS-th split.
/// Grid: (ceil(head_dim / 32), heads, tokens), FM_MERGE_SIMDS simdgroups.
kernel void fm_gqa_merge(device const float* parts [[buffer(0)]],
                         device const float* stats [[buffer(1)]],
                         device const float* q [[buffer(2)]],
                         device float* out [[buffer(3)]],
                         constant FmGqaMergeArgs& args [[buffer(4)]],
                         uint3 block [[threadgroup_position_in_grid]],
                         uint lane [[thread_index_in_simdgroup]],
                         uint simd [[simdgroup_index_in_threadgroup]])
{
    threadgroup float sums[FM_MERGE_SIMDS * FM_SIMD];
    uint at = block.z * args.heads + block.y;
    device const float* mine = stats + ulong(at) * args.splits * 2;
    float largest = -INFINITY;
    for (uint s = lane; s < args.splits; s += FM_SIMD) largest = max(largest, mine[2 * s]);
    largest = simd_max(largest);
    float total = 0.0f;
    for (uint s = lane; s < args.splits; s += FM_SIMD) total = fma(mine[2 * s + 1], exp2(mine[2 * s] - largest), total);
    total = simd_sum(total);
    uint d = block.x * FM_SIMD + lane;
    device const float* from = parts + ulong(at) * args.splits * args.head_dim + min(d, args.head_dim - 1);
    float sum = 0.0f;
    for (uint s = simd; s < args.splits; s += FM_MERGE_SIMDS) {
        sum = fma(exp2(mine[2 * s] - largest), from[ulong(s) * args.head_dim], sum);
    }
    sums[simd * FM_SIMD + lane] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simd != 0 || d >= args.head_dim) return;
    for (uint other = 1; other < FM_MERGE_SIMDS; other++) sum += sums[other * FM_SIMD + lane];
    float value = sum / total;
    float gate = args.gated != 0 ? fm_sigmoid(q[ulong(at) * args.q_stride + args.head_dim + d]) : 1.0f;
    out[ulong(at) * args.head_dim + d] = value * gate;
}
