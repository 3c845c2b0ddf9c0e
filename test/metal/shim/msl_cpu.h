// MSL on a CPU: what the translator's output is compiled against. Each thread of a threadgroup is a fiber of
// the executor; a barrier or simd operation parks it with the line where it stands.
#pragma once

#include <cmath>

#include "executor/executor.h"

#define FM_OPEN
#define FM_CLOSE
#define FM_FUNCTION static inline __attribute__((unused))
#define FM_MEMBER
// Nothing here depends on it, and the compiler takes its own choice.
#define FM_UNROLL

// Storage conversions and functions that differ between devices; msl_types.h builds on them.
static inline uint16_t fm_float_to_half(float value) {
    _Float16 h = static_cast<_Float16>(value);
    uint16_t bits;
    __builtin_memcpy(&bits, &h, 2);
    return bits;
}
static inline float fm_half_to_float(uint16_t bits) {
    _Float16 h;
    __builtin_memcpy(&h, &bits, 2);
    return static_cast<float>(h);
}
static inline float fm_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float fm_exp(float x) { return ::expf(x); }
static inline float fm_exp2(float x) { return ::exp2f(x); }
static inline float fm_log(float x) { return ::logf(x); }
static inline float fm_sqrt(float x) { return ::sqrtf(x); }
static inline float fm_rint(float x) { return __builtin_rintf(x); }
static inline float fm_cos(float x) { return ::cosf(x); }
static inline float fm_sin(float x) { return ::sinf(x); }

#include "msl_types.h"

// Position attributes: a scalar, or as many components as the parameter's type has.
struct FmPosition {
    uint32_t x, y, z;
    operator uint() const { return x; }
    operator uint2() const { return uint2(x, y); }
    operator uint3() const { return uint3(x, y, z); }
};

// Bound memory takes the type of the parameter it is passed to.
struct FmPointer {
    void *address;
    template <class T> operator T *() const { return static_cast<T *>(address); }
};
struct FmConstant {
    const void *address;
    template <class T> operator const T &() const { return *static_cast<const T *>(address); }
    template <class T> operator const T *() const { return static_cast<const T *>(address); }
};

struct FmBindings {
    const fm_msl::Launch &launch;
    FmPointer device(int index) const { return {launch.buffers[index]}; }
    FmConstant constant(int index) const { return {launch.buffers[index]}; }
    FmConstant constants(int index, int) const { return constant(index); }
    FmPointer threadgroup(int index) const { return {fm_msl::dynamic_threadgroup(index)}; }
};

struct FmThread {
    static FmPosition of(fm_msl::Size3 v) { return {v.x, v.y, v.z}; }
    FmPosition thread_position_in_grid() const {
        auto g = fm_msl::threadgroup_position(), t = fm_msl::thread_position(), n = fm_msl::threads_per_threadgroup();
        return {g.x * n.x + t.x, g.y * n.y + t.y, g.z * n.z + t.z};
    }
    FmPosition threadgroup_position_in_grid() const { return of(fm_msl::threadgroup_position()); }
    FmPosition thread_position_in_threadgroup() const { return of(fm_msl::thread_position()); }
    FmPosition threads_per_threadgroup() const { return of(fm_msl::threads_per_threadgroup()); }
    FmPosition threadgroups_per_grid() const { return of(fm_msl::threadgroups_per_grid()); }
    uint thread_index_in_threadgroup() const { return fm_msl::thread_index(); }
    uint thread_index_in_simdgroup() const { return fm_msl::thread_index() % fm_msl::SIMD_WIDTH; }
    uint simdgroup_index_in_threadgroup() const { return fm_msl::thread_index() / fm_msl::SIMD_WIDTH; }
    uint simdgroups_per_threadgroup() const { return fm_msl::thread_count() / fm_msl::SIMD_WIDTH; }
};

#define FM_THREADGROUP(T, name, count)                                                                                 \
    auto &name = *static_cast<T(*)[count]>(fm_msl::static_threadgroup(__COUNTER__, sizeof(T) * (count)))

#define FM_LIST(...) {__VA_ARGS__}
#define FM_ENTRY(host, arrays, bound, ...)                                                                                  \
    static void fm_entry_##host(const fm_msl::Launch &launch) {                                                        \
        FmBindings b{launch};                                                                                          \
        FmThread t;                                                                                                    \
        (void)t;                                                                                                       \
        __VA_ARGS__;                                                                                                   \
    }                                                                                                                  \
    static const fm_msl::Registration fm_registration_##host({#host, fm_entry_##host, bound});

FM_FUNCTION void threadgroup_barrier(mem_flags, int line = __builtin_LINE(), const char *file = __builtin_FILE()) {
    fm_msl::barrier(line, file);
}
FM_FUNCTION void simdgroup_barrier(mem_flags, int line = __builtin_LINE(), const char *file = __builtin_FILE()) {
    fm_msl::simd_barrier(line, file);
}

