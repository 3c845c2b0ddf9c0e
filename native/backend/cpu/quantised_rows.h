// Linear maps of packed codes, in f32.
//
// Codes are widened where they lie: lane l of step j holds code j of word l. x is therefore rearranged once a linear:
// [chunk of kLanes words][code j][lane l], then the groups' sums. Where masking is cheaper than shifting, a code is left
// where it stands in its word and so 2^k times itself; its x is divided by that power beforehand, which is exact.
// One token widens codes in registers, as weights come from memory. More tokens share a chunk widened into the nearest
// cache; rows and tokens then go together by as many as there are registers for.
namespace flashmoe::cpu {
namespace {

/// Rows and tokens that share a widened chunk; kTileRows x kTileTokens sums stay in registers.
constexpr uint32_t kTileRows = Lanes::kTileRows, kTileTokens = 4;
constexpr uint32_t kRows = 12, kTokens = 32;
/// Rows that one token meets at once, and how far ahead of them memory is asked.
constexpr uint32_t kRowsTogether = 4;
constexpr size_t kAheadBytes = 2048;
static_assert(kRows % kTileRows == 0 && kTokens % kTileTokens == 0);

template <uint32_t kBits> constexpr uint32_t kChunkCodes = kLanes * codes_per_word(kBits);

size_t padded_cols(const Matrix& matrix) {
    const size_t chunk = size_t{kLanes} * codes_per_word(matrix.bits);
    return (matrix.cols + chunk - 1) / chunk * chunk;
}

/// Groups rounded up to whole vectors.
size_t padded_groups(const Matrix& matrix) { return (matrix.groups() + kLanes - 1) / kLanes * kLanes; }

size_t quantised_floats(const Matrix& matrix) { return padded_cols(matrix) + padded_groups(matrix); }

template <uint32_t kBits> void rearrange(const float* x, float* out, size_t cols, size_t padded) {
    constexpr uint32_t kCodes = codes_per_word(kBits);
    for (size_t chunk = 0; chunk < padded; chunk += kChunkCodes<kBits>) {
        for (uint32_t lane = 0; lane < kLanes; ++lane) {
            const size_t from = chunk + size_t{lane} * kCodes;
            for (uint32_t j = 0; j < kCodes; ++j) {
                const float value = from < cols ? x[from + j] : 0.0f;
                out[chunk + size_t{j} * kLanes + lane] = value * Lanes::template place_factor<kBits>(j);
            }
        }
    }
}

FM_TARGET void quantised_prepare(const Matrix& matrix, const float* x, float* prepared) {
    const size_t padded = padded_cols(matrix), groups = matrix.groups();
    const auto run = matrix.bits == 2 ? rearrange<2> : matrix.bits == 4 ? rearrange<4> : rearrange<8>;
    run(x, prepared, matrix.cols, padded);
    float* sums = prepared + padded;
    for (size_t g = 0; g < groups; ++g) {
        F sum = Lanes::zero();
        for (uint32_t j = 0; j < matrix.group; j += kLanes) sum = Lanes::add(sum, Lanes::load(x + g * matrix.group + j));
        sums[g] = Lanes::sum(sum);
    }
    for (size_t g = groups; g < padded_groups(matrix); ++g) sums[g] = 0;
}

/// What a row loop needs of a matrix, fetched once.
struct RowShape {
    uint32_t groups, group_shift;
    size_t padded, param_bytes;
    explicit RowShape(const Matrix& matrix)
        : groups(static_cast<uint32_t>(matrix.groups())), group_shift(static_cast<uint32_t>(std::countr_zero(matrix.group))),
          padded(padded_cols(matrix)), param_bytes(element_bytes(matrix.type)) {}
};

/// Up to kLanes groups of a row from group `first` on, which `codes` codes belong to.
struct Step {
    uint32_t first, count, codes;
    Step(const RowShape& shape, uint32_t g0)
        : first(g0), count(std::min(kLanes, shape.groups - g0)), codes(count << shape.group_shift) {}
    uint32_t first_code(const RowShape& shape) const { return first << shape.group_shift; }
};

/// A step's scales, given to the lanes of a chunk: one for all of them where a group is no smaller than a chunk.
template <uint32_t kBits, bool kOneGroup> struct Scales {
    F values;
    FM_INLINE void set(F scales) { values = scales; }
    FM_INLINE F at(uint32_t c, const RowShape& shape) const { return Lanes::template spread<kBits>(values, c, shape.group_shift); }
};
template <uint32_t kBits> struct Scales<kBits, true> {
    alignas(64) float values[kLanes];
    FM_INLINE void set(F scales) { Lanes::store(values, scales); }
    FM_INLINE F at(uint32_t c, const RowShape& shape) const { return Lanes::set1(values[c >> shape.group_shift]); }
};

/// A step's scales and biases.
struct Parameters {
    F scales, biases;
};

FM_INLINE void load_parameters(const Matrix& matrix, const RowShape& shape, uint32_t row, const Step& step,
                               Parameters& made) {
    const size_t at = (size_t{row} * shape.groups + step.first) * shape.param_bytes;
    made.scales = Lanes::params(matrix.type, matrix.scales.as<const std::byte>() + at, step.count);
    made.biases = Lanes::params(matrix.type, matrix.biases.as<const std::byte>() + at, step.count);
}

/// kSome rows from `row` on, one token. Each row's operations are the same and in the same order whatever kSome is; several
/// sums at once hide each other's latency, and share what is loaded of x.
template <uint32_t kBits, bool kOneGroup, uint32_t kSome>
FM_INLINE void add_rows(const Matrix& matrix, const RowShape& shape, uint32_t row, const float* x, float* y) {
    constexpr uint32_t kCodes = codes_per_word(kBits);
    const std::byte* codes = weight_row(matrix, row);
    const size_t row_bytes = matrix.row_bytes();
    F total[kSome];
    FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) total[i] = Lanes::zero();
    for (uint32_t g0 = 0; g0 < shape.groups; g0 += kLanes) {
        const Step step(shape, g0);
        Scales<kBits, kOneGroup> scales[kSome];
        FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) {
            Parameters parameters;
            load_parameters(matrix, shape, row + i, step, parameters);
            total[i] = Lanes::fma(parameters.biases, Lanes::load(x + shape.padded + g0), total[i]);
            scales[i].set(parameters.scales);
        }
        const uint32_t first = step.first_code(shape);
        for (uint32_t c = 0; c < step.codes; c += kChunkCodes<kBits>) {
            const float* part = x + first + c;
            decltype(Lanes::load_words(codes, 0)) words[kSome];
            F sums[kSome];
            FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) {
                words[i] = Lanes::load_words(codes + i * row_bytes + size_t{first + c} * kBits / 8, (step.codes - c) / kCodes);
            }
            // The next rows in the order of memory: hardware doesn't see that rows side by side are one stream.
            const std::byte* ahead = codes + kSome * row_bytes + size_t{kSome} * (first + c) * kBits / 8 + kAheadBytes;
            FM_UNROLL for (uint32_t line = 0; line < kSome * kLanes * 4; line += 64) __builtin_prefetch(ahead + line);
            FM_UNROLL for (uint32_t j = 0; j < kCodes; ++j) {
                const F value = Lanes::load(part + j * kLanes);
                FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) {
                    const F code = Lanes::template placed_code<kBits>(words[i], j);
                    sums[i] = j == 0 ? Lanes::mul(code, value) : Lanes::fma(code, value, sums[i]);
                }
            }
            FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) total[i] = Lanes::fma(scales[i].at(c, shape), sums[i], total[i]);
        }
    }
    FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) y[i] = Lanes::sum(total[i]);
}

