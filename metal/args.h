// Arguments of the kernels, included by host and kernels alike. Only 32-bit members, so both sides agree on
// layout without padding rules. Offsets and strides count elements unless a name says bytes.
#ifndef FLASHMOE_METAL_ARGS_H
#define FLASHMOE_METAL_ARGS_H

#ifndef __METAL_VERSION__
#include <stdint.h>
#endif

/// Of products with a vector: simdgroups a threadgroup, and the most rows that one of them walks through.
enum { FM_ROW_SIMDS = 4, FM_MAX_ROWS_EACH = 32 };
/// Tile of a threadgroup of fm_matmul, and its threads.
enum { FM_MATMUL_ROWS = 64, FM_MATMUL_TOKENS = 32, FM_MATMUL_THREADS = 256 };
/// The exponent of 2^23, under which a code is the mantissa of a float.
enum { FM_CODE_EXPONENT = 0x4b000000 };

/// y[t, r] = sum_c W[r, c] x[t, c]; quantised weights with `group` columns a scale. parts simdgroups share a row.
struct FmLinearArgs {
    uint32_t rows, cols, group, tokens;
    uint32_t x_stride, y_stride;
    uint32_t parts, rows_each, exponent;
};

struct FmEmbedArgs {
    uint32_t cols, group;
};

struct FmNormArgs {
    uint32_t width;
    float eps;
};

struct FmCountArgs {
    uint32_t count;
};

struct FmGatedAddArgs {
    uint32_t width, gated;
};

/// Queries [tokens, heads, q_stride], keys and values [tokens, kv_heads, head_dim]; caches in 16 bits.
struct FmGqaAppendArgs {
    uint32_t heads, kv_heads, head_dim, q_stride;
    uint32_t rope_dims, interleaved, normed, position;
    float eps;
};

/// Simdgroups of a threadgroup of attention.
enum { FM_ATTEND_SIMDS = 4 };

struct FmGqaAttendArgs {
    uint32_t heads, kv_heads, head_dim, q_stride;
    uint32_t position, splits, split_keys, chunks;
    float scale;
};

/// Simdgroups that join the splits of one head.
enum { FM_MERGE_SIMDS = 8 };

/// Joins the splits of FmGqaAttend; the gate stands behind each query.
struct FmGqaMergeArgs {
    uint32_t heads, head_dim, q_stride, gated, splits;
};

struct FmDeltaConvArgs {
    uint32_t channels, tokens;
};

struct FmDeltaStepArgs {
    uint32_t key_heads, value_heads, key_dim, value_dim, tokens;
    float qk_norm_eps, norm_eps;
};

struct FmMlaAppendArgs {
    uint32_t heads, latent_dim, nope_dim, rope_dim;
    uint32_t interleaved, position;
    float eps;
};

struct FmMlaAttendArgs {
    uint32_t heads, latent_dim, rope_dim;
    uint32_t rope_stride, rope_offset;
    uint32_t position, splits, split_keys;
    float scale;
};

/// Simdgroups among which the rows of a transposed matrix are shared out.
enum { FM_TRANSPOSED_SIMDS = 8 };

/// A matrix a head: rows [first_row, first_row + rows) of each head's head_rows. Strides from head to head.
struct FmHeadLinearArgs {
    uint32_t heads, head_rows, first_row, rows, cols, group;
    uint32_t x_stride, y_stride, exponent;
};

struct FmRouterArgs {
    uint32_t experts, top_k, groups, top_groups;
    uint32_t sigmoid, normalise, biased;
    float scale;
};

/// One expert's matrices as byte offsets into the expert buffer, and the entries that chose it.
struct FmExpertWork {
    uint32_t gate_weight, gate_scales, gate_biases;
    uint32_t up_weight, up_scales, up_biases;
    uint32_t down_weight, down_scales, down_biases;
    uint32_t first, count;
};

/// top_k 0: entries belong to the works as these say. Otherwise entry i is the router's: its expert is the one of number ids[i],
/// found by the table of places, and its token i / top_k; of the works there is one, whose offsets count from an expert's
/// beginning, and only experts of the table's part `part` are computed.
struct FmExpertArgs {
    uint32_t hidden, width, group, works;
    uint32_t parts, rows_each, exponent;
    uint32_t top_k, experts, part;
};

/// y = factor * shared + the results of each token, in order; factor is sigmoid(gate) or 1, and without `shared` there is none.
struct FmCombineChosenArgs {
    uint32_t hidden, top_k, shared, gated;
};

struct FmCombineArgs {
    uint32_t hidden, entries;
};

#endif
