// Believes no field of a job: a wrong size here would shift every expert after it.
#include "pack/pack_layer.h"

#include <algorithm>

namespace flashmoe::pack {

namespace {

// An expert of a real model has some 50 million weights; products of these limits fit 64 bits.
constexpr std::uint64_t kMaxDimension = std::uint64_t{1} << 24;
constexpr std::uint64_t kMaxExperts = std::uint64_t{1} << 16;
constexpr std::uint64_t kMaxStride = std::uint64_t{1} << 32;
constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 62;
constexpr unsigned kMaxThreads = 1024;

const char* const kPartNames[] = {"weight", "scales", "biases", "bias"};
enum : std::size_t { kWeight, kScales, kBiases, kBias };

std::string part_name(const Projection& projection, std::size_t part) {
    return projection.weight.source + ": " + kPartNames[part] + " of [" + std::to_string(projection.rows) +
           ", " + std::to_string(projection.columns) + "]";
}

bool is_width(std::uint32_t bits) { return bits >= 2 && bits <= 8 && bits != 7; }
bool is_float(DType dtype) { return dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f32; }
/// A floating point mode's: they have no biases.
bool has_byte_scales(const Projection& p) { return p.scales && p.scales->dtype == DType::u8; }

void check_widths(const Projection& p) {
    const bool plain = p.source_bits == 0;
    if (p.rows == 0 || p.rows > kMaxDimension || p.columns == 0 || p.columns > kMaxDimension) {
        fail_plan(part_name(p, 0) + ": impossible dimensions");
    }
    if (p.bias && !is_float(p.bias->dtype)) fail_plan(part_name(p, kBias) + ": must be BF16, F16 or F32");
    if (plain != !p.scales || (plain || has_byte_scales(p)) != !p.biases) {
        fail_plan(part_name(p, 0) + ": scales and biases belong to quantised weights only");
    }
    if (plain) {
        if (p.target_bits != 0) fail_plan(part_name(p, 0) + ": plain weights are only copied");
        return;
    }
    const auto g = p.group_size;
    if (!is_width(p.source_bits) || (g != 16 && g != 32 && g != 64 && g != 128) || p.columns % g != 0) {
        fail_plan(part_name(p, 0) + ": " + std::to_string(p.source_bits) + " bits in groups of " +
                  std::to_string(g) + " is no supported width");
    }
    const bool narrows = quant::is_narrowing(p.source_bits, p.target_bits) && g >= 32 && !has_byte_scales(p);
    if (p.target_bits != p.source_bits && !narrows) {
        fail_plan(part_name(p, 0) + ": can't become " + std::to_string(p.target_bits) + " bits");
    }
    const bool floats = p.biases && is_float(p.scales->dtype) && p.scales->dtype == p.biases->dtype;
    if (p.weight.dtype != DType::u32 || !(floats || has_byte_scales(p))) {
        fail_plan(part_name(p, 0) + ": element types don't fit quantised weights");
    }
}

} // namespace

std::uint64_t dtype_bytes(DType dtype) { return dtype == DType::u8 ? 1 : dtype == DType::bf16 || dtype == DType::f16 ? 2 : 4; }

std::vector<Part> checked_parts(const PackLayerJob& job, const Projection& p, std::uint64_t expert_stride) {
    check_widths(p);
    if (p.importance.columns != 0) {
        if (p.source_bits == p.target_bits || p.importance.columns != p.columns) {
            fail_plan(part_name(p, 0) + ": importance without columns to requantise");
        }
        check_importance(p.importance, p.group_size, "packLayer");
    }
    const std::uint64_t values = p.rows * p.columns;
    std::vector<Part> parts;
    const auto add = [&](std::size_t index, const StackedTensor& tensor, std::uint64_t source_size, std::uint64_t target_size) {
        const std::uint64_t stride = tensor.stride == 0 ? source_size : tensor.stride;
        if (stride < source_size || stride > kMaxStride) fail_plan(part_name(p, index) + ": stride out of range");
        if (tensor.offset >= kMaxOffset || tensor.size != source_size * job.experts) {
            fail_plan(part_name(p, index) + ": " + std::to_string(tensor.size) + " bytes, not " +
                      std::to_string(job.experts) + " experts of " + std::to_string(source_size));
        }
        const std::uint64_t target = p.target_offsets[index];
        if (target > expert_stride || target_size > expert_stride - target) {
            fail_plan(part_name(p, index) + ": reaches out of the expert");
        }
        parts.push_back({&tensor, source_size, stride, target, target_size});
    };
    const std::uint64_t bias_size = p.bias ? p.rows * dtype_bytes(p.bias->dtype) : 0;
    if (p.source_bits == 0) {
        if (!is_float(p.weight.dtype)) fail_plan(part_name(p, kWeight) + ": plain weights can't be packed codes");
        const std::uint64_t size = values * dtype_bytes(p.weight.dtype);
        add(kWeight, p.weight, size, size);
        if (p.bias) add(kBias, *p.bias, bias_size, bias_size);
        return parts;
    }
    add(kWeight, p.weight, values * p.source_bits / 8, values * p.target_bits / 8);
    const std::uint64_t groups = values / p.group_size;
    // Requantised parameters are BF16, copied ones stay as they are.
    const std::uint64_t target_bytes = p.target_bits == p.source_bits ? dtype_bytes(p.scales->dtype) : 2;
    const std::uint64_t source_bytes = dtype_bytes(p.scales->dtype);
    add(kScales, *p.scales, groups * source_bytes, groups * target_bytes);
    if (p.biases) add(kBiases, *p.biases, groups * source_bytes, groups * target_bytes);
    if (p.bias) add(kBias, *p.bias, bias_size, bias_size);
    return parts;
}

namespace {

void check_plan(const PackLayerJob& job, std::uint64_t expert_stride, const std::vector<Projection>& projections) {
    if (expert_stride == 0 || expert_stride > kMaxStride) fail_plan("packLayer: expertStride out of range");
    if (projections.empty()) fail_plan("packLayer: no projections");
    std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
    for (const auto& projection : projections) {
        for (const auto& part : checked_parts(job, projection, expert_stride)) {
            extents.emplace_back(part.target_offset, part.target_offset + part.target_size);
        }
    }
    std::sort(extents.begin(), extents.end());
    for (std::size_t i = 1; i < extents.size(); ++i) {
        if (extents[i].first < extents[i - 1].second) {
            fail_plan("packLayer: two components claim offset " + std::to_string(extents[i].first));
        }
    }
}

} // namespace

void check_job(const PackLayerJob& job) {
    if (job.experts == 0 || job.experts > kMaxExperts) fail_plan("packLayer: experts out of range");
    if (job.threads == 0 || job.threads > kMaxThreads) fail_plan("packLayer: threads out of range");
    check_plan(job, job.expert_stride, job.projections);
    if (job.other_experts.empty()) return;
    check_plan(job, job.others.expert_stride, job.others.projections);
    if (job.others.projections.size() != job.projections.size()) fail_plan("packLayer: experts differ in their projections");
    for (std::size_t i = 0; i < job.other_experts.size(); ++i) {
        const auto expert = job.other_experts[i];
        if (expert >= job.experts || (i > 0 && expert <= job.other_experts[i - 1])) {
            fail_plan("packLayer: the experts that differ are not a list of experts");
        }
    }
}

} // namespace flashmoe::pack
