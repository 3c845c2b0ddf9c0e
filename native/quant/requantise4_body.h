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

// All of it is inlined, so that no calling convention is concerned.
#pragma GCC diagnostic ignored "-Wpsabi"

constexpr int kLanes = FM_LANES;
typedef float Floats __attribute__((vector_size(4 * FM_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * FM_LANES)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * FM_LANES)));
typedef double Doubles __attribute__((vector_size(8 * FM_LANES)));

/// Level 16 = past the last one.
constexpr int kLevels = 16;

struct Counts {
    /// [t]: codes >= t. Row 0 is n, row 16 is 0.
    alignas(64) std::int32_t tail[kLevels + 1][kLanes];
    /// [t]: sum of the codes >= t.
    alignas(64) std::int32_t sum[kLevels + 1][kLanes];
    /// [t]: both, sum * kSum + tail, so that one look-up fetches both. Nine of them don't overflow.
    alignas(64) std::int32_t both[kLevels + 1][kLanes];
    /// Sum of all squared codes.
    Ints squares;

    static constexpr std::int32_t kSum = 1 << 16;

    Ints tails(int t) const { return load(tail[t]); }
    Ints sums(int t) const { return load(sum[t]); }
    void add_up();

  private:
    void store(int t, const Ints& total) {
        const Ints pair = total * kSum + tails(t);
        std::memcpy(sum[t], &total, sizeof total);
        std::memcpy(both[t], &pair, sizeof pair);
    }
    static Ints load(const std::int32_t* row) {
        Ints value;
        std::memcpy(&value, row, sizeof value);
        return value;
    }
};

/// By summation by parts: no multiplication.
inline void Counts::add_up() {
    Ints codes{}, weighted{};
    for (int t = kLevels; t > 0; --t) {
        codes += tails(t);
        weighted += codes; // sum over u >= t of (u - t + 1) tail(u)
        store(t, codes + tails(t) * (t - 1));
    }
    store(0, codes);
    squares = weighted + weighted - codes;
}

struct Params {
    Floats scale;
    Floats bias;
};

/// Per lane: a code counts the thresholds that are at most its level, or over it when the source's scale is negative.
struct Fit {
    Params params;
    Ints threshold[3];
    Floats error;
};

inline Ints lane_numbers() {
    Ints numbers{};
    for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = lane;
    return numbers;
}
inline Floats splat(float value) { return Floats{} + value; }

inline Floats to_floats(const Ints& value) { return __builtin_convertvector(value, Floats); }
inline Doubles to_doubles(const Ints& value) { return __builtin_convertvector(value, Doubles); }
inline Doubles to_doubles(const Floats& value) { return __builtin_convertvector(value, Doubles); }

inline Floats round_to_bf16(const Floats& value) {
    Ints bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & static_cast<std::int32_t>(0xffff0000);
    Floats rounded;
    std::memcpy(&rounded, &bits, sizeof rounded);
    return rounded;
}

/// First level over a point of the line of levels, from 0 to 16; or the first at or over it.
inline Ints first_over(const Floats& point, const Ints& or_at) {
    const Floats most = splat(kLevels - 0.5f), least = splat(-0.5f);
    Floats x = point < most ? point : most;
    x = x > least ? x : least;
    const Ints whole = __builtin_convertvector(x, Ints); // towards zero
    const Floats back = to_floats(whole);
    const Ints over = whole + 1 + (x < back), at = whole - (x > back);
    return or_at ? at : over;
}

