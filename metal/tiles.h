// Matrix times many vectors: a tile of weights is decoded once into threadgroup memory and multiplied with a tile of vectors, eight
// by eight by eight, by simdgroup matrices in f32. Needs common.h and rows.h before it.

/// Columns that a tile has at a time, side by side; eight floats of padding keep eight rows in different banks, and every row on
/// eight bytes.
constant constexpr uint FM_DEPTH = 32;
constant constexpr uint FM_TILE_PITCH = FM_DEPTH + 8;
constant constexpr uint FM_ROWS_TILE = FM_MATMUL_ROWS * FM_TILE_PITCH;
constant constexpr uint FM_VECTORS_TILE = FM_MATMUL_TOKENS * FM_TILE_PITCH;
/// From one vector's sums to the next one's.
constant constexpr uint FM_SUMS_PITCH = FM_MATMUL_ROWS + 8;

/// Tiles that are on their way while one is multiplied.
constant constexpr uint FM_TILES_AHEAD = 2;

/// What a thread fetches of a tile: 16 columns of a row, with the parameters of their group, and four numbers of one vector or two.
template <int BITS> struct FmTilePart {
    uint words[BITS / 2];
    float scale, bias;
    float4 first, second;
};

template <int BITS, typename S>
static inline void fm_fetch_part(FmRows<S> matrix, uint row, uint column, uint group, thread FmTilePart<BITS>& part) {
    uint line = min(row, matrix.rows - 1);
    fm_load_words<BITS / 2>(matrix.codes + (line * matrix.words + column * uint(BITS) / 32), part.words);
    uint place = line * matrix.groups + column / group;
    device const S* scales = matrix.scales + place;
    device const S* biases = matrix.biases + place;
    part.scale = float(*scales);
    part.bias = float(*biases);
}

/// Writes them, decoded, to their place in the tile: four at a time, of which neighbours take turns, so that they write to
/// different banks.
template <int BITS>
static inline void fm_put_part(thread const FmTilePart<BITS>& part, threadgroup float* to, bool is_odd) {
    constexpr uint codes = 32 / BITS;
    #pragma unroll
    for (uint i = 0; i < 4; i++) {
        uint quad_index = is_odd ? i ^ 1 : i;
        uint word = is_odd ? part.words[(4 * (i ^ 1)) / codes] : part.words[4 * i / codes];
        uint rest = word >> (BITS * (4 * quad_index % codes));
        float4 quad;
        #pragma unroll
        for (uint j = 0; j < 4; j++) quad[j] = fma(part.scale, float((rest >> (BITS * j)) & ((1u << BITS) - 1u)), part.bias);
        ((threadgroup float4*)to)[quad_index] = quad;
    }
}

/// Which of a matrix' products a half of a threadgroup computes: rows [first, first + FM_MATMUL_ROWS), columns [begin, end). Both
/// halves take as many turns.
struct FmTileShare {
    uint group, first, begin, end, turns;
};

/// Halves that share the columns: whole tiles, the first half no fewer than the second.
static inline FmTileShare fm_half_of_columns(uint cols, uint group, uint first, uint side) {
    uint tiles = cols / FM_DEPTH;
    uint turns = (tiles + 1) / 2;
    FmTileShare share = {group, first, side * turns * FM_DEPTH, side == 0 ? turns * FM_DEPTH : cols, turns};
    return share;
}

/// Vectors of which a thread brings four numbers a turn, eight threads a vector, and which those are.
template <int TOKENS> static inline uint fm_vector_of(uint index, uint turn) { return (index / 8 + 16 * turn) % TOKENS; }

