#include "core/half.h"

#include <cmath>

#include "test/harness.h"

using namespace flashmoe;

TEST("16-bit floats survive widening and narrowing, all 65,536 of each kind") {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const auto narrow = static_cast<uint16_t>(bits);
        const float half = f16_to_float(narrow), brain = bf16_to_float(narrow);
        if (std::isnan(half)) EXPECT(std::isnan(f16_to_float(float_to_f16(half))));
        else EXPECT_EQ(float_to_f16(half), narrow);
        if (std::isnan(brain)) EXPECT(std::isnan(bf16_to_float(float_to_bf16(brain))));
        else EXPECT_EQ(float_to_bf16(brain), narrow);
    }
}

TEST("narrowing rounds to nearest, ties to even, beyond the range to infinity") {
    EXPECT_EQ(f16_to_float(float_to_f16(1 + 0x1p-11f)), 1.0f);
    EXPECT_EQ(f16_to_float(float_to_f16(1 + 3 * 0x1p-11f)), 1 + 0x1p-9f);
    EXPECT_EQ(f16_to_float(float_to_f16(0x1p-25f)), 0.0f);
    EXPECT_EQ(f16_to_float(float_to_f16(3 * 0x1p-25f)), 0x1p-23f);
    EXPECT_EQ(f16_to_float(float_to_f16(65519.0f)), 65504.0f);
    EXPECT(std::isinf(f16_to_float(float_to_f16(65520.0f))));
    EXPECT_EQ(bf16_to_float(float_to_bf16(1 + 0x1p-8f)), 1.0f);
    EXPECT_EQ(bf16_to_float(float_to_bf16(1 + 3 * 0x1p-8f)), 1 + 0x1p-6f);
    EXPECT_EQ(f16_to_float(0x3C00), 1.0f);
    EXPECT_EQ(f16_to_float(0x0001), 0x1p-24f);
    EXPECT_EQ(f16_to_float(0xFBFF), -65504.0f);
}
