// 4-bit groups to 2 bits, kLanes groups side by side. Included once by each instruction set's file, inside its
// namespace, with FM_LANES, tail_counts and encode defined there; so no include guard. Every operation on floats
// is elementwise and rounds on its own (no contraction), so all instruction sets write the same bytes.
//
// A group has at most 16 distinct values, so everything is decided on counts of the 16 levels k, value s*k + b.
// A code q = [k >= t1] + [k >= t2] + [k >= t3]; with n = group size, and for each threshold t
//   A(t) = number of codes >= t,  B(t) = their sum,  K = sum of all codes,  D(t) = n B(t) - K A(t),
// the best affine fit of k to q leaves  sum (k - mean)^2 - (D1 + D2 + D3)^2 / (n (n (A1 + 3 A2 + 5 A3) - (A1 + A2 + A3)^2)).
// The best fit of all assigns every level to its nearest point of a uniform grid, so its thresholds are t1 + d and
// t2 + d - 1 … d + 1 apart, or lie past the last level: 211 triples, all tried. All sums are integers below 2^24.

constexpr int kLanes = FM_LANES;
typedef float Floats __attribute__((vector_size(4 * FM_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * FM_LANES)));

/// Level 16 = past the last one.
constexpr int kLevels = 16;

struct Counts {
    /// [t]: codes >= t. Row 0 is n, row 16 is 0.
    alignas(64) std::int32_t tail[kLevels + 1][kLanes];
};

struct Params {
    Floats scale;
    Floats bias;
};

/// Per lane the number of levels whose value lies over each of the three midpoints, and the squared error.
struct Fit {
    Params params;
    Ints above[3];
    Floats error;
};

inline Floats splat(float value) { return Floats{} + value; }

inline Floats row(const Counts& counts, int t) {
    Ints value;
    std::memcpy(&value, counts.tail[t], sizeof value);
    return __builtin_convertvector(value, Floats);
}

inline Floats round_to_bf16(const Floats& value) {
    Ints bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & static_cast<std::int32_t>(0xffff0000);
    Floats rounded;
    std::memcpy(&rounded, &bits, sizeof rounded);
    return rounded;
}

/// The grid of 2-bit values as stored: nearest point for each level, error over the group's values.
inline Fit evaluate(const Counts& counts, const Params& source, const Params& params) {
    Fit fit{params, {}, {}};
    Floats middle[3];
    for (int j = 0; j < 3; ++j) {
        // With one point only, every code is 0.
        middle[j] = params.scale == 0.0f ? splat(HUGE_VALF) : params.bias + params.scale * splat(0.5f + static_cast<float>(j));
    }
    Floats upper = row(counts, 0);
    for (int k = 0; k < kLevels; ++k) {
        const Floats value = source.scale * splat(static_cast<float>(k)) + source.bias;
        const Floats next = row(counts, k + 1);
        Floats point = params.bias;
        Ints over[3];
        for (int j = 0; j < 3; ++j) {
            over[j] = value > middle[j];
            fit.above[j] -= over[j];
        }
        const Ints code = -(over[0] + over[1] + over[2]);
        point = params.scale * __builtin_convertvector(code, Floats) + point;
        const Floats difference = value - point;
        fit.error += (upper - next) * (difference * difference);
        upper = next;
    }
    return fit;
}

inline Params minmax_params(const Counts& counts, const Params& source) {
    Ints low{}, high{};
    for (int t = 1; t < kLevels; ++t) {
        Ints tail, all;
        std::memcpy(&tail, counts.tail[t], sizeof tail);
        std::memcpy(&all, counts.tail[0], sizeof all);
        low -= tail == all;
        high -= tail > 0;
    }
    const Floats a = source.scale * __builtin_convertvector(low, Floats) + source.bias;
    const Floats b = source.scale * __builtin_convertvector(high, Floats) + source.bias;
    const Floats least = a < b ? a : b;
    const Floats most = a < b ? b : a;
    return {round_to_bf16((most - least) / splat(3.0f)), round_to_bf16(least)};
}