/// The grid of 2-bit values as stored: every level goes to its nearest point, in between to the lower one. The error
/// sum (s k + b - S q - B)^2 is multiplied out over sums of whole numbers, which are exact.
inline Fit evaluate(const Counts& counts, const Params& source, const Params& params) {
    Fit fit;
    fit.params = params;
    const Ints falling = source.scale < 0.0f;
    const Ints is_point = params.scale == 0.0f; // all codes are 0, also where the source has one value only
    const Floats divisor = is_point ? splat(1.0f) : source.scale;
    const Ints n = counts.tails(0), k = counts.sums(0), all = k * Counts::kSum + n;
    const Ints first_of_point = falling ? Ints{} : Ints{} + kLevels;
    // Products of levels and codes, and codes; the latter with squares of codes, too.
    Ints products{}, squares{};
    for (int j = 0; j < 3; ++j) {
        const Floats middle = params.bias + params.scale * splat(0.5f + static_cast<float>(j));
        const Ints first = first_over((middle - source.bias) / divisor, falling);
        fit.threshold[j] = is_point ? first_of_point : first;
        const Ints over = gather(&counts.both[0][0], fit.threshold[j] * kLanes + lane_numbers());
        const Ints own = falling ? all - over : over;
        products += own;
        squares += j == 0 ? own : j == 1 ? own + own + own : own + 4 * own;
    }
    const Ints q = products & (Counts::kSum - 1), kq = products >> 16, q2 = squares & (Counts::kSum - 1);
    const Doubles s = to_doubles(source.scale), point = to_doubles(params.scale);
    const Doubles shift = to_doubles(source.bias) - to_doubles(params.bias);
    const Doubles sum = s * (s * to_doubles(counts.squares) + 2.0 * (shift * to_doubles(k) - point * to_doubles(kq))) +
                        point * (point * to_doubles(q2) - 2.0 * shift * to_doubles(q)) + shift * shift * to_doubles(n);
    const Floats error = __builtin_convertvector(sum, Floats);
    fit.error = error > 0.0f ? error : Floats{};
    return fit;
}

inline Params minmax_params(const Counts& counts, const Params& source) {
    Ints low{}, high{};
    const Ints all = counts.tails(0);
    for (int t = 1; t < kLevels; ++t) {
        const Ints tail = counts.tails(t);
        low -= tail == all;
        high -= tail > 0;
    }
    const Floats a = source.scale * to_floats(low) + source.bias;
    const Floats b = source.scale * to_floats(high) + source.bias;
    const Floats least = a < b ? a : b;
    const Floats most = a < b ? b : a;
    return {round_to_bf16((most - least) / splat(3.0f)), round_to_bf16(least)};
}

/// A partition, per lane: what it explains of the deviation is rise * rise / spread.
struct Partition {
    Floats rise, sum, spread;
};

/// The best partition so far.
struct Best : Partition {
    Floats square;

    /// Nothing with a spread explains less.
    Best() : Partition{Floats{}, Floats{}, splat(1.0f)}, square{} {}
    void offer(const Partition& other) {
        const Floats other_square = other.rise * other.rise;
        const Ints better = other_square * spread > square * other.spread;
        rise = better ? other.rise : rise;
        sum = better ? other.sum : sum;
        spread = better ? other.spread : spread;
        square = better ? other_square : square;
    }
};

/// Per threshold t what it adds: to the sum of codes as any threshold (tail), to D (lift), and to n times the sum of
/// squared codes as first, second or third threshold.
struct Rows {
    Floats tail[kLevels + 1], lift[kLevels + 1], first[kLevels + 1], second[kLevels + 1], third[kLevels + 1];
};

/// Takes the best of the partitions that are offered: two thresholds, completed by a third or by none.
struct Chooser {
    const Rows* rows;
    Best best{};

    struct Pair {
        Floats lift, tail, weight;
    };
    Pair pair(int t1, int t2) const {
        return {rows->lift[t1] + rows->lift[t2], rows->tail[t1] + rows->tail[t2], rows->first[t1] + rows->second[t2]};
    }
    void offer(const Pair& pair, int t3) {
        const Floats sum = pair.tail + rows->tail[t3];
        best.offer({pair.lift + rows->lift[t3], sum, (pair.weight + rows->third[t3]) - sum * sum});
    }
    /// The third threshold past the last level, where it adds nothing.
    void offer_open(int t1, int t2) {
        const Pair two = pair(t1, t2);
        best.offer({two.lift, two.tail, two.weight - two.tail * two.tail});
    }
};

/// What a screen looks up per threshold.
struct ScreenRows {
    const Rows& rows;
    Floats ratio, slack;
    Floats lift[kLevels + 1], tail[kLevels + 1], second[kLevels + 1], third[kLevels + 1];

    ScreenRows(const Rows& from, const Best& best, float n)
        : rows(from), ratio(best.spread / best.square * splat(1.0001f)), slack(splat(1e-5f * n * n)) {
        for (int t = 1; t <= kLevels; ++t) {
            lift[t] = rows.lift[t] + rows.lift[t];
            tail[t] = rows.tail[t] + rows.tail[t];
            const Floats own = fused(ratio * rows.lift[t], rows.lift[t], rows.tail[t] * rows.tail[t]);
            second[t] = own - rows.second[t];
            third[t] = own - rows.third[t];
        }
    }
};

