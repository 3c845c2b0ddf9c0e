// 4-bit groups to 2 bits, kLanes groups side by side. Included once by each instruction set's file, inside its
// namespace, with FM_LANES, tail_counts, gather, any, fused and encode defined there; so no include guard. Every operation on
// floats that a result depends on is elementwise and rounds on its own (no contraction), so all instruction sets write the
// same bytes.
//
// A group has at most 16 distinct values, so everything is decided on counts of the 16 levels k, value s*k + b.
// A code q = [k >= t1] + [k >= t2] + [k >= t3]; with n = group size, and for each threshold t
//   A(t) = number of codes >= t,  B(t) = their sum,  K = sum of all codes,  D(t) = n B(t) - K A(t),
// the best affine fit of k to q leaves  sum (k - mean)^2 - (D1 + D2 + D3)^2 / (n (n (A1 + 3 A2 + 5 A3) - (A1 + A2 + A3)^2)).
// The best fit of all assigns every level to its nearest point of a uniform grid, so its thresholds are t1 + d and
// t2 + d - 1 … d + 1 apart, or lie past the last level: 211 triples. All sums are integers below 2^24.
//
// Where columns have weights, a code counts as often as its weight says, in all of these sums and in n. They are whole
// numbers below 2^24 still; only products of two sums are rounded.

#include "quant/requantise4_fit.h"
#include "quant/requantise4_search.h"

/// Widened parameters of kLanes groups.
inline Floats load_params(const std::uint8_t* from, ParamType type, std::size_t first) {
    Floats values;
    if (type == ParamType::bf16) {
        Halves halves;
        std::memcpy(&halves, from + 2 * first, sizeof halves);
        const Ints bits = __builtin_convertvector(halves, Ints) << 16;
        std::memcpy(&values, &bits, sizeof values);
    } else {
        for (int lane = 0; lane < kLanes; ++lane) {
            values[lane] = parameter(from, type, first + static_cast<std::size_t>(lane));
        }
    }
    return values;
}

inline void store_bf16(const Floats& values, std::uint8_t* to) {
    Ints bits;
    std::memcpy(&bits, &values, sizeof bits);
    const Halves halves = __builtin_convertvector(bits >> 16, Halves);
    std::memcpy(to, &halves, sizeof halves);
}

/// Sums per lane, so that adding them up costs once a job and not once a group.
struct LaneSums {
    Doubles squared_error, range_error, sum, sum_of_squares;
    Ints broken;
};

/// Sums of weights of the codes at and over each level, for one lane.
template <std::size_t kBytes>
inline void weighted_tails(const std::uint8_t* codes, const std::uint8_t* weights, std::int32_t* tail) {
    std::int32_t of_level[kLevels] = {};
    for (std::size_t i = 0; i < kBytes; ++i) {
        of_level[codes[i] & 15] += weights[2 * i];
        of_level[codes[i] >> 4] += weights[2 * i + 1];
    }
    std::int32_t sum = 0;
    for (int t = kLevels - 1; t >= 0; --t) tail[t * kLanes] = sum += of_level[t];
}

/// The grid with the least weighted error; its error is the plain one, as `plain` counts.
template <std::size_t kBytes>
inline Fit weighted_fit(const std::uint8_t* codes, const Importance& importance, std::size_t first, const Params& params,
                        const Counts& plain, const Fit& range) {
    Counts counts;
    for (int lane = 0; lane < kLanes; ++lane) {
        const auto at = static_cast<std::size_t>(lane);
        counts.tail[kLevels][lane] = 0;
        weighted_tails<kBytes>(codes + at * kBytes, weights_of(importance, first + at, 2 * kBytes), &counts.tail[0][lane]);
    }
    counts.add_up<true>();
    Fit fit = evaluate<true>(counts, params, search_params(counts, params));
    const Ints worse = error_of<true>(counts, params, range.params, range.threshold) <= fit.error;
    choose(fit, worse, range);
    fit.error = error_of<false>(plain, params, fit.params, fit.threshold);
    return fit;
}

