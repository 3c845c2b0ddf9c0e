// Embedding, linear maps, norms and sums.
#include <cmath>

#include "backend/checks/checker.h"

namespace flashmoe::checks {
namespace {

const char* type_name(ElementType type) {
    return type == ElementType::bf16 ? "bf16" : type == ElementType::f16 ? "f16" : "f32";
}

struct Shape {
    uint32_t rows, cols, group, tokens;
};

/// Narrow and wide, one row more or less than a block of rows, one to five slices of x, few and many tokens.
constexpr Shape kShapes[] = {{1, 32, 32, 1},   {37, 160, 32, 3}, {7, 4224, 64, 1},  {33, 256, 128, 2}, {9, 2080, 32, 2},
                             {70, 192, 64, 9}, {65, 96, 32, 33}, {64, 64, 64, 32}, {129, 32, 32, 64}};
/// So many rows and vectors that each simdgroup of a GPU walks through more than a few.
constexpr Shape kManyRows = {2351, 32, 32, 7};

void check_linear(Checker& checker, const RandomMatrix& made, uint32_t tokens, const std::string& format) {
    const Matrix& matrix = made.matrix;
    const Span x = checker.floats(size_t{tokens} * matrix.cols);
    const Span y = checker.poisoned(size_t{tokens} * matrix.rows * sizeof(float));
    checker.backend().linear(matrix, x, y, tokens);
    checker.backend().wait();
    for (size_t t = 0; t < tokens; ++t) {
        for (size_t r = 0; r < matrix.rows; ++r) {
            const Dot wanted = dot(made.row(r), x.as<float>() + t * matrix.cols, matrix.cols);
            // In units of the sum of |w x|.
            checker.record("linear " + format, 1e-6, std::fabs(y.as<float>()[t * matrix.rows + r] - wanted.sum) / wanted.size);
        }
    }
}

void check_embed(Checker& checker, const RandomMatrix& made, const std::string& format) {
    const Matrix& table = made.matrix;
    const std::vector<uint32_t> ids = {table.rows - 1, 0, table.rows / 2};
    const auto tokens = static_cast<uint32_t>(ids.size());
    const Span y = checker.poisoned(size_t{tokens} * table.cols * sizeof(float));
    checker.backend().embed(table, checker.words(ids), y, tokens);
    checker.backend().wait();
    for (size_t t = 0; t < tokens; ++t) {
        for (size_t j = 0; j < table.cols; ++j) {
            checker.record("embed " + format, 1e-6, std::fabs(y.as<float>()[t * table.cols + j] - made.row(ids[t])[j]));
        }
    }
}

void check_formats(Checker& checker) {
    for (const uint32_t bits : {0u, 2u, 4u, 8u}) {
        for (const ElementType type : {ElementType::bf16, ElementType::f16, ElementType::f32}) {
            const std::string format = (bits == 0 ? "" : std::to_string(bits) + "-bit ") + type_name(type);
            if (type == ElementType::bf16) {
                check_linear(checker, checker.matrix(kManyRows.rows, kManyRows.cols, bits, kManyRows.group, type), kManyRows.tokens, format);
                checker.clear();
            }
            for (const Shape& shape : kShapes) {
                // Unquantised matrices may have any width.
                const uint32_t cols = bits == 0 ? shape.cols - shape.tokens % 3 : shape.cols;
                const RandomMatrix made = checker.matrix(shape.rows, cols, bits, shape.group, type);
                check_linear(checker, made, shape.tokens, format);
                check_embed(checker, made, format);
                checker.clear();
            }
        }
    }
}

void check_rms_norm(Checker& checker) {
    for (const uint32_t width : {1u, 32u, 100u, 255u, 256u, 1000u, 4128u}) {
        constexpr size_t tokens = 3;
        const Span x = checker.floats(tokens * width), weight = checker.floats(width);
        const Span y = checker.poisoned(tokens * width * sizeof(float));
        checker.backend().rms_norm(x, weight, y, width, 1e-6f, tokens);
        checker.backend().wait();
        for (size_t t = 0; t < tokens; ++t) {
            const float* row = x.as<float>() + t * width;
            const double factor = 1 / std::sqrt(dot(row, row, width).sum / width + 1e-6);
            for (size_t i = 0; i < width; ++i) {
                const double wanted = row[i] * factor * weight.as<float>()[i];
                checker.record("rms_norm", 2e-6, std::fabs(y.as<float>()[t * width + i] - wanted) / (1 + std::fabs(wanted)));
            }
        }
        checker.backend().rms_norm(x, weight, x, width, 1e-6f, tokens);
        checker.backend().wait();
        for (size_t i = 0; i < tokens * width; ++i) {
            checker.record("rms_norm in place", 0, x.as<float>()[i] == y.as<float>()[i] ? 0 : 1);
        }
        checker.clear();
    }
}

void check_add_norm(Checker& checker) {
    for (const uint32_t width : {1u, 32u, 255u, 1000u, 4128u}) {
        constexpr size_t tokens = 3;
        const Span x = checker.floats(tokens * width), y = checker.floats(tokens * width), weight = checker.floats(width);
        const std::vector<float> before(y.as<float>(), y.as<float>() + tokens * width);
        const Span out = checker.poisoned(tokens * width * sizeof(float));
        checker.backend().add_norm(y, x, weight, out, width, 1e-6f, tokens);
        checker.backend().wait();
        for (size_t t = 0; t < tokens; ++t) {
            std::vector<double> sum(width);
            for (size_t i = 0; i < width; ++i) {
                sum[i] = double{before[t * width + i]} + x.as<float>()[t * width + i];
                checker.record("add_norm: sum", 1e-6, std::fabs(y.as<float>()[t * width + i] - sum[i]));
            }
            const double factor = 1 / std::sqrt(dot(sum.data(), sum.data(), width).sum / width + 1e-6);
            for (size_t i = 0; i < width; ++i) {
                const double wanted = sum[i] * factor * weight.as<float>()[i];
                checker.record("add_norm", 2e-6, std::fabs(out.as<float>()[t * width + i] - wanted) / (1 + std::fabs(wanted)));
            }
        }
        checker.clear();
    }
}

double silu(double x) { return x / (1 + std::exp(-x)); }

void check_sums(Checker& checker) {
    for (const uint32_t width : {1u, 255u, 256u, 300u}) {
        constexpr uint32_t tokens = 3;
        const size_t count = size_t{tokens} * width;
        const Span x = checker.floats(count), up = checker.floats(count), gate = checker.floats(tokens);
        const Span y = checker.floats(count);
        const std::vector<float> before(y.as<float>(), y.as<float>() + count);
        const Span product = checker.poisoned(count * sizeof(float)), cleared = checker.poisoned(count * sizeof(float));
        Backend& backend = checker.backend();
        backend.add(y, x, count);
        backend.add_gated(y, x, gate, width, tokens);
        backend.add_gated(y, x, {}, width, tokens);
        backend.swiglu(x, up, product, count);
        backend.clear(cleared, count);
        backend.wait();
        for (size_t i = 0; i < count; ++i) {
            const double value = x.as<float>()[i], g = gate.as<float>()[i / width];
            const double wanted = before[i] + value * (2 + 1 / (1 + std::exp(-g)));
            checker.record("add and add_gated", 1e-6, std::fabs(y.as<float>()[i] - wanted));
            checker.record("clear", 0, std::fabs(double{cleared.as<float>()[i]}));
            checker.record("swiglu", 1e-6, std::fabs(product.as<float>()[i] - silu(value) * up.as<float>()[i]));
        }
        checker.clear();
    }
}

} // namespace

void check_dense(Checker& checker) {
    check_formats(checker);
    check_rms_norm(checker);
    check_add_norm(checker);
    check_sums(checker);
}

} // namespace flashmoe::checks