/// Whether anything offered could be better than the best so far, for a third of the work of taking it: with r = spread /
/// rise^2 of the best, r rise^2 + sum^2 - weight > 0 for what is offered, multiplied out so that most of it belongs to one
/// threshold or to a pair. It passes too much rather than too little, so rounding in here changes no result.
struct Screen {
    const ScreenRows& of;
    Floats most;

    explicit Screen(const ScreenRows& rows) : of(rows), most(-rows.slack) {}
    struct Pair {
        Floats lift, tail, own;
    };
    Pair pair(int t1, int t2) const {
        const Floats lift = of.rows.lift[t1] + of.rows.lift[t2], tail = of.rows.tail[t1] + of.rows.tail[t2];
        const Floats scaled = of.ratio * lift;
        return {scaled, tail, fused(scaled, lift, fused(tail, tail, -(of.rows.first[t1] + of.rows.second[t2])))};
    }
    void offer(const Pair& pair, int t3) {
        take(pair.own + fused(pair.lift, of.lift[t3], fused(pair.tail, of.tail[t3], of.third[t3])));
    }
    void offer_open(int t1, int t2) {
        const Floats lift = of.rows.lift[t1], tail = of.rows.tail[t1], scaled = of.ratio * lift;
        const Floats own = fused(scaled, lift, fused(tail, tail, -of.rows.first[t1]));
        take(own + fused(scaled, of.lift[t2], fused(tail, of.tail[t2], of.second[t2])));
    }
    bool passed() const { return any(most > -of.slack); }

  private:
    void take(const Floats& value) { most = value > most ? value : most; }
};

/// Thresholds `step` apart from t1 on, the last one a level more or less.
template <int step, typename To> inline void offer_steps(To& to, int t1) {
    const int t3 = t1 + 2 * step;
    if (t3 > kLevels) return;
    const auto pair = to.pair(t1, t1 + step);
    if (step > 1) to.offer(pair, t3 - 1);
    if (t3 < kLevels) to.offer(pair, t3);
    if (t3 + 1 < kLevels) to.offer(pair, t3 + 1);
}

template <int step, typename To> inline void offer_spaced(To& to) {
    for (int t1 = 1; t1 + 2 * step <= kLevels; ++t1) offer_steps<step>(to, t1);
}

/// The third threshold past the last level: with the second as far from the first as that needs, or one level more.
template <typename To> inline void offer_open(To& to) {
    for (int t1 = 1; t1 < kLevels; ++t1) {
        const int t2 = (kLevels + t1) / 2;
        to.offer_open(t1, t2);
        to.offer_open(t1, t2 + 1);
    }
}
/// The second farther still, perhaps past the last level as well.
template <typename To> inline void offer_wide_open(To& to) {
    for (int t1 = 1; t1 < kLevels; ++t1) {
        for (int t2 = (kLevels + t1) / 2 + 2; t2 <= kLevels; ++t2) to.offer_open(t1, t2);
    }
}

/// Takes the partitions that `offers` offers, but only if one of them may be better.
template <typename Offers> inline void offer_rarely(Chooser& chooser, const ScreenRows& rows, const Offers& offers) {
    // Both by value: what has an address is written to memory at each offer.
    if (offers(Screen(rows)).passed()) chooser = offers(chooser);
}

/// The best of all 211 partitions. Nearly always its steps are three or four levels wide.
inline Best best_partition(const Rows& rows, float n) {
    // Two, because each comparison has to wait for the one before it.
    Chooser chooser{&rows}, other{&rows};
    for (int t1 = 1; t1 + 2 * 3 <= kLevels; ++t1) {
        offer_steps<3>(chooser, t1);
        offer_steps<4>(other, t1);
    }
    chooser.best.offer(other.best);
    const ScreenRows screened(rows, chooser.best, n);
    offer_rarely(chooser, screened, [](auto to) { return offer_spaced<5>(to), to; });
    offer_rarely(chooser, screened, [](auto to) { return offer_open(to), to; });
    offer_rarely(chooser, screened, [](auto to) { return offer_spaced<2>(to), to; });
    offer_rarely(chooser, screened, [](auto to) {
        offer_spaced<1>(to);
        offer_spaced<6>(to);
        offer_spaced<7>(to);
        offer_wide_open(to);
        return to;
    });
    return chooser.best;
}

