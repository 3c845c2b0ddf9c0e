// Counts of the levels of kLanes groups, and the error of a grid on them. Part of requantise4_body.h.

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
    /// `both` is left out where columns have weights: there it doesn't fit.
    template <bool kWeighted> void add_up();

  private:
    template <bool kWeighted> void store(int t, const Ints& total) {
        std::memcpy(sum[t], &total, sizeof total);
        if constexpr (kWeighted) return;
        const Ints pair = total * kSum + tails(t);
        std::memcpy(both[t], &pair, sizeof pair);
    }
    static Ints load(const std::int32_t* row) {
        Ints value;
        std::memcpy(&value, row, sizeof value);
        return value;
    }
};

/// By summation by parts: no multiplication.
template <bool kWeighted> inline void Counts::add_up() {
    Ints codes{}, weighted{};
    for (int t = kLevels; t > 0; --t) {
        codes += tails(t);
        weighted += codes; // sum over u >= t of (u - t + 1) tail(u)
        store<kWeighted>(t, codes + tails(t) * (t - 1));
    }
    store<kWeighted>(0, codes);
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

/// Takes another fit in some lanes.
inline void choose(Fit& fit, const Ints& where, const Fit& other) {
    fit.params.scale = where ? other.params.scale : fit.params.scale;
    fit.params.bias = where ? other.params.bias : fit.params.bias;
    fit.error = where ? other.error : fit.error;
    for (int j = 0; j < 3; ++j) fit.threshold[j] = where ? other.threshold[j] : fit.threshold[j];
}

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

/// Error of codes with those thresholds: sum (s k + b - S q - B)^2 multiplied out over sums of whole numbers, which are exact.
template <bool kWeighted>
inline Floats error_of(const Counts& counts, const Params& source, const Params& params, const Ints (&threshold)[3]) {
    const Ints falling = source.scale < 0.0f;
    const Ints n = counts.tails(0), k = counts.sums(0);
    // Codes; products of levels and codes; squares of codes.
    Ints q{}, kq{}, q2{};
    if constexpr (kWeighted) {
        for (int j = 0; j < 3; ++j) {
            const Ints at = threshold[j] * kLanes + lane_numbers();
            const Ints tail = gather(&counts.tail[0][0], at), sum = gather(&counts.sum[0][0], at);
            const Ints own = falling ? n - tail : tail;
            q += own;
            kq += falling ? k - sum : sum;
            q2 += (2 * j + 1) * own;
        }
    } else {
        const Ints all = k * Counts::kSum + n;
        Ints products{}, squares{};
        for (int j = 0; j < 3; ++j) {
            const Ints over = gather(&counts.both[0][0], threshold[j] * kLanes + lane_numbers());
            const Ints own = falling ? all - over : over;
            products += own;
            squares += j == 0 ? own : j == 1 ? own + own + own : own + 4 * own;
        }
        q = products & (Counts::kSum - 1), kq = products >> 16, q2 = squares & (Counts::kSum - 1);
    }
    const Doubles s = to_doubles(source.scale), point = to_doubles(params.scale);
    const Doubles shift = to_doubles(source.bias) - to_doubles(params.bias);
    const Doubles sum = s * (s * to_doubles(counts.squares) + 2.0 * (shift * to_doubles(k) - point * to_doubles(kq))) +
                        point * (point * to_doubles(q2) - 2.0 * shift * to_doubles(q)) + shift * shift * to_doubles(n);
    const Floats error = __builtin_convertvector(sum, Floats);
    return error > 0.0f ? error : Floats{};
}

/// The grid of 2-bit values as stored: every level goes to its nearest point, in between to the lower one.
template <bool kWeighted>
inline Fit evaluate(const Counts& counts, const Params& source, const Params& params) {
    Fit fit;
    fit.params = params;
    const Ints falling = source.scale < 0.0f;
    const Ints is_point = params.scale == 0.0f; // all codes are 0, also where the source has one value only
    const Floats divisor = is_point ? splat(1.0f) : source.scale;
    const Ints first_of_point = falling ? Ints{} : Ints{} + kLevels;
    for (int j = 0; j < 3; ++j) {
        const Floats middle = params.bias + params.scale * splat(0.5f + static_cast<float>(j));
        const Ints first = first_over((middle - source.bias) / divisor, falling);
        fit.threshold[j] = is_point ? first_of_point : first;
    }
    fit.error = error_of<kWeighted>(counts, source, params, fit.threshold);
    return fit;
}
