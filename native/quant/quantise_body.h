// Groups of values to affine codes. Included once by each instruction set's file, inside its namespace, with FM_LANES
// defined there; so no include guard. Sums are kept in kWide lanes whatever the machine has and added up in one order, every
// operation rounds on its own (no contraction), so all instruction sets write the same bytes.

constexpr int kLanes = FM_LANES;
constexpr int kWide = 16;
constexpr int kParts = kWide / kLanes;
constexpr unsigned kMostValues = 128;
/// Adding and subtracting it rounds what is far below it to a whole number, halves to even.
constexpr float kRounder = 12582912.0f;
/// MLX's least scale.
constexpr float kLeastScale = 1e-7f;

using Floats = float __attribute__((vector_size(4 * FM_LANES)));
using Ints = std::int32_t __attribute__((vector_size(4 * FM_LANES)));

inline void load(Floats& to, const float* from) { std::memcpy(&to, from, sizeof to); }

inline void select(Floats& to, const Ints& mask, const Floats& yes, const Floats& no) {
    Ints a, b;
    std::memcpy(&a, &yes, sizeof a);
    std::memcpy(&b, &no, sizeof b);
    const Ints chosen = (a & mask) | (b & ~mask);
    std::memcpy(&to, &chosen, sizeof to);
}

using Eight = float __attribute__((vector_size(32)));
using Four = float __attribute__((vector_size(16)));

/// Of kWide lanes, in one order: halves are added to each other until one lane is left.
inline float total(const Floats (&parts)[kParts]) {
    Eight low, high;
    std::memcpy(&low, parts, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(parts) + sizeof low, sizeof high);
    low += high;
    Four a, b;
    std::memcpy(&a, &low, sizeof a);
    std::memcpy(&b, reinterpret_cast<const char*>(&low) + sizeof a, sizeof b);
    a += b;
    return (a[0] + a[2]) + (a[1] + a[3]);
}

struct Group {
    const float* values;
    unsigned size;
    float low, high, sum, squares;
    /// Where columns don't count alike: how much each value does, their sum, and that of the values by them.
    const float* weights = nullptr;
    float weight = 0, weighted = 0;
};

inline Group measured(const float* values, unsigned size) {
    Floats low[kParts], high[kParts], sum[kParts] = {}, squares[kParts] = {};
    for (int p = 0; p < kParts; ++p) {
        load(low[p], values + p * kLanes);
        high[p] = low[p];
    }
    for (unsigned i = 0; i < size; i += kWide) {
        for (int p = 0; p < kParts; ++p) {
            Floats v;
            load(v, values + i + static_cast<unsigned>(p * kLanes));
            select(low[p], v < low[p], v, low[p]);
            select(high[p], v > high[p], v, high[p]);
            sum[p] += v;
            squares[p] += v * v;
        }
    }
    float lows[kWide], highs[kWide];
    std::memcpy(lows, low, sizeof lows);
    std::memcpy(highs, high, sizeof highs);
    Group group{values, size, lows[0], highs[0], total(sum), total(squares), nullptr, 0, 0};
    for (int i = 1; i < kWide; ++i) {
        group.low = lows[i] < group.low ? lows[i] : group.low;
        group.high = highs[i] > group.high ? highs[i] : group.high;
    }
    return group;
}

/// Gives a group its weights, as floats in `room`.
inline void weigh(Group& group, const std::uint8_t* weights, float* room) {
    Floats weight[kParts] = {}, weighted[kParts] = {};
    for (unsigned i = 0; i < group.size; ++i) room[i] = weights[i];
    for (unsigned i = 0; i < group.size; i += kWide) {
        for (int p = 0; p < kParts; ++p) {
            Floats v, w;
            load(v, group.values + i + static_cast<unsigned>(p * kLanes));
            load(w, room + i + static_cast<unsigned>(p * kLanes));
            weight[p] += w;
            weighted[p] += w * v;
        }
    }
    group.weights = room;
    group.weight = total(weight);
    group.weighted = total(weighted);
}

struct Fit {
    float scale = 0, bias = 0, error = 0;
};

inline float stored_bf16(float value) { return bf16_to_float(float_to_bf16(value)); }