template <uint32_t kBits, bool kOneGroup>
FM_TARGET void single_rows_of(const Matrix& matrix, const RowShape& shape, uint32_t first, uint32_t last, const float* x, float* y) {
    uint32_t r = first;
    for (; r + kRowsTogether <= last; r += kRowsTogether) add_rows<kBits, kOneGroup, kRowsTogether>(matrix, shape, r, x, y + (r - first));
    for (; r < last; ++r) add_rows<kBits, kOneGroup, 1>(matrix, shape, r, x, y + (r - first));
}

template <uint32_t kBits>
void single_rows(const Matrix& matrix, const RowShape& shape, uint32_t first, uint32_t last, const float* x, float* y) {
    const auto run = matrix.group >= kChunkCodes<kBits> ? single_rows_of<kBits, true> : single_rows_of<kBits, false>;
    run(matrix, shape, first, last, x, y);
}

/// One chunk of a few rows.
template <uint32_t kBits> struct Chunk {
    alignas(64) float codes[kRows][kChunkCodes<kBits>];
    F scales[kRows];
};

/// totals[i][t] += the chunk's part for kSome rows and kOf tokens: the operations of single_rows, in their order.
template <uint32_t kBits, uint32_t kSome, uint32_t kOf>
FM_INLINE void add_chunk(const Chunk<kBits>& chunk, uint32_t row, const float* x, size_t stride, F (*totals)[kTokens]) {
    constexpr uint32_t kCodes = codes_per_word(kBits);
    F sums[kSome][kOf];
    // Not unrolled: the compiler would keep more of x and the codes at once than there are registers.
    for (uint32_t j = 0; j < kCodes; ++j) {
        F code[kSome];
        FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) code[i] = Lanes::load(chunk.codes[row + i] + j * kLanes);
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) {
            const F value = Lanes::load(x + t * stride + j * kLanes);
            FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) {
                sums[i][t] = j == 0 ? Lanes::mul(code[i], value) : Lanes::fma(code[i], value, sums[i][t]);
            }
        }
    }
    FM_UNROLL for (uint32_t i = 0; i < kSome; ++i) {
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) totals[row + i][t] = Lanes::fma(chunk.scales[row + i], sums[i][t], totals[row + i][t]);
    }
}

