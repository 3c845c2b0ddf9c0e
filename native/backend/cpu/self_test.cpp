#include "backend/cpu/self_test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/half.h"
#include "core/random.h"

namespace flashmoe::cpu {
namespace {

/// A random matrix with its values in double, kept in blocks of exactly its size so that sanitizers see overruns.
struct RandomMatrix {
    std::vector<std::byte> weight, scales, biases;
    Buffer weight_buffer, scales_buffer, biases_buffer;
    Matrix matrix;
    std::vector<double> values;
};

class Checker {
  public:
    explicit Checker(const Kernels& kernels) : kernels_(kernels) {}

    void run_all() {
        for (const uint32_t bits : {2u, 4u, 8u, 0u}) {
            for (const ElementType type : {ElementType::bf16, ElementType::f16, ElementType::f32}) check_format(bits, type);
        }
        for (size_t block = 0; block < quant::kBlockKinds.size(); ++block) check_blocks(static_cast<quant::Block>(block));
        check_kv();
        check_rms_norm();
        check_swiglu();
        check_gates();
        check_convolve();
        check_delta_rows();
    }

    const std::vector<fm_kernel_check>& checks() const { return checks_; }

  private:
    double uniform() { return random_.uniform() * 2 - 1; }

    std::vector<float> random_values(size_t count) {
        std::vector<float> values(count);
        for (float& value : values) value = static_cast<float>(uniform());
        return values;
    }

    /// Largest error of one check so far, in units that make `tolerance` meaningful (see the callers).
    void record(const char* name, double tolerance, double error) {
        for (fm_kernel_check& check : checks_) {
            if (std::strcmp(check.name, name) != 0) continue;
            // An error that is no number stays: no later one may hide it.
            if (!std::isnan(check.max_error) && !(error <= check.max_error)) check.max_error = error;
            check.ok = check.max_error <= check.tolerance;
            return;
        }
        checks_.push_back({name, error, tolerance, error <= tolerance});
    }

    double store(std::vector<std::byte>& bytes, ElementType type, double value) {
        if (type == ElementType::f32) {
            const auto narrow = static_cast<float>(value);
            const auto* raw = reinterpret_cast<const std::byte*>(&narrow);
            bytes.insert(bytes.end(), raw, raw + 4);
            return narrow;
        }
        const uint16_t bits = type == ElementType::bf16 ? float_to_bf16(static_cast<float>(value))
                                                        : float_to_f16(static_cast<float>(value));
        const auto* raw = reinterpret_cast<const std::byte*>(&bits);
        bytes.insert(bytes.end(), raw, raw + 2);
        return type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
    }

    /// Scales of both signs, as real files have.
    void fill(RandomMatrix& made, uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group, ElementType type) {
        made.values.clear();
        for (size_t start = 0; start < size_t{rows} * cols; start += bits != 0 ? group : 1) {
            if (bits == 0) {
                made.values.push_back(store(made.weight, type, uniform()));
                continue;
            }
            const double scale = store(made.scales, type, uniform() / (1 << bits));
            const double bias = store(made.biases, type, uniform());
            for (uint32_t byte = 0; byte < group * bits / 8; ++byte) {
                const auto codes = static_cast<uint32_t>(random_.next() & 255);
                made.weight.push_back(static_cast<std::byte>(codes));
                for (uint32_t shift = 0; shift < 8; shift += bits) {
                    made.values.push_back(scale * ((codes >> shift) & ((1u << bits) - 1)) + bias);
                }
            }
        }
        made.weight_buffer = {made.weight.data(), made.weight.size(), nullptr};
        made.scales_buffer = {made.scales.data(), made.scales.size(), nullptr};
        made.biases_buffer = {made.biases.data(), made.biases.size(), nullptr};
        made.matrix = {.weight = {&made.weight_buffer, 0},
                       .scales = {&made.scales_buffer, 0},
                       .biases = {&made.biases_buffer, 0},
                       .rows = rows,
                       .cols = cols,
                       .bits = bits,
                       .group = bits != 0 ? group : 0,
                       .type = type};
    }

