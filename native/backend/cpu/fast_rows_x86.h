// Integer row loops of x86. An instruction set's file defines FM_TARGET, FM_LANE and, in an unnamed namespace, dots() and struct
// Wide, then includes this; nothing else may.
//
// One token: weights come from memory row by row, four rows at once, a chunk of two blocks at a time. Several: a lane for each of
// Wide::kRows rows. Their codes are turned around into the nearest cache once for all tokens, four codes of each row side by side,
// and are then multiplied with four of a token's, given to all lanes.
#include <algorithm>
#include <cstring>
#include <utility>

namespace flashmoe::cpu {
namespace {

/// From here on turning codes around pays.
constexpr uint32_t kTiledTokens = 4;
constexpr uint32_t kMostTokens = 64;
/// Blocks that are turned around together: with x of all tokens they stay in the nearest caches.
constexpr uint32_t kRunBlocks = 16;
constexpr uint32_t kQuads = kFastBlock / 4;
constexpr size_t kAheadBytes = 2048;
/// Groups of four rows whose parameters are widened together.
constexpr uint32_t kGroupRun = 128;

FM_LANE __m256 widen_eight(ElementType type, const std::byte* from) {
    if (type == ElementType::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    if (type == ElementType::f16) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/// Of four rows, parameters [first, first + count), group by group: to[g][row].
FM_TARGET inline void widen_four(const Matrix& matrix, const FastShape& shape, const Span& from, const uint32_t* rows, uint32_t first,
                                 uint32_t count, float* to) {
    const std::byte* at[4];
    for (uint32_t i = 0; i < 4; ++i) at[i] = from.as<const std::byte>() + (size_t{rows[i]} * shape.groups + first) * shape.param_bytes;
    if (count < 8) {
        float wide[8];
        for (uint32_t i = 0; i < 4; ++i) {
            widen_parameters(matrix.type, at[i], count, wide);
            for (uint32_t g = 0; g < count; ++g) to[g * 4 + i] = wide[g];
        }
        return;
    }
    // The last eight overlap those before them.
    for (uint32_t done = 0; done < count; done += 8) {
        const uint32_t g = std::min(done, count - 8);
        __m256 row[4];
        FM_UNROLL for (uint32_t i = 0; i < 4; ++i) row[i] = widen_eight(matrix.type, at[i] + g * shape.param_bytes);
        const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(row[0], row[1])), b = _mm256_castps_pd(_mm256_unpackhi_ps(row[0], row[1]));
        const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(row[2], row[3])), d = _mm256_castps_pd(_mm256_unpackhi_ps(row[2], row[3]));
        const __m256d turned[4] = {_mm256_unpacklo_pd(a, c), _mm256_unpackhi_pd(a, c), _mm256_unpacklo_pd(b, d), _mm256_unpackhi_pd(b, d)};
        FM_UNROLL for (uint32_t i = 0; i < 4; ++i) {
            const __m256 pair = _mm256_castpd_ps(turned[i]);
            _mm_store_ps(to + (g + i) * 4, _mm256_castps256_ps128(pair));
            _mm_store_ps(to + (g + 4 + i) * 4, _mm256_extractf128_ps(pair, 1));
        }
    }
}

/// A chunk's codes, a byte each: first blocks in the lower halves, second ones in the upper.
template <uint32_t kBits> FM_TARGET inline void unpack(const std::byte* codes, __m256i& low, __m256i& high) {
    if constexpr (kBits == 4) {
        const __m256i mask = _mm256_set1_epi8(15);
        const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
        low = _mm256_and_si256(words, mask);
        high = _mm256_and_si256(_mm256_srli_epi16(words, 4), mask);
    } else {
        // Bytes of the first block, twice, then of the second: columns 0, 4 ... and 1, 5 ...; then 2, 6 ... and 3, 7 ...
        const __m256i mask = _mm256_set1_epi8(3);
        const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
        const __m128i shifted = _mm_srli_epi16(words, 2);
        const __m256i pair = _mm256_set_m128i(_mm_unpackhi_epi64(words, shifted), _mm_unpacklo_epi64(words, shifted));
        low = _mm256_and_si256(pair, mask);
        high = _mm256_and_si256(_mm256_srli_epi16(pair, 4), mask);
    }
}

/// The sums of products of four rows' chunks, first blocks and second ones.
template <uint32_t kBits>
FM_TARGET inline __m256 chunk_sums(const std::byte* a, const std::byte* b, const std::byte* c, const std::byte* d, const std::byte* x) {
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x) + 1);
    const __m256i x_low = _mm256_permute2x128_si256(first, second, 0x20), x_high = _mm256_permute2x128_si256(first, second, 0x31);
    const auto of_row = [&](const std::byte* row) FM_TARGET {
        __m256i low, high;
        unpack<kBits>(row, low, high);
        return dots(low, x_low, high, x_high);
    };
    return _mm256_cvtepi32_ps(_mm256_hadd_epi32(_mm256_hadd_epi32(of_row(a), of_row(b)), _mm256_hadd_epi32(of_row(c), of_row(d))));
}