inline Params search_params(const Counts& counts, const Params& source, float n) {
    Rows rows;
    const Floats total = to_floats(counts.sums(0));
    for (int t = 1; t <= kLevels; ++t) {
        rows.tail[t] = to_floats(counts.tails(t));
        rows.first[t] = splat(n) * rows.tail[t];
        rows.second[t] = splat(3.0f * n) * rows.tail[t];
        rows.third[t] = splat(5.0f * n) * rows.tail[t];
        rows.lift[t] = splat(n) * to_floats(counts.sums(t)) - total * rows.tail[t];
    }
    const Best best = best_partition(rows, n);

    const Floats magnitude = source.scale < 0.0f ? -source.scale : source.scale;
    const Floats scale = round_to_bf16(magnitude * (best.rise / best.spread));
    // Codes count from the smallest value up, so against the levels when the source's scale is negative.
    const Floats mean_code = best.sum / splat(n);
    const Floats code = source.scale < 0.0f ? splat(3.0f) - mean_code : mean_code;
    const Floats mean = source.scale * (total / splat(n)) + source.bias;
    // The bias that is best for the scale as it is stored.
    return {scale, round_to_bf16(mean - scale * code)};
}

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

/// kLanes groups from `first` on, kBytes of codes each.
template <std::size_t kBytes>
inline void requantise_lanes(const Codes& source, const TwoBitTarget& target, Method method, std::size_t first,
                             LaneSums& sums) {
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

    counts.add_up();
    Fit fit = evaluate(counts, params, minmax_params(counts, params));
    sums.range_error += to_doubles(fit.error);
    if (method == Method::search) {
        const Fit found = evaluate(counts, params, search_params(counts, params, n));
        const Ints better = found.error < fit.error;
        fit.params.scale = better ? found.params.scale : fit.params.scale;
        fit.params.bias = better ? found.params.bias : fit.params.bias;
        fit.error = better ? found.error : fit.error;
        for (int j = 0; j < 3; ++j) fit.threshold[j] = better ? found.threshold[j] : fit.threshold[j];
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
template <std::size_t kBytes>
inline void requantise_rest(const Codes& source, const TwoBitTarget& target, Method method, std::size_t first,
                            ErrorSums& sums) {
    const std::size_t count = source.groups - first;
    const std::size_t param_bytes = source.type == ParamType::f32 ? 4 : 2;
    std::uint8_t codes[kLanes * kBytes] = {}, scales[kLanes * 4] = {}, biases[kLanes * 4] = {};
    std::uint8_t out_codes[kLanes * kBytes / 2], out_scales[kLanes * 2], out_biases[kLanes * 2];
    std::memcpy(codes, source.codes + first * kBytes, count * kBytes);
    std::memcpy(scales, source.scales + first * param_bytes, count * param_bytes);
    std::memcpy(biases, source.biases + first * param_bytes, count * param_bytes);
    const Codes rest{codes, scales, biases, source.type, source.bits, source.group_size, kLanes};
    LaneSums lanes{};
    requantise_lanes<kBytes>(rest, {out_codes, out_scales, out_biases}, method, 0, lanes);
    add_lanes(lanes, static_cast<int>(count), sums);
    std::memcpy(target.codes + first * kBytes / 2, out_codes, count * kBytes / 2);
    std::memcpy(target.scales + 2 * first, out_scales, 2 * count);
    std::memcpy(target.biases + 2 * first, out_biases, 2 * count);
}

template <std::size_t kBytes>
inline ErrorSums requantise_groups(const Codes& source, const TwoBitTarget& target, Method method) {
    LaneSums lanes{};
    ErrorSums sums;
    std::size_t first = 0;
    for (; first + kLanes <= source.groups; first += kLanes) {
        requantise_lanes<kBytes>(source, target, method, first, lanes);
    }
    add_lanes(lanes, kLanes, sums);
    if (first < source.groups) requantise_rest<kBytes>(source, target, method, first, sums);
    sums.values = source.groups * 2 * kBytes;
    return sums;
}

inline ErrorSums requantise_any(const Codes& source, const TwoBitTarget& target, Method method) {
    switch (source.group_size) {
    case 32: return requantise_groups<16>(source, target, method);
    case 64: return requantise_groups<32>(source, target, method);
    default: return requantise_groups<64>(source, target, method);
    }
}
