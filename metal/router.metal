// Which experts a token goes to, and how much each counts. One simdgroup a token: top_k rounds of "largest that is
// left", which for ten of 512 costs less than sorting. Equal scores: the lower index wins.
#include "args.h"
#include "common.h"

constant constexpr uint FM_MAX_EXPERTS = 1024;
constant constexpr uint FM_MAX_GROUPS = 32;

/// Index of the largest score; a lane without a candidate brings -inf and 0xffffffff.
static inline uint fm_best(float score, uint index) {
    float best = simd_max(score);
    return simd_min(score == best ? index : 0xffffffffu);
}

/// Grid: (tokens), one simdgroup each. ids and weights [tokens, top_k], ascending by expert.
kernel void fm_route(device const float* logits [[buffer(0)]],
                     device const float* choice_bias [[buffer(1)]],
                     device uint* ids [[buffer(2)]],
                     device float* weights [[buffer(3)]],
                     constant FmRouterArgs& args [[buffer(4)]],
                     uint3 block [[threadgroup_position_in_grid]],
                     uint lane [[thread_index_in_simdgroup]])
{
    threadgroup float scores[FM_MAX_EXPERTS];
    threadgroup float choice[FM_MAX_EXPERTS];
    threadgroup float group_scores[FM_MAX_GROUPS];
    threadgroup uint chosen[FM_SIMD];
    device const float* row = logits + block.x * args.experts;

    if (args.sigmoid != 0) {
        for (uint e = lane; e < args.experts; e += FM_SIMD) scores[e] = fm_sigmoid(row[e]);
    } else {
        float largest = -INFINITY;
        for (uint e = lane; e < args.experts; e += FM_SIMD) largest = max(largest, row[e]);
        largest = simd_max(largest);
        float sum = 0.0f;
        for (uint e = lane; e < args.experts; e += FM_SIMD) {
            float value = exp(row[e] - largest);
            scores[e] = value;
            sum += value;
        }
        sum = simd_sum(sum);
        for (uint e = lane; e < args.experts; e += FM_SIMD) scores[e] = scores[e] / sum;
    }
    for (uint e = lane; e < args.experts; e += FM_SIMD) {
        choice[e] = scores[e] + (args.biased != 0 ? choice_bias[e] : 0.0f);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);

    if (args.groups > 1) {
        uint width = args.experts / args.groups;
        for (uint g = lane; g < args.groups; g += FM_SIMD) {
            float first = -INFINITY;
            float second = -INFINITY;
            for (uint e = g * width; e < (g + 1) * width; e++) {
                float value = choice[e];
                second = max(second, min(first, value));
                first = max(first, value);
            }
            group_scores[g] = first + second;
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
        // A group stays when fewer than top_groups others are better, or equal and earlier.
        for (uint g = lane; g < args.groups; g += FM_SIMD) {
            uint better = 0;
            for (uint other = 0; other < args.groups; other++) {
                float difference = group_scores[other] - group_scores[g];
                if (difference > 0.0f || (difference == 0.0f && other < g)) better++;
            }
            if (better >= args.top_groups) {
                for (uint e = g * width; e < (g + 1) * width; e++) choice[e] = -INFINITY;
            }
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
    }

    for (uint k = 0; k < args.top_k; k++) {
        float best = -INFINITY;
        uint index = 0xffffffffu;
        for (uint e = lane; e < args.experts; e += FM_SIMD) {
            if (choice[e] > best) {
                best = choice[e];
                index = e;
            }
        }
        uint winner = fm_best(best, index);
        if (lane == 0) chosen[k] = winner;
        // Its own lane takes it out: nobody else looks at that score.
        // Among scores that are no numbers there is no largest: the host refuses the id that is none.
        if (winner < args.experts && winner % FM_SIMD == lane) choice[winner] = -INFINITY;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);

    float weight = 0.0f;
    uint mine = 0xffffffffu;
    if (lane < args.top_k) {
        mine = chosen[lane];
        weight = scores[min(mine, args.experts - 1)];
    }
    float total = simd_sum(weight);
    if (args.normalise != 0) weight = weight / (args.sigmoid != 0 ? total + 1e-20f : total);
    uint rank = 0;
    for (uint k = 0; k < args.top_k; k++) rank += chosen[k] < mine || (chosen[k] == mine && k < lane) ? 1 : 0;
    if (lane < args.top_k) {
        ids[block.x * args.top_k + rank] = mine;
        weights[block.x * args.top_k + rank] = weight * args.scale;
    }
}