/// Four rows (the last may be given more than once), one token.
template <uint32_t kBits>
FM_TARGET void four_rows(const Matrix& matrix, const FastShape& shape, const uint32_t* rows, const float* x, float* y) {
    constexpr size_t kBlockBytes = size_t{kFastBlock} * kBits / 8;
    const auto* codes = reinterpret_cast<const std::byte*>(x);
    const float* x_scales = x + shape.scales_at();
    const float* sums = x + shape.sums_at();
    const std::byte* weights[4];
    for (uint32_t i = 0; i < 4; ++i) weights[i] = matrix.weight.as<const std::byte>() + rows[i] * shape.row_bytes;
    alignas(16) float scales[kGroupRun * 4], biases[kGroupRun * 4];
    __m128 total = _mm_setzero_ps(), rest = _mm_setzero_ps();
    for (uint32_t g0 = 0; g0 < shape.groups; g0 += kGroupRun) {
        const uint32_t groups = std::min(kGroupRun, shape.groups - g0);
        widen_four(matrix, shape, matrix.scales, rows, g0, groups, scales);
        widen_four(matrix, shape, matrix.biases, rows, g0, groups, biases);
        for (uint32_t g = 0; g < groups; ++g) rest = _mm_fmadd_ps(_mm_load_ps(biases + g * 4), _mm_set1_ps(sums[g0 + g]), rest);
        const uint32_t first = (g0 << shape.group_shift) / kFastBlock, last = ((g0 + groups) << shape.group_shift) / kFastBlock;
        const uint32_t shift = shape.group_shift;
        const auto add = [&](uint32_t block, __m128 sum) FM_TARGET {
            const __m128 scale = _mm_load_ps(scales + ((block * kFastBlock >> shift) - g0) * 4);
            total = _mm_fmadd_ps(sum, _mm_mul_ps(scale, _mm_set1_ps(x_scales[block])), total);
        };
        // The next rows in the order of memory: hardware doesn't see that rows side by side are one stream.
        const std::byte* ahead = weights[0] + 4 * shape.row_bytes + kAheadBytes;
        uint32_t block = first;
        for (; block + 2 <= last; block += 2) {
            const size_t byte = size_t{block} * kBlockBytes;
            const __m256 sums_of = chunk_sums<kBits>(weights[0] + byte, weights[1] + byte, weights[2] + byte, weights[3] + byte, codes + size_t{block} * kFastBlock);
            for (size_t line = 0; line < 8 * kBlockBytes; line += 64) {
                _mm_prefetch(reinterpret_cast<const char*>(ahead + 4 * byte + line), _MM_HINT_T0);
            }
            add(block, _mm256_castps256_ps128(sums_of));
            add(block + 1, _mm256_extractf128_ps(sums_of, 1));
        }
        if (block == last) continue;
        // Half a chunk at a row's end.
        alignas(32) std::byte rests_of[4][2 * kBlockBytes] = {};
        for (uint32_t i = 0; i < 4; ++i) std::memcpy(rests_of[i], weights[i] + size_t{block} * kBlockBytes, kBlockBytes);
        const __m256 sums_of = chunk_sums<kBits>(rests_of[0], rests_of[1], rests_of[2], rests_of[3], codes + size_t{block} * kFastBlock);
        add(block, _mm256_castps256_ps128(sums_of));
    }
    _mm_storeu_ps(y, _mm_add_ps(total, rest));
}

/// What a run of blocks has of Wide::kRows rows, turned around.
struct Turned {
    alignas(64) uint8_t codes[kRunBlocks][kQuads][Wide::kRows][4];
    alignas(64) float scales[kRunBlocks + 1][Wide::kRows], biases[kRunBlocks + 1][Wide::kRows];
};