/// The sums of a half's share, [TOKENS, FM_SUMS_PITCH], into its half of `weights`, for all threads to read. A threadgroup has 256
/// threads in two halves of four simdgroups, and TOKENS (8 or 32) vectors; from `first_vector` and `second_vector` a thread reads
/// those that fm_vector_of() says. Behind the last row stands that row again. cols % 32 == 0, group % 32 == 0.
template <int BITS, typename S, int TOKENS>
static inline void fm_multiply_tiles(FmRows<S> matrix, FmTileShare share, device const float* first_vector,
                                     device const float* second_vector, threadgroup float* weights, threadgroup float* vectors,
                                     uint side, uint index) {
    constexpr uint row_blocks = TOKENS == 32 ? 4 : 2;
    constexpr uint token_blocks = TOKENS == 32 ? 2 : 1;
    threadgroup float* w = weights + side * FM_ROWS_TILE;
    threadgroup float* v = vectors + side * FM_VECTORS_TILE;
    // Neighbours read what lies side by side: half of a row's columns each, and an eighth of a vector's.
    uint row = index / 2;
    uint row_part = index % 2 * 16;
    uint quad = index % 8;
    threadgroup float* to_row = w + row * FM_TILE_PITCH + row_part;
    threadgroup float4* to_first = (threadgroup float4*)(v + fm_vector_of<TOKENS>(index, 0) * FM_TILE_PITCH) + quad;
    threadgroup float4* to_second = (threadgroup float4*)(v + fm_vector_of<TOKENS>(index, 1) * FM_TILE_PITCH) + quad;
    bool brings = TOKENS == 32 || index < 8 * TOKENS;
    // Of 32 vectors a simdgroup has 16 and half of the rows, of 8 all and a quarter of the rows.
    uint simd = index / FM_SIMD;
    uint first_row = TOKENS == 32 ? simd % 2 * 32 : simd * 16;
    uint first_token = TOKENS == 32 ? simd / 2 * 16 : 0;
    simdgroup_float8x8 sums[row_blocks * token_blocks];
    #pragma unroll
    for (uint i = 0; i < row_blocks * token_blocks; i++) sums[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);

    FmTilePart<BITS> parts[FM_TILES_AHEAD];
    // Before the first tile nothing is multiplied, behind the last one weights times zeros.
    for (uint turn = 0; turn < share.turns + FM_TILES_AHEAD; turn += FM_TILES_AHEAD) {
        #pragma unroll
        for (uint u = 0; u < FM_TILES_AHEAD; u++) {
            if (turn > 0) {
                threadgroup_barrier(mem_flags::mem_threadgroup);
                fm_put_part<BITS>(parts[u], to_row, index % 2 != 0);
                if (brings) to_first[0] = parts[u].first;
                if (TOKENS == 32) to_second[0] = parts[u].second;
                threadgroup_barrier(mem_flags::mem_threadgroup);
            }
            uint column = share.begin + (turn + u) * FM_DEPTH;
            bool is_there = column < share.end;
            uint safe = is_there ? column : 0;
            fm_fetch_part<BITS, S>(matrix, share.first + row, safe + row_part, share.group, parts[u]);
            parts[u].first = is_there && brings ? ((device const float4*)(first_vector + safe))[quad] : float4(0.0f);
            if (TOKENS == 32) parts[u].second = is_there ? ((device const float4*)(second_vector + safe))[quad] : float4(0.0f);
            if (turn == 0) continue;
            #pragma unroll
            for (uint step = 0; step < FM_DEPTH / 8; step++) {
                simdgroup_float8x8 a[token_blocks];
                simdgroup_float8x8 b[row_blocks];
                #pragma unroll
                for (uint t = 0; t < token_blocks; t++) {
                    simdgroup_load(a[t], v + (first_token + t * 8) * FM_TILE_PITCH + step * 8, FM_TILE_PITCH);
                }
                #pragma unroll
                for (uint r = 0; r < row_blocks; r++) {
                    simdgroup_load(b[r], w + (first_row + r * 8) * FM_TILE_PITCH + step * 8, FM_TILE_PITCH, ulong2(0), true);
                }
                #pragma unroll
                for (uint t = 0; t < token_blocks; t++) {
                    #pragma unroll
                    for (uint r = 0; r < row_blocks; r++) {
                        simdgroup_multiply_accumulate(sums[t * row_blocks + r], a[t], b[r], sums[t * row_blocks + r]);
                    }
                }
            }
        }
    }
    // The sums take the place of the weights.
    threadgroup_barrier(mem_flags::mem_threadgroup);
    #pragma unroll
    for (uint t = 0; t < token_blocks; t++) {
        #pragma unroll
        for (uint r = 0; r < row_blocks; r++) {
            simdgroup_store(sums[t * row_blocks + r], w + (first_token + t * 8) * FM_SUMS_PITCH + first_row + r * 8, FM_SUMS_PITCH);
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}