    void check_format(uint32_t bits, ElementType type) {
        for (const uint32_t group : {32u, 64u, 128u}) {
            for (const uint32_t groups : {1u, 2u, 3u, 5u, 8u, 9u}) {
                // Plain matrices may have any width.
                const uint32_t cols = bits != 0 ? group * groups : group * groups - groups;
                RandomMatrix made;
                fill(made, 7, cols, bits, group, type);
                check_rows(made);
                check_values(made);
            }
        }
    }

    /// Random bytes, with halves under which weights are within +-2.
    void fill_blocks(RandomMatrix& made, uint32_t rows, uint32_t cols, quant::Block block) {
        const quant::BlockKind& kind = quant::kind_of(block);
        const size_t blocks = size_t{rows} * cols / kind.values;
        made.weight.resize(blocks * kind.bytes);
        auto* bytes = reinterpret_cast<uint8_t*>(made.weight.data());
        for (std::byte& byte : made.weight) byte = static_cast<std::byte>(random_.next() & 255);
        for (size_t i = 0; i < blocks; ++i) {
            const auto set_half = [&](uint32_t index, double value) {
                const uint16_t bits = float_to_f16(static_cast<float>(value));
                std::memcpy(bytes + i * kind.bytes + kind.half + 2 * index, &bits, sizeof bits);
            };
            double most[2] = {1, 1};
            for (uint32_t half = 0; half < kind.halves; ++half) {
                for (uint32_t other = 0; other < kind.halves; ++other) set_half(other, other == half ? 1 : 0);
                float ones[quant::kMostBlockValues];
                quant::decode_blocks(block, bytes + i * kind.bytes, 1, ones);
                for (uint32_t j = 0; j < kind.values; ++j) most[half] = std::max(most[half], std::fabs(double{ones[j]}));
            }
            for (uint32_t half = 0; half < kind.halves; ++half) set_half(half, uniform() / most[half]);
        }
        std::vector<float> values(size_t{rows} * cols);
        quant::decode_blocks(block, bytes, blocks, values.data());
        made.values.assign(values.begin(), values.end());
        made.weight_buffer = {made.weight.data(), made.weight.size(), nullptr};
        made.matrix = {.weight = {&made.weight_buffer, 0},
                       .scales = {},
                       .biases = {},
                       .rows = rows,
                       .cols = cols,
                       .bits = kind.bytes * 8 / kind.values,
                       .group = kind.values,
                       .type = ElementType::u8,
                       .codes = Codes::blocks,
                       .block = block};
    }

    void check_blocks(quant::Block block) {
        for (const uint32_t groups : {1u, 2u, 3u, 5u, 8u, 9u}) {
            RandomMatrix made;
            fill_blocks(made, 7, groups * quant::block_values(block), block);
            check_rows(made);
            check_values(made);
        }
    }

    /// Error in units of the sum of |w x|; and one token alone must give the very bits it gives among others.
    void check_rows(const RandomMatrix& made) {
        constexpr uint32_t kTokens = 11;
        const Matrix& matrix = made.matrix;
        const std::vector<float> x = random_values(kTokens * matrix.cols);
        const size_t stride = kernels_.prepared_floats(matrix);
        std::vector<float> prepared(kTokens * stride), y(kTokens * matrix.rows, NAN);
        for (uint32_t t = 0; t < kTokens; ++t) kernels_.prepare(matrix, &x[t * matrix.cols], &prepared[t * stride]);
        kernels_.rows(matrix, 0, matrix.rows, prepared.data(), stride, kTokens, y.data(), matrix.rows);
        for (uint32_t t = 0; t < kTokens; ++t) {
            for (uint32_t r = 0; r < matrix.rows; ++r) {
                double sum = 0, size = 0;
                for (uint32_t j = 0; j < matrix.cols; ++j) {
                    const double term = made.values[size_t{r} * matrix.cols + j] * x[t * matrix.cols + j];
                    sum += term;
                    size += std::fabs(term);
                }
                record(matrix.codes == Codes::blocks ? "linear_blocks"
                       : matrix.bits == 0   ? "linear_plain"
                       : matrix.bits == 2 ? "linear_2bit"
                       : matrix.bits == 4 ? "linear_4bit"
                                          : "linear_8bit",
                       1e-6, std::fabs(y[t * matrix.rows + r] - sum) / size);
                float alone = NAN;
                kernels_.rows(matrix, r, r + 1, &prepared[t * stride], stride, 1, &alone, 1);
                const bool same = std::memcmp(&alone, &y[t * matrix.rows + r], sizeof alone) == 0;
                record("linear_batch_equals_single", 0, same ? 0 : 1);
            }
        }
    }

