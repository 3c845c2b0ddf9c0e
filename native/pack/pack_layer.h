// One MoE layer: stacked source tensors in, experts back to back in one file, hashed in order.
// Layout and requantising: docs/format.md.
#pragma once

#include "pack/control.h"
#include "pack/importance.h"
#include "quant/requantise.h"

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace flashmoe::pack {

enum class DType { u32, bf16, f16, f32, u8 };

std::uint64_t dtype_bytes(DType dtype);

/// All experts of one component: expert e at offset + e * stride, where 0 is size / experts, without gaps.
struct StackedTensor {
    std::string source;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    DType dtype = DType::u32;
    std::uint64_t stride = 0;
};

/// rows x columns are logical dimensions of one expert. bits 0 = plain weights without scales and biases. Codes whose scales
/// are bytes have no biases and are copied. `bias` is what is added to each row's result.
struct Projection {
    std::uint64_t rows = 0;
    std::uint64_t columns = 0;
    std::uint32_t source_bits = 0;
    std::uint32_t group_size = 0;
    StackedTensor weight;
    std::optional<StackedTensor> scales;
    std::optional<StackedTensor> biases;
    std::optional<StackedTensor> bias;
    std::uint32_t target_bits = 0;
    /// Of weight, scales, biases and bias inside an expert.
    std::array<std::uint64_t, 4> target_offsets{};
    /// For the search; the columns are those above, or 0 without any.
    ImportancePlace importance{};
    std::string importance_source{};
};

/// What is made of an expert: its length in the file, and its projections.
struct ExpertPlan {
    std::uint64_t expert_stride = 0;
    std::vector<Projection> projections;
};

struct PackLayerJob {
    std::string target;
    std::uint64_t experts = 0;
    std::uint64_t expert_stride = 0;
    std::vector<Projection> projections;
    /// false: range only, the baseline for comparisons.
    bool search = true;
    unsigned threads = 1;
    /// Of some experts something else is made, with as many projections: those that are listed, ascending.
    ExpertPlan others{};
    std::vector<std::uint64_t> other_experts{};
};

struct PackLayerResult {
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
    std::string sha256;
    /// Per projection; zeros where nothing was requantised.
    std::vector<quant::ErrorSums> errors;
};

/// Bytes on disk are the same whatever `threads` is. Failures: ERR_PLAN for a field that can't be right (nothing
/// written), ERR_IO or an errno name with file and offset, ERR_INTERRUPTED within one expert of a cancel.
PackLayerResult pack_layer(const PackLayerJob& job, const Control& control);

/// One component of one expert: where it is read, where it goes.
struct Part {
    const StackedTensor* tensor;
    std::uint64_t source_size;
    std::uint64_t source_stride;
    std::uint64_t target_offset;
    std::uint64_t target_size;
};

/// The one to four parts of a projection with sizes checked to multiply exactly and to lie inside an expert.
std::vector<Part> checked_parts(const PackLayerJob& job, const Projection& projection, std::uint64_t expert_stride);

/// Every field of the job, overlap of components included; throws ERR_PLAN naming the component.
void check_job(const PackLayerJob& job);

} // namespace flashmoe::pack
