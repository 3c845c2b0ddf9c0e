// Linear maps of packed codes that have no loop of their own: a part of a row becomes floats once for all tokens. x is a copy.
#include "backend/cpu/decode.h"

namespace flashmoe::cpu {
namespace {

FM_TARGET float dot_decoded(const float* values, const float* x, uint32_t count) {
    F sum = Lanes::zero();
    for (uint32_t i = 0; i < count; i += kLanes) sum = Lanes::fma(Lanes::load(values + i), Lanes::load(x + i), sum);
    return Lanes::sum(sum);
}

void decoded_rows(const Matrix& matrix, uint32_t first, uint32_t last, const float* prepared, size_t prepared_stride,
                  uint32_t tokens, float* y, size_t y_stride) {
    float values[kDecodedTile];
    for (uint32_t r = first; r < last; ++r) {
        for (uint32_t t = 0; t < tokens; ++t) y[t * y_stride + (r - first)] = 0;
        for (uint32_t c = 0; c < matrix.cols; c += kDecodedTile) {
            const uint32_t count = std::min(kDecodedTile, matrix.cols - c);
            decode(matrix, r, c, count, values);
            for (uint32_t t = 0; t < tokens; ++t) {
                y[t * y_stride + (r - first)] += dot_decoded(values, prepared + t * prepared_stride + c, count);
            }
        }
    }
}

FM_TARGET void add_decoded_transposed(const Matrix& matrix, uint32_t first, uint32_t count, const float* x, float* y) {
    float values[kDecodedTile];
    for (uint32_t r = 0; r < count; ++r) {
        const F factor = Lanes::set1(x[r]);
        for (uint32_t c = 0; c < matrix.cols; c += kDecodedTile) {
            const uint32_t some = std::min(kDecodedTile, matrix.cols - c);
            decode(matrix, first + r, c, some, values);
            for (uint32_t i = 0; i < some; i += kLanes) {
                Lanes::store(y + c + i, Lanes::fma(factor, Lanes::load(values + i), Lanes::load(y + c + i)));
            }
        }
    }
}

} // namespace
} // namespace flashmoe::cpu
