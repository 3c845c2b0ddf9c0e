// Which experts a model used most, in a small text file: read at the next start, so that its first answers find them in memory.
#pragma once

#include <string>
#include <vector>

#include "experts/expert_store.h"

namespace flashmoe {

/// Experts that a file names at most.
constexpr size_t kMostHot = 65536;

/// Replaces `path` whole. Throws FM_IO. `fingerprint`: of the files they are in.
void write_hot_experts(const std::string& path, uint64_t fingerprint, const std::vector<ExpertName>& experts);
/// Empty where there is no such file, or it is of other files, or not as it should be: it only costs time.
std::vector<ExpertName> read_hot_experts(const std::string& path, uint64_t fingerprint);

} // namespace flashmoe
