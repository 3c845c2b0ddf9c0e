// Grouped-query attention over a 16-bit cache: norm, RoPE and cache write; flash-style decode in splits of the keys;
// joining the splits. A cached vector is integer codes and one scale: value = code * scale.
#include "args.h"
#include "common.h"

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

/// Adds up eight numbers over the 32 lanes at once: nine exchanges instead of forty. Lane l returns the total of
/// number (l / 4) % 8.
static inline float fm_sum8(thread float* x, uint lane) {
    bool upper = (lane & 16) != 0;
    for (uint i = 0; i < 4; i++) {
        float keep = upper ? x[i + 4] : x[i];
        float give = upper ? x[i] : x[i + 4];
        x[i] = keep + simd_shuffle_xor(give, 16);
    }
    upper = (lane & 8) != 0;
    for (uint i = 0; i < 2; i++) {
        float keep = upper ? x[i + 2] : x[i];
        float give = upper ? x[i] : x[i + 2];
        x[i] = keep + simd_shuffle_xor(give, 8);
    }
    upper = (lane & 4) != 0;
    float keep = upper ? x[1] : x[0];
    float give = upper ? x[0] : x[1];
    float sum = keep + simd_shuffle_xor(give, 4);
    sum += simd_shuffle_xor(sum, 2);
    return sum + simd_shuffle_xor(sum, 1);
}

/// QUERIES query heads of one kv head a simdgroup, eight keys a step; lane l holds dimensions l, l + 32, …
/// Every simdgroup of a threadgroup reads the same keys. Online softmax; partial results go to `out` [tokens, heads,
/// splits, head_dim] and `stats` [tokens, heads, splits, 2] = largest score, sum of exponentials.
/// Grid: (kv_heads, splits, tokens), ceil(group / QUERIES) simdgroups. head_dim <= VALUES * 32.
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
    uint token = block.z;
    uint group = args.heads / args.kv_heads;
    uint row = args.kv_heads * args.head_dim;
    uint keys = args.position + token + 1;
    uint begin = block.y * args.split_keys;
    uint end = min(begin + args.split_keys, keys);

    float query[QUERIES][VALUES];
    float sum[QUERIES][VALUES];
    float largest[QUERIES];
    float total[QUERIES];
    for (uint j = 0; j < uint(QUERIES); j++) {
        uint head = block.x * group + min(simd * QUERIES + j, group - 1);
        device const float* from = q + (token * args.heads + head) * args.q_stride;
        for (uint i = 0; i < uint(VALUES); i++) {
            uint d = i * FM_SIMD + lane;
            query[j][i] = d < args.head_dim ? from[d] * args.scale : 0.0f;
            sum[j][i] = 0.0f;
        }
        largest[j] = -INFINITY;
        total[j] = 0.0f;
    }

    for (uint first = begin; first < end; first += 8) {
        uint count = min(8u, end - first);
        float part[8][VALUES];
        for (uint n = 0; n < 8; n++) {
            device const short* from = k_codes + ulong(first + min(n, count - 1)) * row + block.x * args.head_dim;
            for (uint i = 0; i < uint(VALUES); i++) {
                uint d = i * FM_SIMD + lane;
                part[n][i] = d < args.head_dim ? float(from[d]) : 0.0f;
            }
        }
        float weight[QUERIES];
        uint mine = (lane / 4) % 8;
        uint scale_at = (first + min(mine, count - 1)) * args.kv_heads + block.x;
        float k_scale = k_scales[scale_at];
        float v_scale = v_scales[scale_at];
        for (uint j = 0; j < uint(QUERIES); j++) {
            float products[8];
            for (uint n = 0; n < 8; n++) {
                float product = 0.0f;
                for (uint i = 0; i < uint(VALUES); i++) product = fma(part[n][i], query[j][i], product);
                products[n] = product;
            }
            float score = fm_sum8(products, lane) * k_scale;
            score = mine < count ? score : -INFINITY;
            float before = largest[j];
            largest[j] = max(before, simd_max(score));
            float fade = exp(before - largest[j]);
            weight[j] = exp(score - largest[j]);
            total[j] = total[j] * fade + simd_sum(weight[j]) * 0.25f;
            weight[j] = weight[j] * v_scale;
            for (uint i = 0; i < uint(VALUES); i++) sum[j][i] *= fade;
        }
        for (uint n = 0; n < count; n++) {
            device const short* from = v_codes + ulong(first + n) * row + block.x * args.head_dim;
            float value[VALUES];
            for (uint i = 0; i < uint(VALUES); i++) {
                uint d = i * FM_SIMD + lane;
                value[i] = d < args.head_dim ? float(from[d]) : 0.0f;
            }
            for (uint j = 0; j < uint(QUERIES); j++) {
                float factor = simd_broadcast(weight[j], ushort(4 * n));
                for (uint i = 0; i < uint(VALUES); i++) sum[j][i] = fma(factor, value[i], sum[j][i]);
            }
        }
    }

    for (uint j = 0; j < uint(QUERIES); j++) {
        if (simd * QUERIES + j >= group) continue;
        uint head = block.x * group + simd * QUERIES + j;
        ulong place = (ulong(token) * args.heads + head) * args.splits + block.y;
        for (uint i = 0; i < uint(VALUES); i++) {
            uint d = i * FM_SIMD + lane;
            if (d < args.head_dim) out[place * args.head_dim + d] = sum[j][i];
        }
        if (lane == 0) {
            stats[2 * place] = largest[j];
            stats[2 * place + 1] = total[j];
        }
    }
}

template [[host_name("fm_gqa_attend_64")]] [[kernel]] decltype(fm_gqa_attend<2, 4>) fm_gqa_attend<2, 4>;
template [[host_name("fm_gqa_attend_128")]] [[kernel]] decltype(fm_gqa_attend<4, 4>) fm_gqa_attend<4, 4>;
template [[host_name("fm_gqa_attend_256")]] [[kernel]] decltype(fm_gqa_attend<8, 4>) fm_gqa_attend<8, 4>;

/// Joins splits and applies the output gate. Grid: (heads, tokens), one simdgroup each.
kernel void fm_gqa_merge(device const float* parts [[buffer(0)]],
                         device const float* stats [[buffer(1)]],
                         device const float* q [[buffer(2)]],
                         device float* out [[buffer(3)]],
                         constant FmGqaMergeArgs& args [[buffer(4)]],
                         uint3 block [[threadgroup_position_in_grid]],
                         uint lane [[thread_index_in_simdgroup]])
{
    uint at = block.y * args.heads + block.x;
    device const float* mine = stats + ulong(at) * args.splits * 2;
    float largest = -INFINITY;
    for (uint s = lane; s < args.splits; s += FM_SIMD) largest = max(largest, mine[2 * s]);
    largest = simd_max(largest);
    float total = 0.0f;
    for (uint s = lane; s < args.splits; s += FM_SIMD) total = fma(mine[2 * s + 1], exp(mine[2 * s] - largest), total);
    total = simd_sum(total);
    device const float* gate = q + ulong(at) * args.q_stride + args.head_dim;
    for (uint d = lane; d < args.head_dim; d += FM_SIMD) {
        float sum = 0.0f;
        for (uint s = 0; s < args.splits; s++) {
            float factor = exp(mine[2 * s] - largest);
            sum = fma(factor, factor > 0.0f ? parts[(ulong(at) * args.splits + s) * args.head_dim + d] : 0.0f, sum);
        }
        float value = sum / total;
        out[ulong(at) * args.head_dim + d] = args.gated != 0 ? value * fm_sigmoid(gate[d]) : value;
    }
}
