// Integer rows of GGUF blocks in plain C++: what the others are compared with.
#include <cmath>
#include <cstring>

#include "backend/cpu/fast_rows.h"
#include "core/half.h"

#define FM_TARGET
#define FM_INLINE inline
#define FM_UNROLL

namespace flashmoe::cpu {
namespace {

struct Lanes {
    struct B {
        uint8_t at[32];
    };
    struct D {
        int32_t at[8];
    };
    struct F {
        float at[8];
    };

    static B load_bytes(const std::byte* from) {
        B bytes;
        std::memcpy(bytes.at, from, sizeof bytes.at);
        return bytes;
    }
    template <class Of> static B each(Of of) {
        B made;
        for (uint32_t i = 0; i < 32; ++i) made.at[i] = static_cast<uint8_t>(of(i));
        return made;
    }
    static B shifted_right(const B& bytes, uint32_t count, uint32_t kept) {
        return each([&](uint32_t i) { return bytes.at[i] >> count & kept; });
    }
    static B shifted_left(const B& bytes, uint32_t count, uint32_t kept) {
        return each([&](uint32_t i) { return uint32_t{bytes.at[i]} << count & kept; });
    }
    static B either(const B& a, const B& b) { return each([&](uint32_t i) { return a.at[i] | b.at[i]; }); }
    static B minus(const B& bytes, uint32_t value) { return each([&](uint32_t i) { return bytes.at[i] - value; }); }
    static B nibbles(const std::byte* from, uint32_t) {
        return each([&](uint32_t i) { return std::to_integer<uint32_t>(from[i % 16]) >> (i / 16 * 4) & 15; });
    }
    static B flags(uint32_t bits, uint32_t, uint32_t value) { return each([&](uint32_t i) { return (bits >> i & 1) * value; }); }
    static float half(const std::byte* from) {
        uint16_t bits;
        std::memcpy(&bits, from, sizeof bits);
        return f16_to_float(bits);
    }
    struct Sixteen {
        uint64_t halves[2];
    };
    static Sixteen sixteen(uint64_t low, uint64_t high) { return {{low, high}}; }
    static void store_sixteen(const Sixteen& bytes, uint32_t least, float factor, float* to) {
        for (uint32_t i = 0; i < 16; ++i) {
            const uint64_t byte = bytes.halves[i / 8] >> (i % 8 * 8) & 255;
            to[i] = static_cast<float>(static_cast<int8_t>(byte - least)) * factor;
        }
    }

    template <class Of> static F eight(Of of) {
        F made;
        for (uint32_t i = 0; i < 8; ++i) made.at[i] = of(i);
        return made;
    }
    static D products(const B& codes, const B& x) {
        D sums{};
        for (uint32_t i = 0; i < 32; ++i) sums.at[i / 4] += int32_t{static_cast<int8_t>(codes.at[i])} * static_cast<int8_t>(x.at[i]);
        return sums;
    }
    static F numbers(const D& sums) {
        return eight([&](uint32_t i) { return static_cast<float>(sums.at[i]); });
    }
    static F sums_of_16(const D* p) {
        return eight([&](uint32_t i) {
            const int32_t* four = p[i / 2].at + i % 2 * 4;
            return static_cast<float>(four[0] + four[1] + four[2] + four[3]);
        });
    }
    static F zero() { return {}; }
    static void store_eight(float* to, const F& value) { std::memcpy(to, value.at, sizeof value.at); }
    static F every(float value) {
        return eight([&](uint32_t) { return value; });
    }
    static F load_eight(const float* from) { return eight([&](uint32_t i) { return from[i]; }); }
    static F add(const F& a, const F& b) { return eight([&](uint32_t i) { return a.at[i] + b.at[i]; }); }
    static F mul(const F& a, const F& b) { return eight([&](uint32_t i) { return a.at[i] * b.at[i]; }); }
    static F fma(const F& a, const F& b, const F& c) { return eight([&](uint32_t i) { return std::fma(a.at[i], b.at[i], c.at[i]); }); }
    static void twice(const F& each_of, F& low, F& high) {
        low = eight([&](uint32_t i) { return each_of.at[i / 2]; });
        high = eight([&](uint32_t i) { return each_of.at[4 + i / 2]; });
    }
    static float sum_eight(const F& value) {
        const float* v = value.at;
        return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
    }
};

} // namespace
} // namespace flashmoe::cpu

#include "backend/cpu/fast_blocks.h"

namespace flashmoe::cpu {

void fast_blocks_scalar(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                        uint32_t tokens, float* y, size_t y_stride) {
    kFastBlockRows[static_cast<size_t>(matrix.block)](matrix, first, last, prepared, prepared_stride, tokens, y, y_stride);
}

} // namespace flashmoe::cpu
