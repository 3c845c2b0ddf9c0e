// Which experts a token goes to, and how much each counts. One simdgroup a token with all scores in registers: top_k
// rounds of "largest that is left", which for ten of 512 costs less than sorting. Equal scores: the lower index wins.
#include "args.h"
#include "common.h"

constant constexpr uint FM_MAX_GROUPS = 32;

/// The best of the lanes' candidates, in every lane.
static inline uint fm_best(float score, uint index) {
    for (uint step = 16; step > 0; step /= 2) {
        float other = simd_shuffle_xor(score, ushort(step));
        uint other_index = simd_shuffle_xor(index, ushort(step));
        bool is_better = other > score || (other == score && other_index < index);
        score = is_better ? other : score;
        index = is_better ? other_index : index;
    }
    return index;
}

/// Grid: (tokens), one simdgroup each; lane l has experts l, l + 32, … ids and weights [tokens, top_k], ascending by
/// expert; an id that is none when too few scores are numbers. experts <= VALUES * 32, top_k <= 32.
template <int VALUES>
kernel void fm_route(device const float* logits [[buffer(0)]],
                     device const float* choice_bias [[buffer(1)]],
                     device uint* ids [[buffer(2)]],
                     device float* weights [[buffer(3)]],
                     constant FmRouterArgs& args [[buffer(4)]],
                     uint3 block [[threadgroup_position_in_grid]],
                     uint lane [[thread_index_in_simdgroup]])
{
    threadgroup float grouped[VALUES * FM_SIMD];
    threadgroup float group_scores[FM_MAX_GROUPS];
    device const float* row = logits + block.x * args.experts;
    float scores[VALUES];
    float choice[VALUES];
    float largest = -INFINITY;
    #pragma unroll
    for (uint i = 0; i < uint(VALUES); i++) {
        uint e = i * FM_SIMD + lane;
        scores[i] = e < args.experts ? row[e] : -INFINITY;
        largest = max(largest, scores[i]);
    }
    largest = simd_max(largest);
    float sum = 0.0f;
    #pragma unroll
    for (uint i = 0; i < uint(VALUES); i++) {
        scores[i] = args.sigmoid != 0 ? fm_sigmoid(scores[i]) : exp(scores[i] - largest);
        sum += scores[i];
    }
    sum = args.sigmoid != 0 ? 1.0f : simd_sum(sum);
    #pragma unroll
    for (uint i = 0; i < uint(VALUES); i++) {
        uint e = i * FM_SIMD + lane;
        scores[i] = scores[i] / sum;
        float bias = args.biased != 0 && e < args.experts ? choice_bias[e] : 0.0f;
        choice[i] = e < args.experts ? scores[i] + bias : -INFINITY;
    }

    if (args.groups > 1) {
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) grouped[i * FM_SIMD + lane] = choice[i];
        simdgroup_barrier(mem_flags::mem_threadgroup);
        uint width = args.experts / args.groups;
        if (lane < args.groups) {
            float first = -INFINITY;
            float second = -INFINITY;
            for (uint e = lane * width; e < (lane + 1) * width; e++) {
                float value = grouped[e];
                second = max(second, min(first, value));
                first = max(first, value);
            }
            group_scores[lane] = first + second;
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
        // A group stays when fewer than top_groups others are better, or equal and earlier.
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) {
            uint group = min((i * FM_SIMD + lane) / width, args.groups - 1);
            uint better = 0;
            for (uint other = 0; other < args.groups; other++) {
                float difference = group_scores[other] - group_scores[group];
                if (difference > 0.0f || (difference == 0.0f && other < group)) better++;
            }
            if (better >= args.top_groups) choice[i] = -INFINITY;
        }
    }

    // Round k's winner stays with lane k.
    uint mine = 0xffffffffu;
    float weight = 0.0f;
    for (uint k = 0; k < args.top_k; k++) {
        float best = -INFINITY;
        uint index = 0xffffffffu;
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) {
            bool is_better = choice[i] > best;
            best = is_better ? choice[i] : best;
            index = is_better ? i * FM_SIMD + lane : index;
        }
        // Among scores that are no numbers there is no largest: the host refuses the id that is none.
        uint winner = fm_best(best, index);
        float score = 0.0f;
        #pragma unroll
        for (uint i = 0; i < uint(VALUES); i++) {
            bool is_winner = i * FM_SIMD + lane == winner;
            choice[i] = is_winner ? -INFINITY : choice[i];
            score = is_winner ? scores[i] : score;
        }
        score = simd_broadcast(score, ushort(winner % FM_SIMD));
        mine = k == lane ? winner : mine;
        weight = k == lane ? score : weight;
    }

    float total = simd_sum(weight);
    if (args.normalise != 0) weight = weight / (args.sigmoid != 0 ? total + 1e-20f : total);
    uint rank = 0;
    for (uint k = 0; k < args.top_k; k++) {
        uint other = simd_shuffle(mine, ushort(k));
        rank += other < mine || (other == mine && k < lane) ? 1 : 0;
    }
    if (lane < args.top_k) {
        ids[block.x * args.top_k + rank] = mine;
        weights[block.x * args.top_k + rank] = weight * args.scale;
    }
}

template [[host_name("fm_route_256")]] [[kernel]] decltype(fm_route<8>) fm_route<8>;
template [[host_name("fm_route_512")]] [[kernel]] decltype(fm_route<16>) fm_route<16>;
template [[host_name("fm_route_1024")]] [[kernel]] decltype(fm_route<32>) fm_route<32>;
