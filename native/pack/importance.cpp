#include "pack/importance.h"

#include "core/half.h"
#include "core/error.h"

#include <algorithm>
#include <cmath>

namespace flashmoe::pack {

namespace {

constexpr std::uint64_t kMaxColumns = std::uint64_t{1} << 24;
constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 52;
constexpr float kMostWeight = 255;

} // namespace

void check_importance(const ImportancePlace& place, unsigned group_size, const char* function) {
    const bool is_row = place.columns <= kMaxColumns && place.columns % group_size == 0;
    const bool is_place = place.offset <= kMaxOffset && (place.stride == 0 || place.stride == place.columns * 2);
    if (!is_row || !is_place) fail_plan(std::string(function) + ": importance out of range");
}

std::vector<std::uint8_t> column_weights(const File& file, const ImportancePlace& place, std::uint64_t expert,
                                         unsigned group_size) {
    std::vector<std::uint16_t> row(place.columns);
    file.read_at(row.data(), row.size() * 2, place.offset + expert * place.stride);
    std::vector<std::uint8_t> weights(row.size(), 1);
    for (std::size_t first = 0; first < row.size(); first += group_size) {
        const auto at = [&](std::size_t i) {
            const float value = bf16_to_float(row[first + i]);
            return std::isfinite(value) ? value : 0;
        };
        float most = 0;
        for (std::size_t i = 0; i < group_size; ++i) most = std::max(most, at(i));
        if (most == 0) continue;
        for (std::size_t i = 0; i < group_size; ++i) {
            weights[first + i] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(at(i) / most * kMostWeight), 1.0f, kMostWeight));
        }
    }
    return weights;
}

} // namespace flashmoe::pack
