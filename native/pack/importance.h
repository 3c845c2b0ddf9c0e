// How much the columns of a projection count, from a file of mean squares of what they are multiplied with
// (docs/format.md, "Calibration").
#pragma once

#include "core/file.h"

#include <cstdint>
#include <vector>

namespace flashmoe::pack {

/// BF16 [columns] from `offset` on; expert e's `e * stride` bytes behind, stride 0 when all share one row.
struct ImportancePlace {
    std::uint64_t offset = 0;
    std::uint64_t stride = 0;
    /// 0: all columns count alike.
    std::uint64_t columns = 0;
};

/// Throws ERR_PLAN where the row can't be that of a projection with so many columns in such groups.
void check_importance(const ImportancePlace& place, unsigned group_size, const char* function);

/// A weight from 1 to 255 per column, 255 for the largest of its group; only what stands in one group is ever compared.
/// Columns whose value is no number count least, and all alike in a group without any above 0.
std::vector<std::uint8_t> column_weights(const File& file, const ImportancePlace& place, std::uint64_t expert,
                                         unsigned group_size);

} // namespace flashmoe::pack