inline Params search_params(const Counts& counts, const Params& source, float n) {
    // Row t holds what threshold t adds to D, to A, and n A times 1, 3, 5 as first, second, third threshold.
    Floats tail[kLevels + 1], lift[kLevels + 1];
    Floats total{}, above{};
    for (int t = kLevels; t > 0; --t) {
        tail[t] = t == kLevels ? Floats{} : row(counts, t);
        lift[t] = above + splat(static_cast<float>(t)) * tail[t]; // B(t), by summation by parts
        above += tail[t];
    }
    total = above;
    for (int t = 1; t <= kLevels; ++t) lift[t] = splat(n) * lift[t] - total * tail[t];

    Floats best_rise{}, best_spread = splat(1.0f), best_sum{}, best_square{};
    for (int t1 = 1; t1 < kLevels; ++t1) {
        for (int t2 = t1 + 1; t2 <= kLevels; ++t2) {
            const Floats rise2 = lift[t1] + lift[t2];
            const Floats sum2 = tail[t1] + tail[t2];
            const Floats weighted2 = splat(n) * (tail[t1] + splat(3.0f) * tail[t2]);
            const int d = t2 - t1;
            const int from = t2 + (d > 1 ? d - 1 : 1) < kLevels ? t2 + (d > 1 ? d - 1 : 1) : kLevels;
            const int to = t2 + d + 1 < kLevels ? t2 + d + 1 : kLevels;
            for (int t3 = from; t3 <= to; ++t3) {
                const Floats rise = rise2 + lift[t3];
                const Floats sum = sum2 + tail[t3];
                const Floats spread = (weighted2 + splat(5.0f * n) * tail[t3]) - sum * sum;
                const Floats square = rise * rise;
                // square / spread > best_square / best_spread
                const Ints better = square * best_spread > best_square * spread;
                best_rise = better ? rise : best_rise;
                best_sum = better ? sum : best_sum;
                best_spread = better ? spread : best_spread;
                best_square = better ? square : best_square;
            }
        }
    }
    const Floats magnitude = source.scale < 0.0f ? -source.scale : source.scale;
    const Floats scale = round_to_bf16(magnitude * (best_rise / best_spread));
    // Codes count from the smallest value up, so against the levels when the source's scale is negative.
    const Floats mean_code = best_sum / splat(n);
    const Floats code = source.scale < 0.0f ? splat(3.0f) - mean_code : mean_code;
    const Floats mean = source.scale * (total / splat(n)) + source.bias;
    // The bias that is best for the scale as it is stored.
    return {scale, round_to_bf16(mean - scale * code)};
}

inline void store_param(std::uint8_t* to, std::size_t index, float value) {
    const auto bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
    std::memcpy(to + 2 * index, &bits, 2);
}

/// Groups [first, first + lanes) of the source; lanes <= kLanes.
inline void requantise_lanes(const Codes& source, const TwoBitTarget& target, Method method, std::size_t first,
                             int lanes, ErrorSums& sums) {
    const std::size_t bytes = source.group_size / 2;
    const auto n = static_cast<float>(source.group_size);
    Counts counts;
    Params params{};
    for (int lane = 0; lane < kLanes; ++lane) {
        // Lanes past the end repeat the last group and are not stored.
        const std::size_t group = first + static_cast<std::size_t>(lane < lanes ? lane : lanes - 1);
        const float scale = parameter(source.scales, source.type, group);
        const float bias = parameter(source.biases, source.type, group);
        const bool usable = is_usable(scale, bias);
        if (!usable && lane < lanes) ++sums.broken_groups;
        params.scale[lane] = usable ? scale : 0.0f;
        params.bias[lane] = usable ? bias : 0.0f;
        counts.tail[0][lane] = static_cast<std::int32_t>(source.group_size);
        counts.tail[kLevels][lane] = 0;
        tail_counts(source.codes + group * bytes, bytes, &counts.tail[0][lane], kLanes);
    }

    Fit fit = evaluate(counts, params, minmax_params(counts, params));
    if (method == Method::search) {
        const Fit found = evaluate(counts, params, search_params(counts, params, n));
        const Ints better = found.error < fit.error;
        fit.params.scale = better ? found.params.scale : fit.params.scale;
        fit.params.bias = better ? found.params.bias : fit.params.bias;
        fit.error = better ? found.error : fit.error;
        for (int j = 0; j < 3; ++j) fit.above[j] = better ? found.above[j] : fit.above[j];
    }

    for (int lane = 0; lane < lanes; ++lane) {
        const std::size_t group = first + static_cast<std::size_t>(lane);
        store_param(target.scales, group, fit.params.scale[lane]);
        store_param(target.biases, group, fit.params.bias[lane]);
        // Values over a midpoint are the top levels, or the bottom ones when the scale is negative.
        const bool falling = params.scale[lane] < 0;
        int threshold[3];
        for (int j = 0; j < 3; ++j) threshold[j] = falling ? fit.above[j][lane] : kLevels - fit.above[j][lane];
        encode(source.codes + group * bytes, bytes, threshold, falling, target.codes + group * bytes / 2);

        double sum = 0, squares = 0;
        for (int t = 1; t < kLevels; ++t) {
            sum += counts.tail[t][lane];
            squares += (2.0 * t - 1) * counts.tail[t][lane];
        }
        const double s = params.scale[lane], b = params.bias[lane];
        sums.squared_error += fit.error[lane];
        sums.sum += s * sum + b * n;
        sums.sum_of_squares += s * s * squares + 2 * s * b * sum + b * b * n;
    }
    sums.values += static_cast<std::uint64_t>(lanes) * source.group_size;
}

inline ErrorSums requantise_groups(const Codes& source, const TwoBitTarget& target, Method method) {
    ErrorSums sums;
    for (std::size_t first = 0; first < source.groups; first += kLanes) {
        const std::size_t left = source.groups - first;
        requantise_lanes(source, target, method, first, left < kLanes ? static_cast<int>(left) : kLanes, sums);
    }
    return sums;
}
