// Ground for checking a backend's operations against double-precision references: random tensors, each in memory of
// its own, poisoned outputs, and a record of the largest error of every operation. Ships, because the first run on
// new hardware is a test.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/memory.h"
#include "core/random.h"

namespace flashmoe::checks {

/// Memory for one tensor. The default is whole pages; tests put a tensor against the end of what may be touched.
class Place {
  public:
    virtual ~Place() = default;
    Span span() const { return {&buffer_, offset_}; }

  protected:
    Buffer buffer_;
    size_t offset_ = 0;
};
using Allocate = std::function<std::unique_ptr<Place>(Backend&, size_t bytes)>;
std::unique_ptr<Place> allocate_pages(Backend& backend, size_t bytes);

struct Check {
    std::string name;
    double max_error = 0, tolerance = 0;
    /// A NaN is no small error.
    bool ok() const { return max_error <= tolerance; }
};

struct RandomMatrix {
    Matrix matrix;
    /// [rows, cols].
    std::vector<double> values;
    const double* row(size_t index) const { return values.data() + index * matrix.cols; }
};

class Checker {
  public:
    Checker(Backend& backend, uint64_t seed, Allocate allocate = allocate_pages);

    Backend& backend() { return backend_; }
    Random& random() { return random_; }
    double uniform() { return random_.uniform() * 2 - 1; }

    /// Bytes 0xff everywhere: NaN as a float.
    Span poisoned(size_t bytes);
    /// Uniform in [-1, 1).
    Span floats(size_t count);
    Span floats(const std::vector<float>& values);
    Span words(const std::vector<uint32_t>& values);
    /// Scales of both signs, as real files have. bits 0: plain elements.
    RandomMatrix matrix(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group, ElementType type);
    /// The same, its three parts within `slot` from `at` on, which moves behind them.
    RandomMatrix matrix_in(Span slot, size_t& at, uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group, ElementType type);
    static size_t matrix_bytes(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group, ElementType type);

    /// Called after each comparison; what it throws ends the checks.
    void watch(std::function<void(const Check&)> watcher) { watcher_ = std::move(watcher); }
    void record(const std::string& name, double tolerance, double error);
    /// Gives back the tensors of the check that is done.
    void clear();
    std::vector<Check> take_results() { return std::move(results_); }

  private:
    void fill(RandomMatrix& made, uint32_t group);

    Backend& backend_;
    Random random_;
    Allocate allocate_;
    std::vector<std::unique_ptr<Place>> places_;
    std::vector<Check> results_;
    std::function<void(const Check&)> watcher_;
};

/// sum_j a_j b_j, and sum_j |a_j b_j|: the size that a rounding error is measured by.
struct Dot {
    double sum = 0, size = 0;
};
template <typename A, typename B> Dot dot(const A* a, const B* b, size_t count) {
    Dot result;
    for (size_t i = 0; i < count; ++i) {
        const double term = static_cast<double>(a[i]) * static_cast<double>(b[i]);
        result.sum += term;
        result.size += term < 0 ? -term : term;
    }
    return result;
}

void check_dense(Checker& checker);
void check_router(Checker& checker);
void check_experts(Checker& checker);
void check_attention(Checker& checker);
void check_latent_attention(Checker& checker);
void check_delta_net(Checker& checker);

/// The groups of checks, by name.
struct CheckGroup {
    const char* name;
    void (*run)(Checker&);
};
const std::vector<CheckGroup>& check_groups();

/// All of them. Throws what the backend throws.
std::vector<Check> check_backend(Backend& backend, uint64_t seed, Allocate allocate = allocate_pages);

} // namespace flashmoe::checks
