// Routed experts: all of a step's experts in one dispatch for gate and up, one for down, one to add them up.
// Weights lie in the buffer that reads from disk have filled; each work says where, in bytes, or the router's own choice does.
#include "args.h"
#include "common.h"
#include "rows.h"
#include "works.h"

/// Whose turn an entry is: the expert's work, and the byte from which its offsets count. Not `is_here` where the expert lies in
/// another buffer than this dispatch's, or is none.
struct FmExpertUse {
    device const uchar* start;
    uint work;
    bool is_here;
};

static inline FmExpertUse fm_use_of(device const uchar* data, constant FmExpertWork* works, device const uint* places,
                                    device const uint* ids, constant FmExpertArgs& args, uint entry) {
    FmExpertUse use = {data, 0, true};
    if (args.top_k == 0) {
        use.work = fm_work_of(works, args.works, entry);
        return use;
    }
    uint id = ids[entry];
    uint safe = min(id, args.experts - 1);
    use.start = data + places[2 * safe + 1];
    use.is_here = id < args.experts && places[2 * safe] == args.part;
    return use;
}

/// One row of unquantised weights of type S times x.
template <typename S>
static inline float fm_expert_row(device const uchar* data, uint weight, uint row, uint cols, device const float* x, uint lane) {
    device const S* line = (device const S*)(data + weight) + ulong(row) * cols;
    float sum = 0.0f;
    for (uint column = lane; column < cols; column += FM_SIMD) sum = fma(float(line[column]), x[column], sum);
    return simd_sum(sum);
}

