#include "backend/checks/checker.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/half.h"

namespace flashmoe::checks {
namespace {

/// Parts of a matrix begin where GPUs may load sixteen bytes at once.
constexpr size_t kAlign = 16;

class Pages final : public Place {
  public:
    Pages(Backend& backend, size_t bytes) : backend_(backend), memory_(bytes) {
        buffer_ = backend.wrap(memory_.data(), memory_.size());
    }
    ~Pages() override { backend_.unwrap(buffer_); }

  private:
    Backend& backend_;
    PageMemory memory_;
};

double store(std::byte* to, ElementType type, double value) {
    const auto narrow = static_cast<float>(value);
    if (type == ElementType::f32) {
        std::memcpy(to, &narrow, sizeof narrow);
        return narrow;
    }
    const uint16_t bits = type == ElementType::bf16 ? float_to_bf16(narrow) : float_to_f16(narrow);
    std::memcpy(to, &bits, sizeof bits);
    return type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
}

struct Parts {
    size_t weight, each_scale;
};

Parts parts_of(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group, ElementType type) {
    const size_t count = size_t{rows} * cols;
    if (bits == 0) return {count * element_bytes(type), 0};
    return {count * bits / 8, count / group * element_bytes(type)};
}

} // namespace

std::unique_ptr<Place> allocate_pages(Backend& backend, size_t bytes) { return std::make_unique<Pages>(backend, bytes); }

Checker::Checker(Backend& backend, uint64_t seed, Allocate allocate)
    : backend_(backend), random_(seed), allocate_(std::move(allocate)) {}

Span Checker::poisoned(size_t bytes) {
    places_.push_back(allocate_(backend_, bytes));
    const Span span = places_.back()->span();
    std::memset(span.as<std::byte>(), 0xff, bytes);
    return span;
}

Span Checker::floats(size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(uniform());
    return floats(values);
}

Span Checker::floats(const std::vector<float>& values) {
    const Span span = poisoned(values.size() * sizeof(float));
    std::memcpy(span.as<float>(), values.data(), values.size() * sizeof(float));
    return span;
}

Span Checker::words(const std::vector<uint32_t>& values) {
    const Span span = poisoned(values.size() * sizeof(uint32_t));
    std::memcpy(span.as<uint32_t>(), values.data(), values.size() * sizeof(uint32_t));
    return span;
}

void Checker::fill(RandomMatrix& made, uint32_t group) {
    const Matrix& m = made.matrix;
    const size_t count = size_t{m.rows} * m.cols, size = element_bytes(m.type);
    made.values.resize(count);
    if (m.bits == 0) {
        for (size_t i = 0; i < count; ++i) made.values[i] = store(m.weight.as<std::byte>() + i * size, m.type, uniform());
        return;
    }
    const size_t per_byte = 8 / m.bits;
    for (size_t g = 0; g < count / group; ++g) {
        const double scale = store(m.scales.as<std::byte>() + g * size, m.type, uniform() / (1 << m.bits));
        const double bias = store(m.biases.as<std::byte>() + g * size, m.type, uniform());
        for (size_t i = g * group; i < (g + 1) * group; i += per_byte) {
            const auto codes = static_cast<uint32_t>(random_.next() & 255);
            m.weight.as<uint8_t>()[i / per_byte] = static_cast<uint8_t>(codes);
            for (size_t j = 0; j < per_byte; ++j) {
                made.values[i + j] = scale * ((codes >> (j * m.bits)) & ((1u << m.bits) - 1)) + bias;
            }
        }
    }
}

RandomMatrix Checker::matrix(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group, ElementType type) {
    const Parts parts = parts_of(rows, cols, bits, group, type);
    RandomMatrix made;
    made.matrix = {.weight = poisoned(parts.weight), .scales = {}, .biases = {}, .rows = rows, .cols = cols,
                   .bits = bits, .group = bits != 0 ? group : 0, .type = type};
    if (bits != 0) made.matrix.scales = poisoned(parts.each_scale);
    if (bits != 0) made.matrix.biases = poisoned(parts.each_scale);
    fill(made, group);
    return made;
}

size_t Checker::matrix_bytes(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group, ElementType type) {
    const Parts parts = parts_of(rows, cols, bits, group, type);
    return round_up(parts.weight, kAlign) + 2 * round_up(parts.each_scale, kAlign);
}

RandomMatrix Checker::matrix_in(Span slot, size_t& at, uint32_t rows, uint32_t cols, uint32_t bits, uint32_t group,
                                ElementType type) {
    const Parts parts = parts_of(rows, cols, bits, group, type);
    const auto take = [&](size_t bytes) {
        const Span span = slot + at;
        at += round_up(bytes, kAlign);
        return span;
    };
    RandomMatrix made;
    made.matrix = {.weight = take(parts.weight), .scales = {}, .biases = {}, .rows = rows, .cols = cols,
                   .bits = bits, .group = bits != 0 ? group : 0, .type = type};
    if (bits != 0) made.matrix.scales = take(parts.each_scale);
    if (bits != 0) made.matrix.biases = take(parts.each_scale);
    fill(made, group);
    return made;
}

void Checker::record(const std::string& name, double tolerance, double error) {
    auto found = std::find_if(results_.begin(), results_.end(), [&](const Check& c) { return c.name == name; });
    if (found == results_.end()) found = results_.insert(found, {name, 0, tolerance});
    // An error that is no number stays: no later one may hide it.
    if (!std::isnan(found->max_error) && !(error <= found->max_error)) found->max_error = error;
    if (watcher_) watcher_(*found);
}

void Checker::clear() { places_.clear(); }

const std::vector<CheckGroup>& check_groups() {
    static const std::vector<CheckGroup> groups = {
        {"dense", check_dense},         {"router", check_router},
        {"experts", check_experts},     {"attention", check_attention},
        {"mla", check_latent_attention}, {"delta_net", check_delta_net}};
    return groups;
}

std::vector<Check> check_backend(Backend& backend, uint64_t seed, Allocate allocate) {
    Checker checker(backend, seed, std::move(allocate));
    for (const CheckGroup& group : check_groups()) group.run(checker);
    return checker.take_results();
}

} // namespace flashmoe::checks
