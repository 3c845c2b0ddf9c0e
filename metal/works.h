// Works: an expert and its entries each. Needs common.h and rows.h before it.

/// Entry `index` belongs to the last work whose first entry is not behind it.
static inline uint fm_work_of(constant FmExpertWork* works, uint count, uint index) {
    uint work = 0;
    while (work + 1 < count && works[work + 1].first <= index) work++;
    return work;
}

/// A matrix whose parts lie at these bytes of `data`.
template <int BITS, typename S>
static inline FmRows<S> fm_expert_matrix(device const uchar* data, uint weight, uint scales, uint biases, uint rows, uint cols, uint group) {
    FmRows<S> matrix = {(device const uint*)(data + weight), (device const S*)(data + scales), (device const S*)(data + biases),
                        rows, cols * uint(BITS) / 32, cols / group};
    return matrix;
}

/// Entries [first, first + count) of a work.
struct FmTileOfWork {
    uint work, first, count;
};

/// Tile `index` of all works', each of TOKENS entries or of what is left of its work.
template <int TOKENS>
static inline FmTileOfWork fm_tile_of(constant FmExpertWork* works, uint index) {
    uint work = 0;
    for (;;) {
        uint tiles = (works[work].count + TOKENS - 1) / TOKENS;
        if (index < tiles) break;
        index -= tiles;
        work++;
    }
    uint done = index * TOKENS;
    FmTileOfWork tile = {work, works[work].first + done, min(uint(TOKENS), works[work].count - done)};
    return tile;
}