/// h[entry, row] = silu(gate . x[token]) * (up . x[token]). tokens[entry] names the row of x.
/// Two matrices share each slice of x. A walk of its own: as one with fm_walk_rows it was an eighth slower where measured.
/// Grid: (ceil(width / (rows_each * FM_ROW_SIMDS / parts)), entries), as for fm_matvec.
template <int BITS, typename S>
kernel void fm_expert_gate_up(device const uchar* data [[buffer(0)]],
                              constant FmExpertWork* works [[buffer(1)]],
                              constant uint* tokens [[buffer(2)]],
                              device const float* x [[buffer(3)]],
                              device float* h [[buffer(4)]],
                              constant FmExpertArgs& args [[buffer(5)]],
                              device const uint* places [[buffer(6)]],
                              device const uint* ids [[buffer(7)]],
                              uint3 block [[threadgroup_position_in_grid]],
                              uint lane [[thread_index_in_simdgroup]],
                              uint simd [[simdgroup_index_in_threadgroup]])
{
    threadgroup float4 staged[FM_ROW_SIMDS * FM_SLICE_QUADS];
    threadgroup float sums[2 * FM_ROW_SUMS];
    FmExpertUse use = fm_use_of(data, works, places, ids, args, block.y);
    if (!use.is_here) return;
    uint part = simd % args.parts;
    uint first = (block.x * (FM_ROW_SIMDS / args.parts) + simd / args.parts) * args.rows_each;
    FmRows<S> gate = fm_expert_matrix<BITS, S>(use.start, works[use.work].gate_weight, works[use.work].gate_scales, works[use.work].gate_biases,
                                               args.width, args.hidden, args.group);
    FmRows<S> up = fm_expert_matrix<BITS, S>(use.start, works[use.work].up_weight, works[use.work].up_scales, works[use.work].up_biases,
                                             args.width, args.hidden, args.group);
    device const float* input = x + ulong(args.top_k == 0 ? tokens[block.y] : block.y / args.top_k) * args.hidden;
    threadgroup float* gates = sums + simd * FM_MAX_ROWS_EACH;
    threadgroup float* ups = gates + FM_ROW_SUMS;

    for (uint begin = part * FM_SLICE; begin < args.hidden; begin += args.parts * FM_SLICE) {
        uint width = min(FM_SLICE, args.hidden - begin);
        uint column = begin + (lane * 32 < width ? lane * 32 : 0);
        uint word = column * uint(BITS) / 32;
        uint group = column / args.group;
        bool is_first = begin < FM_SLICE * args.parts;
        FmFour<BITS, S> four;
        fm_load4<BITS, S>(gate, first, word, group, four);
        float4 values[8];
        float total = fm_take_slice<BITS>(input + begin, staged + simd * FM_SLICE_QUADS, width, lane, values);
        for (uint r = 0; r < args.rows_each; r += 4) {
            float g = fm_dot4<BITS, S>(four, args.exponent, values, total, lane);
            fm_load4<BITS, S>(up, first + r, word, group, four);
            float u = fm_dot4<BITS, S>(four, args.exponent, values, total, lane);
            if (r + 4 < args.rows_each) fm_load4<BITS, S>(gate, first + r + 4, word, group, four);
            uint at = r + lane / 8;
            if (lane % 8 == 0) {
                gates[at] = is_first ? g : gates[at] + g;
                ups[at] = is_first ? u : ups[at] + u;
            }
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (part == 0 && lane < args.rows_each && first + lane < args.width) {
        float g = gates[lane];
        float u = ups[lane];
        for (uint p = 1; p < args.parts; p++) {
            g += gates[p * FM_MAX_ROWS_EACH + lane];
            u += ups[p * FM_MAX_ROWS_EACH + lane];
        }
        h[block.y * args.width + first + lane] = fm_silu(g) * u;
    }
}

/// out[entry, row] = weight[entry] * (down . h[entry]).
/// Grid: (ceil(hidden / (rows_each * FM_ROW_SIMDS / parts)), entries), as for fm_matvec.
template <int BITS, typename S>
kernel void fm_expert_down(device const uchar* data [[buffer(0)]],
                           constant FmExpertWork* works [[buffer(1)]],
                           constant float* weights [[buffer(2)]],
                           device const float* h [[buffer(3)]],
                           device float* out [[buffer(4)]],
                           constant FmExpertArgs& args [[buffer(5)]],
                           device const uint* places [[buffer(6)]],
                           device const uint* ids [[buffer(7)]],
                           device const float* routed [[buffer(8)]],
                           uint3 block [[threadgroup_position_in_grid]],
                           uint lane [[thread_index_in_simdgroup]],
                           uint simd [[simdgroup_index_in_threadgroup]])
{
    threadgroup float4 staged[FM_ROW_SIMDS * FM_SLICE_QUADS];
    threadgroup float sums[FM_ROW_SUMS];
    threadgroup float* mine = sums + simd * FM_MAX_ROWS_EACH;
    FmExpertUse use = fm_use_of(data, works, places, ids, args, block.y);
    if (!use.is_here) return;
    FmRows<S> down = fm_expert_matrix<BITS, S>(use.start, works[use.work].down_weight, works[use.work].down_scales, works[use.work].down_biases,
                                               args.hidden, args.width, args.group);
    FmWalk walk = fm_walk(args.width, args.group, args.parts, args.rows_each, args.exponent, block.x, simd);
    fm_walk_rows<BITS, S>(down, h + block.y * args.width, walk, staged + simd * FM_SLICE_QUADS, mine, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint row = walk.first + lane;
    if (walk.part == 0 && lane < walk.rows_each && row < args.hidden) {
        out[ulong(block.y) * args.hidden + row] = (args.top_k == 0 ? weights[block.y] : routed[block.y]) * fm_sum_parts(mine, walk.parts, lane);
    }
}

/// Unquantised weights: one row a simdgroup. Grid: (ceil(width / simdgroups), entries).
template <typename S>
kernel void fm_expert_gate_up_plain(device const uchar* data [[buffer(0)]],
                                    constant FmExpertWork* works [[buffer(1)]],
                                    constant uint* tokens [[buffer(2)]],
                                    device const float* x [[buffer(3)]],
                                    device float* h [[buffer(4)]],
                                    constant FmExpertArgs& args [[buffer(5)]],
                                    device const uint* places [[buffer(6)]],
                                    device const uint* ids [[buffer(7)]],
                                    uint3 block [[threadgroup_position_in_grid]],
                                    uint lane [[thread_index_in_simdgroup]],
                                    uint simd [[simdgroup_index_in_threadgroup]],
                                    uint simds [[simdgroups_per_threadgroup]])
{
    FmExpertUse use = fm_use_of(data, works, places, ids, args, block.y);
    if (!use.is_here) return;
    uint row = block.x * simds + simd;
    uint safe = min(row, args.width - 1);
    device const float* input = x + ulong(args.top_k == 0 ? tokens[block.y] : block.y / args.top_k) * args.hidden;
    float gate = fm_expert_row<S>(use.start, works[use.work].gate_weight, safe, args.hidden, input, lane);
    float up = fm_expert_row<S>(use.start, works[use.work].up_weight, safe, args.hidden, input, lane);
    if (lane == 0 && row < args.width) h[block.y * args.width + row] = fm_silu(gate) * up;
}

template <typename S>
kernel void fm_expert_down_plain(device const uchar* data [[buffer(0)]],
                                 constant FmExpertWork* works [[buffer(1)]],
                                 constant float* weights [[buffer(2)]],
                                 device const float* h [[buffer(3)]],
                                 device float* out [[buffer(4)]],
                                 constant FmExpertArgs& args [[buffer(5)]],
                                 device const uint* places [[buffer(6)]],
                                 device const uint* ids [[buffer(7)]],
                                 device const float* routed [[buffer(8)]],
                                 uint3 block [[threadgroup_position_in_grid]],
                                 uint lane [[thread_index_in_simdgroup]],
                                 uint simd [[simdgroup_index_in_threadgroup]],
                                 uint simds [[simdgroups_per_threadgroup]])
{
    FmExpertUse use = fm_use_of(data, works, places, ids, args, block.y);
    if (!use.is_here) return;
    uint row = block.x * simds + simd;
    uint safe = min(row, args.hidden - 1);
    float sum = fm_expert_row<S>(use.start, works[use.work].down_weight, safe, args.width, h + block.y * args.width, lane);
    if (lane == 0 && row < args.hidden) out[ulong(block.y) * args.hidden + row] = (args.top_k == 0 ? weights[block.y] : routed[block.y]) * sum;
}

/// y[token] += every entry of that token, in ascending entry order, so that the sum does not depend on timing. Entry i is
/// row rows[i] of `out`. A token's first entry adds up all of them.
/// Grid: (ceil(hidden / threads), entries).
kernel void fm_combine(device const float* out [[buffer(0)]],
                       constant uint* tokens [[buffer(1)]],
                       device float* y [[buffer(2)]],
                       constant FmCombineArgs& args [[buffer(3)]],
                       constant uint* rows [[buffer(4)]],
                       uint3 block [[threadgroup_position_in_grid]],
                       uint3 size [[threads_per_threadgroup]],
                       uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.hidden) return;
    uint token = tokens[block.y];
    for (uint entry = 0; entry < block.y; entry++) {
        if (tokens[entry] == token) return;
    }
    float sum = y[ulong(token) * args.hidden + column];
    for (uint entry = block.y; entry < args.entries; entry++) {
        if (tokens[entry] == token) sum += out[ulong(rows[entry]) * args.hidden + column];
    }
    y[ulong(token) * args.hidden + column] = sum;
}

/// What a router's experts add up to for each token. Grid: (ceil(hidden / threads), tokens).
kernel void fm_combine_chosen(device const float* out [[buffer(0)]],
                              device const float* shared [[buffer(1)]],
                              device const float* gate [[buffer(2)]],
                              device float* y [[buffer(3)]],
                              constant FmCombineChosenArgs& args [[buffer(4)]],
                              uint3 block [[threadgroup_position_in_grid]],
                              uint3 size [[threads_per_threadgroup]],
                              uint index [[thread_index_in_threadgroup]])
{
    uint column = block.x * size.x + index;
    if (column >= args.hidden) return;
    ulong at = ulong(block.y) * args.hidden + column;
    float factor = args.gated != 0 ? fm_sigmoid(gate[block.y]) : 1.0f;
    float sum = args.shared != 0 ? fma(factor, shared[at], 0.0f) : 0.0f;
    ulong first = ulong(block.y) * args.top_k;
    for (uint k = 0; k < args.top_k; k++) sum += out[(first + k) * args.hidden + column];
    y[at] = sum;
}

template [[host_name("fm_expert_gate_up_q2_bf16")]] [[kernel]] decltype(fm_expert_gate_up<2, bfloat>) fm_expert_gate_up<2, bfloat>;
template [[host_name("fm_expert_gate_up_q2_f16")]] [[kernel]] decltype(fm_expert_gate_up<2, half>) fm_expert_gate_up<2, half>;
template [[host_name("fm_expert_gate_up_q2_f32")]] [[kernel]] decltype(fm_expert_gate_up<2, float>) fm_expert_gate_up<2, float>;
template [[host_name("fm_expert_gate_up_q4_bf16")]] [[kernel]] decltype(fm_expert_gate_up<4, bfloat>) fm_expert_gate_up<4, bfloat>;
template [[host_name("fm_expert_gate_up_q4_f16")]] [[kernel]] decltype(fm_expert_gate_up<4, half>) fm_expert_gate_up<4, half>;
template [[host_name("fm_expert_gate_up_q4_f32")]] [[kernel]] decltype(fm_expert_gate_up<4, float>) fm_expert_gate_up<4, float>;
template [[host_name("fm_expert_gate_up_q8_bf16")]] [[kernel]] decltype(fm_expert_gate_up<8, bfloat>) fm_expert_gate_up<8, bfloat>;
template [[host_name("fm_expert_gate_up_q8_f16")]] [[kernel]] decltype(fm_expert_gate_up<8, half>) fm_expert_gate_up<8, half>;
template [[host_name("fm_expert_gate_up_q8_f32")]] [[kernel]] decltype(fm_expert_gate_up<8, float>) fm_expert_gate_up<8, float>;
template [[host_name("fm_expert_down_q2_bf16")]] [[kernel]] decltype(fm_expert_down<2, bfloat>) fm_expert_down<2, bfloat>;
template [[host_name("fm_expert_down_q2_f16")]] [[kernel]] decltype(fm_expert_down<2, half>) fm_expert_down<2, half>;
template [[host_name("fm_expert_down_q2_f32")]] [[kernel]] decltype(fm_expert_down<2, float>) fm_expert_down<2, float>;
template [[host_name("fm_expert_down_q4_bf16")]] [[kernel]] decltype(fm_expert_down<4, bfloat>) fm_expert_down<4, bfloat>;
template [[host_name("fm_expert_down_q4_f16")]] [[kernel]] decltype(fm_expert_down<4, half>) fm_expert_down<4, half>;
template [[host_name("fm_expert_down_q4_f32")]] [[kernel]] decltype(fm_expert_down<4, float>) fm_expert_down<4, float>;
template [[host_name("fm_expert_down_q8_bf16")]] [[kernel]] decltype(fm_expert_down<8, bfloat>) fm_expert_down<8, bfloat>;
template [[host_name("fm_expert_down_q8_f16")]] [[kernel]] decltype(fm_expert_down<8, half>) fm_expert_down<8, half>;
template [[host_name("fm_expert_down_q8_f32")]] [[kernel]] decltype(fm_expert_down<8, float>) fm_expert_down<8, float>;
template [[host_name("fm_expert_gate_up_bf16")]] [[kernel]] decltype(fm_expert_gate_up_plain<bfloat>) fm_expert_gate_up_plain<bfloat>;
template [[host_name("fm_expert_down_bf16")]] [[kernel]] decltype(fm_expert_down_plain<bfloat>) fm_expert_down_plain<bfloat>;
template [[host_name("fm_expert_gate_up_f16")]] [[kernel]] decltype(fm_expert_gate_up_plain<half>) fm_expert_gate_up_plain<half>;
template [[host_name("fm_expert_down_f16")]] [[kernel]] decltype(fm_expert_down_plain<half>) fm_expert_down_plain<half>;
template [[host_name("fm_expert_gate_up_f32")]] [[kernel]] decltype(fm_expert_gate_up_plain<float>) fm_expert_gate_up_plain<float>;
template [[host_name("fm_expert_down_f32")]] [[kernel]] decltype(fm_expert_down_plain<float>) fm_expert_down_plain<float>;