template <uint32_t kBits, uint32_t kOf>
FM_TARGET void add_chunk_rows(const Chunk<kBits>& chunk, uint32_t rows, const float* x, size_t stride, F (*totals)[kTokens]) {
    uint32_t i = 0;
    for (; i + kTileRows <= rows; i += kTileRows) add_chunk<kBits, kTileRows, kOf>(chunk, i, x, stride, totals);
    for (; i < rows; ++i) add_chunk<kBits, 1, kOf>(chunk, i, x, stride, totals);
}

/// kOf = tokens, which is less than kTileTokens.
template <uint32_t kBits, uint32_t kOf = kTileTokens - 1>
void add_chunk_rest(const Chunk<kBits>& chunk, uint32_t rows, const float* x, size_t stride, uint32_t tokens, F (*totals)[kTokens]) {
    if constexpr (kOf > 0) {
        if (tokens == kOf) add_chunk_rows<kBits, kOf>(chunk, rows, x, stride, totals);
        else add_chunk_rest<kBits, kOf - 1>(chunk, rows, x, stride, tokens, totals);
    }
}

/// Rows [first, first + rows), at most kRows, against at most kTokens tokens.
template <uint32_t kBits>
FM_TARGET void tile_rows(const Matrix& matrix, const RowShape& shape, uint32_t first, uint32_t rows, const float* x,
                         size_t stride, uint32_t tokens, float* y, size_t y_stride) {
    constexpr uint32_t kCodes = codes_per_word(kBits);
    F totals[kRows][kTokens];
    Parameters parameters[kRows];
    Chunk<kBits> chunk;
    for (uint32_t i = 0; i < rows; ++i) {
        for (uint32_t t = 0; t < tokens; ++t) totals[i][t] = Lanes::zero();
    }
    for (uint32_t g0 = 0; g0 < shape.groups; g0 += kLanes) {
        const Step step(shape, g0);
        for (uint32_t i = 0; i < rows; ++i) {
            load_parameters(matrix, shape, first + i, step, parameters[i]);
            for (uint32_t t = 0; t < tokens; ++t) {
                totals[i][t] = Lanes::fma(parameters[i].biases, Lanes::load(x + t * stride + shape.padded + g0), totals[i][t]);
            }
        }
        for (uint32_t c = 0; c < step.codes; c += kChunkCodes<kBits>) {
            const uint32_t at = step.first_code(shape) + c;
            for (uint32_t i = 0; i < rows; ++i) {
                const auto words = Lanes::load_words(weight_row(matrix, first + i) + size_t{at} * kBits / 8, (step.codes - c) / kCodes);
                FM_UNROLL for (uint32_t j = 0; j < kCodes; ++j) {
                    Lanes::store(chunk.codes[i] + j * kLanes, Lanes::template placed_code<kBits>(words, j));
                }
                chunk.scales[i] = Lanes::template spread<kBits>(parameters[i].scales, c, shape.group_shift);
            }
            uint32_t t = 0;
            for (; t + kTileTokens <= tokens; t += kTileTokens) {
                add_chunk_rows<kBits, kTileTokens>(chunk, rows, x + t * stride + at, stride, reinterpret_cast<F(*)[kTokens]>(&totals[0][t]));
            }
            add_chunk_rest<kBits>(chunk, rows, x + t * stride + at, stride, tokens - t, reinterpret_cast<F(*)[kTokens]>(&totals[0][t]));
        }
    }
    for (uint32_t i = 0; i < rows; ++i) {
        for (uint32_t t = 0; t < tokens; ++t) y[t * y_stride + i] = Lanes::sum(totals[i][t]);
    }
}

template <uint32_t kBits>
void quantised_rows_of(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, uint32_t tokens,
                       float* y, size_t y_stride) {
    const RowShape shape(matrix);
    if (tokens == 1) return single_rows<kBits>(matrix, shape, first, last, x, y);
    for (uint32_t r = first; r < last; r += kRows) {
        for (uint32_t t = 0; t < tokens; t += kTokens) {
            tile_rows<kBits>(matrix, shape, r, std::min(kRows, last - r), x + t * stride, stride, std::min(kTokens, tokens - t),
                             y + t * y_stride + (r - first), y_stride);
        }
    }
}

void quantised_rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                    uint32_t tokens, float* y, size_t y_stride) {
    const auto run = matrix.bits == 2   ? quantised_rows_of<2>
                     : matrix.bits == 4 ? quantised_rows_of<4>
                                        : quantised_rows_of<8>;
    run(matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace
} // namespace flashmoe::cpu