/// Codes by MLX's rule: divided by the scale as it is, halves away from zero. Their error is against the stored parameters.
inline Fit mlx_codes(const Group& group, float bins, std::int32_t* codes) {
    // The kernel begins its maximum at 0.
    const float high = group.high > 0 ? group.high : 0;
    const float range = (high - group.low) / bins;
    float scale = range > kLeastScale ? range : kLeastScale;
    const bool side = std::fabs(group.low) > std::fabs(high);
    scale = side ? scale : -scale;
    const float edge = side ? group.low : high;
    const float steps = std::round(edge / scale);
    const bool at_zero = steps == 0;
    scale = at_zero ? scale : edge / steps;
    const float bias = at_zero ? 0 : edge;
    Fit fit{stored_bf16(scale), stored_bf16(bias)};
    Floats error[kParts] = {};
    for (unsigned i = 0; i < group.size; i += kWide) {
        for (int p = 0; p < kParts; ++p) {
            const unsigned at = i + static_cast<unsigned>(p * kLanes);
            Floats v, zero = {}, most = zero + bins;
            load(v, group.values + at);
            Floats t = (v - bias) / scale;
            select(t, t > zero, t, zero);
            select(t, t < most, t, most);
            Ints whole = __builtin_convertvector(t, Ints);
            const Floats rest = t - __builtin_convertvector(whole, Floats);
            whole -= rest >= zero + 0.5f;
            std::memcpy(codes + at, &whole, sizeof whole);
            const Floats off = v - (__builtin_convertvector(whole, Floats) * fit.scale + fit.bias);
            error[p] += off * off;
        }
    }
    fit.error = total(error);
    return fit;
}

/// What codes on this grid leave.
template <bool kWeighted> inline float error_of(const Group& group, float scale, float bias, float bins) {
    const float inverse = scale == 0 ? 0 : 1 / scale;
    Floats error[kParts] = {};
    for (unsigned i = 0; i < group.size; i += kWide) {
        for (int p = 0; p < kParts; ++p) {
            Floats v, zero = {}, most = zero + bins;
            load(v, group.values + i + static_cast<unsigned>(p * kLanes));
            Floats q = (v - bias) * inverse;
            select(q, q > zero, q, zero);
            select(q, q < most, q, most);
            q = (q + kRounder) - kRounder;
            const Floats off = v - (q * scale + bias);
            if constexpr (kWeighted) {
                Floats w;
                load(w, group.weights + i + static_cast<unsigned>(p * kLanes));
                error[p] += w * (off * off);
            } else {
                error[p] += off * off;
            }
        }
    }
    return total(error);
}

inline void codes_of(const Group& group, const Fit& fit, float bins, std::int32_t* codes) {
    const float inverse = fit.scale == 0 ? 0 : 1 / fit.scale;
    for (unsigned i = 0; i < group.size; i += kLanes) {
        Floats v, zero = {}, most = zero + bins;
        load(v, group.values + i);
        Floats q = (v - fit.bias) * inverse;
        select(q, q > zero, q, zero);
        select(q, q < most, q, most);
        const Ints whole = __builtin_convertvector((q + kRounder) - kRounder, Ints);
        std::memcpy(codes + i, &whole, sizeof whole);
    }
}

/// Scale and bias of least squared error for the codes that a grid gives. Values are counted from the middle of their range.
template <bool kWeighted> inline Fit refitted(const Group& group, float middle, float scale, float bins) {
    const float inverse = scale == 0 ? 0 : 1 / scale;
    const float half = bins / 2;
    Floats codes[kParts] = {}, squares[kParts] = {}, products[kParts] = {};
    for (unsigned i = 0; i < group.size; i += kWide) {
        for (int p = 0; p < kParts; ++p) {
            Floats v, zero = {}, most = zero + bins;
            load(v, group.values + i + static_cast<unsigned>(p * kLanes));
            v -= middle;
            Floats q = v * inverse + half;
            select(q, q > zero, q, zero);
            select(q, q < most, q, most);
            q = (q + kRounder) - kRounder;
            if constexpr (kWeighted) {
                Floats w;
                load(w, group.weights + i + static_cast<unsigned>(p * kLanes));
                const Floats wq = w * q;
                codes[p] += wq;
                squares[p] += wq * q;
                products[p] += wq * v;
            } else {
                codes[p] += q;
                squares[p] += q * q;
                products[p] += q * v;
            }
        }
    }
    const float size = kWeighted ? group.weight : static_cast<float>(group.size);
    const float code = total(codes) / size;
    const float mean = (kWeighted ? group.weighted : group.sum) / size - middle;
    const float spread = total(squares) - size * code * code;
    const float fitted = spread > 0 ? (total(products) - size * code * mean) / spread : scale;
    return {stored_bf16(fitted), stored_bf16(middle + (mean - fitted * code))};
}

