// The grid with the least error: of a range, and of all uniform partitions. Part of requantise4_body.h, whose head has the
// formulas.

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

    ScreenRows(const Rows& from, const Best& best, const Floats& n)
        : rows(from), ratio(best.spread / best.square * splat(1.0001f)), slack(splat(1e-5f) * n * n) {
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
inline Best best_partition(const Rows& rows, const Floats& n) {
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

inline Params search_params(const Counts& counts, const Params& source) {
    Rows rows;
    const Floats n = to_floats(counts.tails(0));
    const Floats n3 = splat(3.0f) * n, n5 = splat(5.0f) * n;
    const Floats total = to_floats(counts.sums(0));
    for (int t = 1; t <= kLevels; ++t) {
        rows.tail[t] = to_floats(counts.tails(t));
        rows.first[t] = n * rows.tail[t];
        rows.second[t] = n3 * rows.tail[t];
        rows.third[t] = n5 * rows.tail[t];
        rows.lift[t] = n * to_floats(counts.sums(t)) - total * rows.tail[t];
    }
    const Best best = best_partition(rows, n);

    const Floats magnitude = source.scale < 0.0f ? -source.scale : source.scale;
    const Floats scale = round_to_bf16(magnitude * (best.rise / best.spread));
    // Codes count from the smallest value up, so against the levels when the source's scale is negative.
    const Floats mean_code = best.sum / n;
    const Floats code = source.scale < 0.0f ? splat(3.0f) - mean_code : mean_code;
    const Floats mean = source.scale * (total / n) + source.bias;
    // The bias that is best for the scale as it is stored.
    return {scale, round_to_bf16(mean - scale * code)};
}
