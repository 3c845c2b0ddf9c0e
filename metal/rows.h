// Matrix-vector products: a simdgroup keeps a slice of x in registers and multiplies rows with it. Needs common.h before
// it.

/// Columns of x that a simdgroup holds at a time, 32 a lane.
constant constexpr uint FM_SLICE = 1024;
constant constexpr uint FM_SLICE_QUADS = FM_SLICE / 4;

/// Bit of a word, or of the word without its low codes, at which code `index` is read.
template <int BITS>
static inline uint fm_place(uint index) {
    constexpr uint low = 23 / BITS;
    return BITS * (index < low ? index : index - low);
}

/// sum_j q_j x_j over the codes of one word, least significant first, x being scaled by fm_take_slice. A code is made a
/// number without shift or conversion: where it stands in the word it is the mantissa of 2^23 + q * 2^place. `exponent`
/// is FM_CODE_EXPONENT: a value that the compiler does not know stays in a register, a constant costs an instruction a code.
template <int BITS>
static inline float fm_dot_word(uint codes, uint exponent, thread const float4* x, float sum) {
    constexpr uint low = 23 / BITS;
    constexpr uint mask = (1u << BITS) - 1u;
    uint rest = codes >> (low * BITS);
    #pragma unroll
    for (uint index = 0; index < 32 / BITS; index++) {
        uint word = index < low ? codes : rest;
        float code = as_type<float>((word & (mask << fm_place<BITS>(index))) | exponent) - 8388608.0f;
        sum = fma(code, x[index / 4][index % 4], sum);
    }
    return sum;
}

/// Lane l's columns [32 l, 32 l + 32) of the slice `x`, `width` columns long, zero behind its end; returns their sum.
/// Read in order, transposed through `staged`, the simdgroup's own; the exclusive or spreads lanes over its banks.
/// `values` are divided by 2^place of the codes that they meet.
template <int BITS>
static inline float fm_take_slice(device const float* x, threadgroup float4* staged, uint width, uint lane, thread float4* values) {
    // A slice before this one may still be read.
    simdgroup_barrier(mem_flags::mem_threadgroup);
    #pragma unroll
    for (uint i = 0; i < 8; i++) {
        uint quad = i * FM_SIMD + lane;
        float4 value = float4(0.0f);
        if (quad * 4 < width) value = *(device const float4*)(x + quad * 4);
        staged[quad ^ (quad / 8 % 8)] = value;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    float4 sum = float4(0.0f);
    #pragma unroll
    for (uint i = 0; i < 8; i++) {
        values[i] = staged[lane * 8 + (i ^ (lane % 8))];
        sum += values[i];
        #pragma unroll
        for (uint j = 0; j < 4; j++) values[i][j] *= 1.0f / float(1u << fm_place<BITS>((4 * i + j) % (32 / BITS)));
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

/// A quantised matrix in words of codes; fewer than 2^32 of them.
template <typename S> struct FmRows {
    device const uint* codes;
    device const S* scales;
    device const S* biases;
    uint rows, words, groups;
};

/// 32 codes a lane of each of four rows, and the parameters of their group.
template <int BITS, typename S> struct FmFour {
    uint words[4 * BITS];
    S scales[4];
    S biases[4];
};

/// Rows [first, first + 4), behind the last row that row again, from word `word` and group `group` on.
template <int BITS, typename S>
static inline void fm_load4(FmRows<S> matrix, uint first, uint word, uint group, thread FmFour<BITS, S>& four) {
    #pragma unroll
    for (uint r = 0; r < 4; r++) {
        uint row = min(first + r, matrix.rows - 1);
        fm_load_words<BITS>(matrix.codes + (row * matrix.words + word), four.words + r * BITS);
        uint place = row * matrix.groups + group;
        four.scales[r] = matrix.scales[place];
        four.biases[r] = matrix.biases[place];
    }
}

/// The four rows times the slice in `x`, whose sum is `total`; lane l returns the product of row l / 8. The bias of a
/// group enters as bias * sum(x): one multiplication for 32 weights.
template <int BITS, typename S>
static inline float fm_dot4(thread const FmFour<BITS, S>& four, uint exponent, thread const float4* x, float total, uint lane) {
    float sums[4];
    #pragma unroll
    for (uint r = 0; r < 4; r++) {
        float product = 0.0f;
        #pragma unroll
        for (uint i = 0; i < uint(BITS); i++) product = fm_dot_word<BITS>(four.words[r * BITS + i], exponent, x + i * (8 / BITS), product);
        sums[r] = fma(float(four.scales[r]), product, float(four.biases[r]) * total);
    }
    return fm_sum4(sums, lane);
}

/// A simdgroup's share of products with x: its slices of x, and rows [first, first + rows_each) of them.
struct FmWalk {
    uint cols, group;
    uint parts, part;
    uint first, rows_each;
    uint exponent;
};

/// `parts` of the FM_ROW_SIMDS simdgroups of a threadgroup share a row, each with its slices of x.
static inline FmWalk fm_walk(uint cols, uint group, uint parts, uint rows_each, uint exponent, uint block, uint simd) {
    FmWalk walk = {cols, group, parts, simd % parts, (block * (FM_ROW_SIMDS / parts) + simd / parts) * rows_each, rows_each, exponent};
    return walk;
}

/// Sums of one matrix in threadgroup memory, FM_MAX_ROWS_EACH a simdgroup.
constant constexpr uint FM_ROW_SUMS = FM_ROW_SIMDS * FM_MAX_ROWS_EACH;

/// A matrix times x; `staged` and `sums` are the simdgroup's own. A barrier must follow.
template <int BITS, typename S>
static inline void fm_walk_rows(FmRows<S> matrix, device const float* x, FmWalk walk, threadgroup float4* staged,
                                threadgroup float* sums, uint lane) {
    for (uint begin = walk.part * FM_SLICE; begin < walk.cols; begin += walk.parts * FM_SLICE) {
        uint width = min(FM_SLICE, walk.cols - begin);
        uint column = begin + (lane * 32 < width ? lane * 32 : 0);
        uint word = column * uint(BITS) / 32;
        uint group = column / walk.group;
        // The first rows are under way while x is transposed.
        FmFour<BITS, S> four;
        fm_load4<BITS, S>(matrix, walk.first, word, group, four);
        float4 values[8];
        float total = fm_take_slice<BITS>(x + begin, staged, width, lane, values);
        for (uint r = 0; r < walk.rows_each; r += 4) {
            float sum = fm_dot4<BITS, S>(four, walk.exponent, values, total, lane);
            if (r + 4 < walk.rows_each) fm_load4<BITS, S>(matrix, walk.first + r + 4, word, group, four);
            uint at = r + lane / 8;
            if (lane % 8 == 0) sums[at] = begin < FM_SLICE * walk.parts ? sum : sums[at] + sum;
        }
    }
}

/// What the simdgroups that share a row have of row `lane`, from the first of them on.
static inline float fm_sum_parts(threadgroup const float* sums, uint parts, uint lane) {
    float sum = sums[lane];
    for (uint p = 1; p < parts; p++) sum += sums[p * FM_MAX_ROWS_EACH + lane];
    return sum;
}