template <uint32_t kBits>
FM_TARGET void turn_codes(const std::byte* const* rows, uint32_t first, uint32_t count, Turned& to) {
    using I = Wide::I;
    constexpr uint32_t kParts = 4 / kBits * 2; // Codes of a byte: 2 or 4.
    const I mask = Wide::set1(kBits == 4 ? 0x0f0f0f0f : 0x03030303);
    // Sixteen bytes of each row: a block of 4 bits, or two of 2 bits, whose groups have no fewer.
    constexpr uint32_t kBlocks = kBits == 4 ? 1 : 2;
    const std::byte* at[Wide::kRows];
    for (uint32_t block = 0; block < count; block += kBlocks) {
        const size_t byte = size_t{first + block} * kFastBlock * kBits / 8;
        for (uint32_t r = 0; r < Wide::kRows; ++r) at[r] = rows[r] + byte;
        // Rows a, a + 4, a + 8 ...: four lanes by four, words and rows change places.
        const I a = Wide::gather(at), b = Wide::gather(at + 1), c = Wide::gather(at + 2), d = Wide::gather(at + 3);
        const I ab_low = Wide::unpack_low(a, b), ab_high = Wide::unpack_high(a, b);
        const I cd_low = Wide::unpack_low(c, d), cd_high = Wide::unpack_high(c, d);
        const I words[4] = {Wide::unpack_low_pairs(ab_low, cd_low), Wide::unpack_high_pairs(ab_low, cd_low),
                            Wide::unpack_low_pairs(ab_high, cd_high), Wide::unpack_high_pairs(ab_high, cd_high)};
        for (uint32_t word = 0; word < 4; ++word) {
            const uint32_t target = kBits == 4 ? block : block + word / 2;
            const uint32_t quad = kBits == 4 ? word : word % 2, step = kBits == 4 ? 4 : 2;
            FM_UNROLL for (uint32_t part = 0; part < kParts; ++part) {
                Wide::store(to.codes[target][part * step + quad], Wide::bitwise_and(Wide::shift_right(words[word], part * kBits), mask));
            }
        }
    }
}

/// Scales and biases of groups [first, first + count), a lane for each row.
FM_TARGET void turn_parameters(const Matrix& matrix, const FastShape& shape, const uint32_t* rows, uint32_t first, uint32_t count,
                               float (*scales)[Wide::kRows], float (*biases)[Wide::kRows]) {
    alignas(16) float four[kRunBlocks * 4];
    for (const auto& [from, to] : {std::pair{matrix.scales, scales}, std::pair{matrix.biases, biases}}) {
        for (uint32_t r = 0; r < Wide::kRows; r += 4) {
            widen_four(matrix, shape, from, rows + r, first, count, four);
            for (uint32_t g = 0; g < count; ++g) _mm_store_ps(to[g] + r, _mm_load_ps(four + g * 4));
        }
    }
}

/// kOf tokens against a run of blocks from `first` on.
template <uint32_t kOf>
FM_TARGET void add_run(const Turned& turned, const FastShape& shape, uint32_t first, uint32_t count, const float* x, size_t stride,
                       float (*totals)[Wide::kRows]) {
    typename Wide::F total[kOf];
    FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) total[t] = Wide::load(totals[t]);
    const uint32_t g0 = shape.group_of(first);
    for (uint32_t block = 0; block < count; ++block) {
        typename Wide::I sums[kOf];
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) sums[t] = Wide::zero();
        const auto* codes = reinterpret_cast<const std::byte*>(x) + size_t{first + block} * kFastBlock;
        for (uint32_t quad = 0; quad < kQuads; ++quad) {
            const typename Wide::I weights = Wide::load(turned.codes[block][quad]);
            FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) {
                int32_t four;
                std::memcpy(&four, codes + t * stride * sizeof(float) + quad * 4, 4);
                sums[t] = Wide::add_products(sums[t], weights, Wide::set1(four));
            }
        }
        const typename Wide::F scale = Wide::load(turned.scales[shape.group_of(first + block) - g0]);
        FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) {
            const typename Wide::F factor = Wide::mul(scale, Wide::set1(x[t * stride + shape.scales_at() + first + block]));
            total[t] = Wide::fma(Wide::to_float(sums[t]), factor, total[t]);
        }
    }
    FM_UNROLL for (uint32_t t = 0; t < kOf; ++t) Wide::store(totals[t], total[t]);
}