template <class T> FM_FUNCTION T fm_exchange(T value, uint lane, int line) {
    static_assert(sizeof(T) <= sizeof(fm_msl::Exchange));
    fm_msl::Exchange words{};
    memcpy(&words, &value, sizeof value);
    words = fm_msl::simd_exchange(words, lane, line);
    T result;
    memcpy(&result, &words, sizeof result);
    return result;
}

FM_FUNCTION uint fm_lane() { return fm_msl::thread_index() % fm_msl::SIMD_WIDTH; }

// An xor tree, so that every lane has the same sum and the CUDA shim can add in the same order.
template <class T> FM_FUNCTION T simd_sum(T value, int line = __builtin_LINE()) {
    for (uint step = 16; step > 0; step /= 2) value = value + fm_exchange(value, fm_lane() ^ step, line);
    return value;
}
template <class T> FM_FUNCTION T simd_max(T value, int line = __builtin_LINE()) {
    for (uint step = 16; step > 0; step /= 2) value = max(value, fm_exchange(value, fm_lane() ^ step, line));
    return value;
}
template <class T> FM_FUNCTION T simd_broadcast(T value, ushort lane, int line = __builtin_LINE()) {
    return fm_exchange(value, lane, line);
}
template <class T> FM_FUNCTION T simd_shuffle(T value, ushort lane, int line = __builtin_LINE()) {
    return fm_exchange(value, lane, line);
}
template <class T> FM_FUNCTION T simd_shuffle_xor(T value, ushort mask, int line = __builtin_LINE()) {
    return fm_exchange(value, fm_lane() ^ mask, line);
}
// Eight by eight numbers of a simdgroup: lane l has two neighbours of row l / 4. Metal leaves open which lane has which, and asks all
// lanes to come together; loading and storing don't make them here, so that a barrier which is missing shows.
struct simdgroup_float8x8 {
    float values[2];
};
template <class T, int COLS, int ROWS> FM_FUNCTION simdgroup_float8x8 make_filled_simdgroup_matrix(T value) {
    static_assert(std::is_same_v<T, float> && COLS == 8 && ROWS == 8);
    return {{value, value}};
}
/// Where a lane's first number is. On CUDA two are loaded at once.
FM_FUNCTION ulong fm_matrix_place(const float *memory, ulong pitch) {
    if (reinterpret_cast<uintptr_t>(memory) % 8 != 0 || pitch % 2 != 0) fm_msl::kernel_misuse("a simdgroup matrix whose rows don't begin on 8 bytes");
    return fm_lane() / 4 * pitch + fm_lane() % 4 * 2;
}
FM_FUNCTION void simdgroup_load(simdgroup_float8x8 &matrix, const float *from, ulong pitch = 8, ulong2 origin = ulong2(0), bool transposed = false) {
    from += origin.y * pitch + origin.x;
    const ulong place = fm_matrix_place(from, pitch), row = fm_lane() / 4, column = fm_lane() % 4 * 2;
    for (ulong i = 0; i < 2; i++) matrix.values[i] = transposed ? from[(column + i) * pitch + row] : from[place + i];
}
FM_FUNCTION void simdgroup_store(const simdgroup_float8x8 &matrix, float *to, ulong pitch = 8) {
    const ulong place = fm_matrix_place(to, pitch);
    for (ulong i = 0; i < 2; i++) to[place + i] = matrix.values[i];
}
FM_FUNCTION void simdgroup_multiply_accumulate(simdgroup_float8x8 &d, const simdgroup_float8x8 &a, const simdgroup_float8x8 &b,
                                               const simdgroup_float8x8 &c, int line = __builtin_LINE()) {
    const float mine[4] = {a.values[0], a.values[1], b.values[0], b.values[1]};
    fm_msl::Exchange words;
    memcpy(&words, mine, sizeof words);
    const fm_msl::Exchange *all = fm_msl::simd_all(words, line);
    float sums[2] = {c.values[0], c.values[1]};
    for (uint k = 0; k < 8; k++) {
        float left[4], right[4];
        memcpy(left, all + fm_lane() / 4 * 4 + k / 2, sizeof left);
        memcpy(right, all + k * 4 + fm_lane() % 4, sizeof right);
        for (uint i = 0; i < 2; i++) sums[i] = fm_fma(left[k % 2], right[2 + i], sums[i]);
    }
    d = {{sums[0], sums[1]}};
}

// A lane past the end keeps its own value: Metal leaves it undefined, so kernels must not use it.
template <class T> FM_FUNCTION T simd_shuffle_down(T value, ushort delta, int line = __builtin_LINE()) {
    uint lane = fm_lane() + delta;
    return fm_exchange(value, lane < fm_msl::SIMD_WIDTH ? lane : fm_lane(), line);
}
