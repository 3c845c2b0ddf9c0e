// One read for neighbours in a layer file, each into its own place.
#pragma once

#include <string>

#include "experts/expert_files.h"

namespace flashmoe {

/// Most experts of one read.
constexpr uint32_t kMaxRun = 16;

/// Reads experts [first, first + count) into targets[0, count), each with room for the layer's stride. Returns how many
/// came whole; when not all did, `failure` says which file, expert and offset, and why.
uint32_t read_experts(const ExpertLayer& layer, uint32_t first, uint32_t count, std::byte* const* targets, std::string& failure);

} // namespace flashmoe