/// kOf = tokens, which is less than Wide::kTokens.
template <uint32_t kOf = Wide::kTokens - 1>
void add_run_rest(const Turned& turned, const FastShape& shape, uint32_t first, uint32_t count, const float* x, size_t stride,
                  uint32_t tokens, float (*totals)[Wide::kRows]) {
    if constexpr (kOf > 0) {
        if (tokens == kOf) add_run<kOf>(turned, shape, first, count, x, stride, totals);
        else add_run_rest<kOf - 1>(turned, shape, first, count, x, stride, tokens, totals);
    }
}

/// Rows [row, row + Wide::kRows), as far as they are below `last`, against at most kMostTokens tokens.
template <uint32_t kBits>
FM_TARGET void tile(const Matrix& matrix, const FastShape& shape, uint32_t row, uint32_t last, const float* x, size_t stride,
                    uint32_t tokens, float* y, size_t y_stride) {
    Turned turned;
    alignas(64) float totals[kMostTokens][Wide::kRows], rests[kMostTokens][Wide::kRows];
    uint32_t rows[Wide::kRows];
    const std::byte* weights[Wide::kRows];
    for (uint32_t r = 0; r < Wide::kRows; ++r) {
        rows[r] = std::min(row + r, last - 1);
        weights[r] = matrix.weight.as<const std::byte>() + rows[r] * shape.row_bytes;
    }
    std::memset(totals, 0, tokens * sizeof totals[0]);
    std::memset(rests, 0, tokens * sizeof rests[0]);
    uint32_t biased = 0; // groups whose biases are added
    for (uint32_t first = 0; first < shape.blocks; first += kRunBlocks) {
        const uint32_t count = std::min(kRunBlocks, shape.blocks - first);
        turn_codes<kBits>(weights, first, count, turned);
        const uint32_t g0 = shape.group_of(first), groups = shape.group_of(first + count - 1) + 1 - g0;
        turn_parameters(matrix, shape, rows, g0, groups, turned.scales, turned.biases);
        uint32_t t = 0;
        for (; t + Wide::kTokens <= tokens; t += Wide::kTokens) {
            add_run<Wide::kTokens>(turned, shape, first, count, x + t * stride, stride, totals + t);
        }
        add_run_rest(turned, shape, first, count, x + t * stride, stride, tokens - t, totals + t);
        for (; biased < g0 + groups; ++biased) {
            const typename Wide::F bias = Wide::load(turned.biases[biased - g0]);
            for (t = 0; t < tokens; ++t) {
                const typename Wide::F sum = Wide::set1(x[t * stride + shape.sums_at() + biased]);
                Wide::store(rests[t], Wide::fma(bias, sum, Wide::load(rests[t])));
            }
        }
    }
    const uint32_t some = std::min(Wide::kRows, last - row);
    for (uint32_t t = 0; t < tokens; ++t) {
        for (uint32_t r = 0; r < some; ++r) y[t * y_stride + r] = totals[t][r] + rests[t][r];
    }
}

template <uint32_t kBits>
void fast_rows_of_bits(const Matrix& matrix, uint32_t first, uint32_t last, const float* x, size_t stride, uint32_t tokens,
                       float* y, size_t y_stride) {
    const FastShape shape(matrix);
    if (tokens >= kTiledTokens) {
        for (uint32_t t = 0; t < tokens; t += kMostTokens) {
            for (uint32_t r = first; r < last; r += Wide::kRows) {
                tile<kBits>(matrix, shape, r, last, x + t * stride, stride, std::min(kMostTokens, tokens - t), y + t * y_stride + (r - first), y_stride);
            }
        }
        return;
    }
    for (uint32_t r = first; r < last; r += 4) {
        const uint32_t rows[4] = {r, std::min(r + 1, last - 1), std::min(r + 2, last - 1), std::min(r + 3, last - 1)};
        for (uint32_t t = 0; t < tokens; ++t) {
            float four[4];
            four_rows<kBits>(matrix, shape, rows, x + t * stride, four);
            std::copy_n(four, std::min(4u, last - r), y + t * y_stride + (r - first));
        }
    }
}

} // namespace
} // namespace flashmoe::cpu