    void check_values(const RandomMatrix& made) {
        const Matrix& matrix = made.matrix;
        std::vector<float> row(matrix.cols);
        const std::vector<float> x = random_values(matrix.rows);
        std::vector<float> y = random_values(matrix.cols);
        std::vector<double> sum(y.begin(), y.end());
        kernels_.add_transposed(matrix, 1, matrix.rows - 1, x.data(), y.data());
        for (uint32_t r = 0; r < matrix.rows; ++r) {
            kernels_.row_values(matrix, r, row.data());
            for (uint32_t j = 0; j < matrix.cols; ++j) {
                const double value = made.values[size_t{r} * matrix.cols + j];
                record("row_values", 1e-6, std::fabs(row[j] - value));
                if (r > 0) sum[j] += value * x[r - 1];
            }
        }
        for (uint32_t j = 0; j < matrix.cols; ++j) record("add_transposed", 3e-6, std::fabs(y[j] - sum[j]));
    }

    void check_kv() {
        for (const uint32_t n : {1u, 7u, 16u, 31u, 32u, 64u, 100u, 128u, 576u}) {
            const std::vector<float> q = random_values(n);
            std::vector<float> v = random_values(n), y = q;
            v[n / 2] = 3;
            std::vector<KvCode> codes(n);
            const float scale = kernels_.store_kv(codes.data(), v.data(), n);
            kernels_.add_kv(y.data(), 0.75f * scale, codes.data(), n);
            double dot = 0;
            for (uint32_t i = 0; i < n; ++i) {
                const double kept = double{scale} * codes[i];
                // Half a step of the largest value.
                record("kv_store", 0.501 / 32767, std::fabs(kept - v[i]) / 3);
                record("kv_add", 1e-6, std::fabs(y[i] - (q[i] + 0.75 * kept)));
                dot += q[i] * kept;
            }
            record("kv_dot", 1e-6, std::fabs(scale * kernels_.dot_kv(q.data(), codes.data(), n) - dot) / n);
        }
        // Nothing to keep gives zeros; what is not finite must not look like a number afterwards.
        for (const float odd : {0.0f, 1e-38f, INFINITY, NAN}) {
            const float values[5] = {0, 0, odd, 0, 0};
            KvCode codes[5];
            const float back = kernels_.store_kv(codes, values, 5) * static_cast<float>(codes[2]);
            record("kv_store_limits", 0, std::isfinite(odd) == (back == 0.0f) ? 0 : 1);
        }
    }

    void check_rms_norm() {
        for (const uint32_t n : {1u, 5u, 16u, 33u, 128u, 1000u}) {
            const std::vector<float> x = random_values(n), weight = random_values(n);
            std::vector<float> y(n);
            kernels_.rms_norm(x.data(), weight.data(), y.data(), n, 1e-6f);
            double squares = 0;
            for (const float value : x) squares += double{value} * value;
            for (uint32_t i = 0; i < n; ++i) {
                const double expected = x[i] / std::sqrt(squares / n + double{1e-6f}) * weight[i];
                record("rms_norm", 2e-6, std::fabs(y[i] - expected));
            }
        }
    }

    void check_swiglu() {
        std::vector<float> gate = random_values(77);
        const std::vector<float> up = random_values(77);
        for (float& value : gate) value *= 20;
        gate[3] = 200, gate[4] = -200;
        std::vector<float> y(77);
        kernels_.swiglu(gate.data(), up.data(), y.data(), y.size());
        for (size_t i = 0; i < y.size(); ++i) {
            const double expected = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
            record("swiglu", 1e-6, std::fabs(y[i] - expected) / std::max(1.0, std::fabs(expected)));
        }
    }