/// kLanes groups from `first` on, kBytes of codes each; `place` is the number of the first one among the source's.
template <std::size_t kBytes, bool kWeighted>
inline void requantise_lanes(const Codes& source, const AffineTarget& target, Method method, const Importance* importance,
                             std::size_t first, std::size_t place, LaneSums& sums) {
    constexpr float n = 2 * kBytes;
    const std::uint8_t* const codes = source.codes + first * kBytes;
    Counts counts;
    for (int lane = 0; lane < kLanes; ++lane) {
        counts.tail[0][lane] = 2 * kBytes;
        counts.tail[kLevels][lane] = 0;
        tail_counts<kBytes>(codes + static_cast<std::size_t>(lane) * kBytes, &counts.tail[0][lane]);
    }
    const Floats scale = load_params(source.scales, source.type, first);
    const Floats bias = load_params(source.biases, source.type, first);
    const Floats limit = splat(kMaxParameter);
    // False for NaN.
    const Ints usable = (scale < limit) & (scale > -limit) & (bias < limit) & (bias > -limit);
    const Params params{usable ? scale : Floats{}, usable ? bias : Floats{}};

    counts.add_up<false>();
    Fit fit = evaluate<false>(counts, params, minmax_params(counts, params));
    sums.range_error += to_doubles(fit.error);
    if constexpr (kWeighted) {
        fit = weighted_fit<kBytes>(codes, *importance, place, params, counts, fit);
    } else if (method == Method::search) {
        const Fit found = evaluate<false>(counts, params, search_params(counts, params));
        choose(fit, found.error < fit.error, found);
    }

    store_bf16(fit.params.scale, target.scales + 2 * first);
    store_bf16(fit.params.bias, target.biases + 2 * first);
    // Three thresholds, then -1 where codes count what is below them.
    alignas(64) std::int32_t choice[4][kLanes];
    const Ints falling = params.scale < 0.0f;
    std::memcpy(choice, fit.threshold, sizeof fit.threshold);
    std::memcpy(choice[3], &falling, sizeof falling);
    for (int lane = 0; lane < kLanes; ++lane) {
        const auto at = static_cast<std::size_t>(lane);
        encode<kBytes>(codes + at * kBytes, &choice[0][lane], target.codes + (first + at) * kBytes / 2);
    }

    const Doubles s = to_doubles(params.scale), b = to_doubles(params.bias);
    const Doubles k = to_doubles(counts.sums(0)), k2 = to_doubles(counts.squares);
    sums.squared_error += to_doubles(fit.error);
    sums.sum += s * k + b * double{n};
    sums.sum_of_squares += s * (s * k2 + 2.0 * b * k) + b * b * double{n};
    sums.broken += usable + 1;
}

inline void add_lanes(const LaneSums& lanes, int count, ErrorSums& sums) {
    for (int lane = 0; lane < count; ++lane) {
        sums.squared_error += lanes.squared_error[lane];
        sums.range_error += lanes.range_error[lane];
        sums.sum += lanes.sum[lane];
        sums.sum_of_squares += lanes.sum_of_squares[lane];
        sums.broken_groups += static_cast<std::uint64_t>(lanes.broken[lane]);
    }
}

/// Fewer than kLanes groups: padded with zeros to a full set.
template <std::size_t kBytes, bool kWeighted>
inline void requantise_rest(const Codes& source, const AffineTarget& target, Method method, const Importance* importance,
                            std::size_t first, ErrorSums& sums) {
    const std::size_t count = source.groups - first;
    const std::size_t param_bytes = source.type == ParamType::f32 ? 4 : 2;
    std::uint8_t codes[kLanes * kBytes] = {}, scales[kLanes * 4] = {}, biases[kLanes * 4] = {};
    std::uint8_t out_codes[kLanes * kBytes / 2], out_scales[kLanes * 2], out_biases[kLanes * 2];
    std::memcpy(codes, source.codes + first * kBytes, count * kBytes);
    std::memcpy(scales, source.scales + first * param_bytes, count * param_bytes);
    std::memcpy(biases, source.biases + first * param_bytes, count * param_bytes);
    const Codes rest{codes, scales, biases, source.type, source.bits, source.group_size, kLanes};
    LaneSums lanes{};
    requantise_lanes<kBytes, kWeighted>(rest, {out_codes, out_scales, out_biases, target.bits}, method, importance, 0, first, lanes);
    add_lanes(lanes, static_cast<int>(count), sums);
    std::memcpy(target.codes + first * kBytes / 2, out_codes, count * kBytes / 2);
    std::memcpy(target.scales + 2 * first, out_scales, 2 * count);
    std::memcpy(target.biases + 2 * first, out_biases, 2 * count);
}

template <std::size_t kBytes, bool kWeighted>
inline ErrorSums requantise_groups(const Codes& source, const AffineTarget& target, Method method,
                                   const Importance* importance) {
    LaneSums lanes{};
    ErrorSums sums;
    std::size_t first = 0;
    for (; first + kLanes <= source.groups; first += kLanes) {
        requantise_lanes<kBytes, kWeighted>(source, target, method, importance, first, first, lanes);
    }
    add_lanes(lanes, kLanes, sums);
    if (first < source.groups) requantise_rest<kBytes, kWeighted>(source, target, method, importance, first, sums);
    sums.values = source.groups * 2 * kBytes;
    return sums;
}

template <bool kWeighted>
inline ErrorSums requantise_sized(const Codes& source, const AffineTarget& target, Method method,
                                  const Importance* importance) {
    switch (source.group_size) {
    case 32: return requantise_groups<16, kWeighted>(source, target, method, importance);
    case 64: return requantise_groups<32, kWeighted>(source, target, method, importance);
    default: return requantise_groups<64, kWeighted>(source, target, method, importance);
    }
}

inline ErrorSums requantise_any(const Codes& source, const AffineTarget& target, Method method,
                                const Importance* importance) {
    if (importance != nullptr) return requantise_sized<true>(source, target, method, importance);
    return requantise_sized<false>(source, target, method, nullptr);
}