/// Parts of the range that grids span; narrow codes gain by clipping, wide ones hardly.
inline const float* shrinks_of(unsigned bits, int& count) {
    static constexpr float kTwo[] = {1.0f, 0.85f, 0.75f, 0.66f, 0.58f, 0.5f, 0.42f};
    static constexpr float kThree[] = {1.0f, 0.92f, 0.84f, 0.76f, 0.68f, 0.6f};
    static constexpr float kFour[] = {0.94f, 0.86f};
    static constexpr float kWider[] = {1.0f};
    switch (bits) {
    case 2: count = 7; return kTwo;
    case 3: count = 6; return kThree;
    case 4: count = 2; return kFour;
    default: count = 1; return kWider;
    }
}

/// True, and `best` is replaced, where a fit leaves less than `best`.
template <bool kWeighted> inline bool improve(const Group& group, unsigned bits, float bins, Fit& best) {
    const float middle = group.low + (group.high - group.low) / 2;
    bool improved = false;
    const auto consider = [&](Fit fit) {
        fit.error = error_of<kWeighted>(group, fit.scale, fit.bias, bins);
        if (!(fit.error < best.error)) return;
        best = fit;
        improved = true;
    };
    consider(best); // MLX's parameters, codes chosen with them as they are stored
    int count = 0;
    const float* shrinks = shrinks_of(bits, count);
    for (int i = 0; i < count; ++i) {
        const float scale = shrinks[i] * (group.high - group.low) / bins;
        Fit fit = refitted<kWeighted>(group, middle, scale, bins);
        // Few codes move much when their grid does: once more from where the first fit came to.
        if (bits == 2) fit = refitted<kWeighted>(group, fit.bias + fit.scale * (bins / 2), fit.scale, bins);
        consider(fit);
    }
    return improved;
}

/// One stream of bits, the first code lowest.
inline void pack(const std::int32_t* codes, unsigned size, unsigned bits, std::uint8_t* to) {
    for (unsigned i = 0; i < size; i += 8) {
        std::uint64_t word = 0;
        for (unsigned j = 0; j < 8; ++j) word |= static_cast<std::uint64_t>(codes[i + j]) << (bits * j);
        std::memcpy(to + i / 8 * bits, &word, bits);
    }
}

/// The best fit for values that don't count alike; its error is the plain one. Codes are chosen with stored parameters in
/// any case, so the first that is considered is no worse than MLX's own.
inline void fit_weighted(Group& group, const std::uint8_t* weights, unsigned bits, float bins, Fit& best) {
    float room[kMostValues];
    weigh(group, weights, room);
    best.error = std::numeric_limits<float>::infinity();
    improve<true>(group, bits, bins, best);
    best.error = error_of<false>(group, best.scale, best.bias, bins);
}

inline ErrorSums quantise_any(const Values& source, const AffineTarget& target, Rule rule, const Importance* importance) {
    ErrorSums sums;
    const auto bins = static_cast<float>((1u << target.bits) - 1);
    const std::size_t code_bytes = std::size_t{source.group_size} * target.bits / 8;
    std::int32_t codes[kMostValues];
    for (std::size_t i = 0; i < source.groups; ++i) {
        Group group = measured(source.values + i * source.group_size, source.group_size);
        // False for NaN.
        if (!(std::fabs(group.sum) < kMaxParameter && group.squares < kMaxParameter)) {
            ++sums.broken_groups;
            continue;
        }
        Fit fit = mlx_codes(group, bins, codes);
        sums.range_error += static_cast<double>(fit.error);
        if (importance != nullptr) {
            fit_weighted(group, weights_of(*importance, i, group.size), target.bits, bins, fit);
            codes_of(group, fit, bins, codes);
        } else if (rule == Rule::fit && improve<false>(group, target.bits, bins, fit)) {
            codes_of(group, fit, bins, codes);
        }
        sums.squared_error += static_cast<double>(fit.error);
        sums.sum += static_cast<double>(group.sum);
        sums.sum_of_squares += static_cast<double>(group.squares);
        sums.values += group.size;
        const std::uint16_t parameters[] = {float_to_bf16(fit.scale), float_to_bf16(fit.bias)};
        std::memcpy(target.scales + 2 * i, &parameters[0], 2);
        std::memcpy(target.biases + 2 * i, &parameters[1], 2);
        pack(codes, source.group_size, target.bits, target.codes + i * code_bytes);
    }
    return sums;
}