    void check_gates() {
        for (const uint32_t n : {1u, 15u, 40u}) {
            std::vector<float> y = random_values(n), terms(n);
            const std::vector<float> gate = random_values(n), before = y;
            kernels_.multiply_sigmoid(y.data(), gate.data(), n);
            float max = -INFINITY;
            double total = 0;
            for (uint32_t i = 0; i < n; ++i) {
                record("multiply_sigmoid", 1e-6, std::fabs(y[i] - before[i] / (1 + std::exp(-double{gate[i]}))));
                terms[i] = before[i] * 50;
                max = std::max(max, terms[i]);
            }
            const std::vector<float> scores = terms;
            const float sum = kernels_.softmax_terms(terms.data(), max, n);
            for (uint32_t i = 0; i < n; ++i) {
                // The difference is taken in f32, as the kernel has it.
                const double expected = std::exp(double{scores[i] - max});
                total += expected;
                record("softmax_terms", 1e-6, std::fabs(terms[i] - expected) / std::max(expected, 1e-30));
            }
            record("softmax_terms", 1e-6, std::fabs(sum - total) / total);
        }
        float bad[3] = {0, NAN, 1};
        record("softmax_keeps_nan", 0, std::isnan(kernels_.softmax_terms(bad, 1, 3)) ? 0 : 1);
    }

    void check_convolve() {
        constexpr uint32_t kChannels = 37, kKernel = 4, kTokens = 6, kPast = kKernel - 1;
        const std::vector<float> weights = random_values(kKernel * kChannels);
        std::vector<float> history = random_values(kPast * kChannels), values = random_values(kTokens * kChannels);
        std::vector<float> line = history;
        line.insert(line.end(), values.begin(), values.end());
        const Convolution op{values.data(), weights.data(), history.data(), kChannels, kTokens, kKernel};
        // Two calls, as two threads would.
        kernels_.convolve(op, 0, 20);
        kernels_.convolve(op, 20, kChannels);
        for (uint32_t c = 0; c < kChannels; ++c) {
            for (uint32_t t = 0; t < kTokens; ++t) {
                double sum = 0;
                for (uint32_t i = 0; i < kKernel; ++i) sum += double{weights[i * kChannels + c]} * line[(t + i) * kChannels + c];
                record("convolve", 1e-6, std::fabs(values[t * kChannels + c] - sum / (1 + std::exp(-sum))));
            }
            for (uint32_t i = 0; i < kPast; ++i) {
                record("convolve", 1e-6, std::fabs(history[i * kChannels + c] - line[(kTokens + i) * kChannels + c]));
            }
        }
    }

    void check_delta_rows() {
        for (const uint32_t key_dim : {8u, 32u, 36u, 128u}) {
            constexpr uint32_t kRows = 5;
            std::vector<float> state = random_values(kRows * key_dim), k = random_values(key_dim);
            const std::vector<float> q = random_values(key_dim), v = random_values(kRows);
            for (float& value : k) value /= static_cast<float>(key_dim);
            std::vector<double> expected(state.begin(), state.end());
            std::vector<float> out(kRows);
            for (int step = 0; step < 3; ++step) {
                kernels_.delta_rows(state.data(), kRows, key_dim, k.data(), q.data(), v.data(), 0.9f, 0.4f, out.data());
                for (uint32_t r = 0; r < kRows; ++r) {
                    double* s = &expected[size_t{r} * key_dim];
                    double recall = 0, sum = 0;
                    for (uint32_t i = 0; i < key_dim; ++i) recall += (s[i] *= double{0.9f}) * k[i];
                    const double delta = double{0.4f} * (v[r] - recall);
                    for (uint32_t i = 0; i < key_dim; ++i) sum += (s[i] += delta * k[i]) * q[i];
                    record("delta_rows", 1e-5, std::fabs(out[r] - sum));
                    for (uint32_t i = 0; i < key_dim; ++i) record("delta_rows", 1e-5, std::fabs(state[r * key_dim + i] - s[i]));
                }
            }
        }
    }

    const Kernels& kernels_;
    Random random_{20};
    std::vector<fm_kernel_check> checks_;
};

} // namespace

size_t self_test(const Kernels& kernels, fm_kernel_check* checks, size_t capacity) {
    Checker checker(kernels);
    checker.run_all();
    std::copy_n(checker.checks().begin(), std::min(capacity, checker.checks().size()), checks);
    return checker.checks().size();
}

} // namespace flashmoe::cpu
