#include "core/weights.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "core/half.h"

namespace flashmoe {
namespace {

std::string shape_text(const std::vector<uint64_t>& shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + "]";
}

/// A pointer: GCC takes a reference for one into the arguments.
const TensorInfo* need(const std::map<std::string, TensorInfo>& tensors, const std::string& where,
                       const std::string& name, const std::vector<uint64_t>& shape) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) fail(FM_MODEL_DAMAGED, where, ": ", name, " is missing");
    if (found->second.shape != shape) {
        fail(FM_MODEL_DAMAGED, where, ": ", name, " has shape ", shape_text(found->second.shape), ", the model needs ",
             shape_text(shape));
    }
    return &found->second;
}

void require_whole_groups(const std::string& where, const std::string& name, const Matrix& matrix) {
    if (matrix.cols % matrix.group == 0) return;
    fail(FM_MODEL_DAMAGED, where, ": ", name, " has ", matrix.cols, " columns, not a multiple of its ",
         matrix.codes == Codes::blocks ? "blocks of " : "group of ", matrix.group);
}

} // namespace

uint32_t parts_of(const Matrix& matrix) {
    return matrix.bits == 0 || matrix.codes == Codes::blocks ? 1 : matrix.codes == Codes::affine ? 3 : 2;
}

uint32_t features_of(const Matrix& matrix) {
    const uint32_t format = matrix.codes == Codes::blocks                ? bit(kBlockFormats)
                            : matrix.bits != 0 && !matrix.is_common() ? bit(kRareFormats)
                                                                      : 0;
    return format | (matrix.has_bias ? bit(kAddedBiases) : 0);
}

Matrix bind_matrix(const std::map<std::string, TensorInfo>& tensors, const std::string& where, const std::string& name,
                   const SpanOf& span, uint32_t stack, uint32_t rows, uint32_t cols) {
    const std::string weight_name = name + ".weight";
    const auto found = tensors.find(weight_name);
    if (found == tensors.end()) fail(FM_MODEL_DAMAGED, where, ": ", weight_name, " is missing");
    const uint32_t bits = found->second.bits, group = found->second.group;
    const auto shape = [&](uint64_t width) {
        return stack > 1 ? std::vector<uint64_t>{stack, rows, width} : std::vector<uint64_t>{rows, width};
    };
    Matrix matrix{.weight = span(found->second),
                  .scales = {},
                  .biases = {},
                  .rows = stack * rows,
                  .cols = cols,
                  .bits = bits,
                  .group = group,
                  .type = found->second.type,
                  .codes = found->second.codes,
                  .block = found->second.block};
    if (parts_of(matrix) == 1) {
        if (bits != 0) require_whole_groups(where, weight_name, matrix);
        need(tensors, where, weight_name, shape(bits != 0 ? matrix.row_bytes() : cols));
        if (tensors.contains(name + ".scales") || tensors.contains(name + ".biases")) {
            fail(FM_MODEL_DAMAGED, where, ": ", name, " has scales or biases, but its weight is ", bits != 0 ? "in blocks" : "not quantised");
        }
        return matrix;
    }
    require_whole_groups(where, weight_name, matrix);
    need(tensors, where, weight_name, shape(uint64_t{cols} * bits / 32));
    const TensorInfo* scales = need(tensors, where, name + ".scales", shape(cols / group));
    if (matrix.codes != Codes::affine) {
        if (scales->type != ElementType::u8) fail(FM_MODEL_DAMAGED, where, ": ", name, ".scales must be U8 in a floating point mode");
        if (tensors.contains(name + ".biases")) {
            fail(FM_MODEL_DAMAGED, where, ": ", name, " has biases, which its floating point mode has not");
        }
        matrix.scales = span(*scales);
        matrix.type = scales->type;
        return matrix;
    }
    const TensorInfo* biases = need(tensors, where, name + ".biases", shape(cols / group));
    if (scales->type != biases->type || !is_float(scales->type)) {
        fail(FM_MODEL_DAMAGED, where, ": ", name, ".scales and .biases must have one dtype of BF16, F16, F32");
    }
    matrix.scales = span(*scales);
    matrix.biases = span(*biases);
    matrix.type = scales->type;
    return matrix;
}

DenseWeights::DenseWeights(Backend& backend, const std::string& model_dir, const DenseManifest& manifest)
    : backend_(backend), manifest_(manifest), file_(model_dir + "/model_weights.bin"), mapping_(file_),
      guard_(mapping_.data(), mapping_.size()) {
    if (file_.size() != manifest.file_size) {
        fail(FM_MODEL_DAMAGED, file_.path(), ": ", file_.size(), " bytes, its manifest says ", manifest.file_size);
    }
    wrap_parts();
}

void DenseWeights::wrap_parts() {
    const uint64_t most = backend_.max_buffer_bytes();
    const auto wrap = [this](uint64_t begin, uint64_t end) {
        parts_.push_back({begin, WrappedBuffer(backend_, mapping_.data() + begin, end - begin)});
    };
    if (round_up(mapping_.size(), kPage) <= most) return wrap(0, mapping_.size());
    std::vector<std::pair<const std::string, TensorInfo> const*> ordered;
    for (const auto& entry : manifest_.tensors) ordered.push_back(&entry);
    std::sort(ordered.begin(), ordered.end(), [](const auto* a, const auto* b) { return a->second.offset < b->second.offset; });
    uint64_t begin = 0, end = 0;
    for (const auto* entry : ordered) {
        const TensorInfo& tensor = entry->second;
        const uint64_t first = tensor.offset / kPage * kPage, behind = tensor.offset + tensor.size;
        if (round_up(behind, kPage) - first > most) {
            fail(FM_ENGINE, file_.path(), ": ", entry->first, " takes ", round_up(behind, kPage) - first,
                 " bytes in one buffer, and the GPU takes buffers of at most ", most,
                 "; the CPU computes this model (--backend cpu)");
        }
        if (end != 0 && round_up(behind, kPage) - begin > most) {
            wrap(begin, end);
            end = 0;
        }
        if (end == 0) begin = first;
        end = std::max(end, behind);
    }
    if (end != 0) wrap(begin, end);
}

Span DenseWeights::span_of(const TensorInfo& tensor) const {
    const auto behind = std::find_if(parts_.begin(), parts_.end(), [&](const Part& part) { return part.begin > tensor.offset; });
    const Part& part = *std::prev(behind);
    return part.buffer.span(tensor.offset - part.begin);
}

void DenseWeights::require_intact() const {
    if (file_.is_unchanged() && !guard_.damaged()) return;
    fail(FM_IO, file_.path(), guard_.damaged() ? ": can't be read any more" : ": was changed while in use",
         "; what was computed is dropped, the model must be loaded anew");
}

Matrix DenseWeights::stacked(const std::string& name, uint32_t stack, uint32_t rows, uint32_t cols) {
    const Matrix matrix =
        bind_matrix(manifest_.tensors, "model_weights.json", name, [this](const TensorInfo& tensor) { return span_of(tensor); }, stack,
                    rows, cols);
    used_.insert(name + ".weight");
    if (parts_of(matrix) > 1) used_.insert(name + ".scales");
    if (parts_of(matrix) > 2) used_.insert(name + ".biases");
    features_ |= features_of(matrix);
    return matrix;
}

Matrix DenseWeights::biased(const std::string& name, uint32_t rows, uint32_t cols) {
    Matrix linear = matrix(name, rows, cols);
    linear.bias = values(name + ".bias", {rows});
    linear.has_bias = true;
    features_ |= features_of(linear);
    return linear;
}

Span DenseWeights::words(const std::vector<uint32_t>& values) {
    widened_.resize(round_up(widened_.size(), 16));
    const Span span = widened_buffer_.span(widened_.size() * sizeof(float));
    const size_t at = widened_.size();
    widened_.resize(at + values.size());
    std::memcpy(widened_.data() + at, values.data(), values.size() * sizeof(uint32_t));
    return span;
}

Span DenseWeights::values(const std::string& name, const std::vector<uint64_t>& shape) {
    const std::string full = manifest_.tensors.contains(name) ? name : name + ".weight";
    const TensorInfo& tensor = *need(manifest_.tensors, "model_weights.json", full, shape);
    if (!is_float(tensor.type)) fail(FM_MODEL_DAMAGED, "model_weights.json: ", full, " must not be quantised");
    used_.insert(full);
    // 64-byte starts, so that a device may load them as vectors.
    widened_.resize(round_up(widened_.size(), 16));
    const Span span = widened_buffer_.span(widened_.size() * sizeof(float));
    const std::byte* source = mapping_.data() + tensor.offset;
    for (size_t i = 0; i < tensor.size / element_bytes(tensor.type); ++i) {
        if (tensor.type == ElementType::f32) {
            float value;
            std::memcpy(&value, source + i * 4, 4);
            widened_.push_back(value);
        } else {
            uint16_t bits;
            std::memcpy(&bits, source + i * 2, 2);
            widened_.push_back(tensor.type == ElementType::bf16 ? bf16_to_float(bits) : f16_to_float(bits));
        }
    }
    return span;
}

std::vector<int64_t> DenseWeights::integers(const std::string& name, uint32_t count) {
    const TensorInfo& tensor = *need(manifest_.tensors, "model_weights.json", name, {count});
    if (tensor.type != ElementType::i64) fail(FM_MODEL_DAMAGED, "model_weights.json: ", name, " must be I64");
    used_.insert(name);
    std::vector<int64_t> values(count);
    std::memcpy(values.data(), mapping_.data() + tensor.offset, count * sizeof(int64_t));
    return values;
}

Span DenseWeights::transposed(const std::string& name, uint32_t rows, uint32_t cols) {
    const Span span = values(name, {rows, cols, 1});
    float* stored = widened_.data() + span.offset / sizeof(float);
    const std::vector<float> source(stored, stored + size_t{rows} * cols);
    for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < cols; ++c) stored[c * rows + r] = source[r * cols + c];
    }
    return span;
}

void DenseWeights::finish() {
    for (const auto& [name, tensor] : manifest_.tensors) {
        if (!used_.contains(name)) fail(FM_MODEL_DAMAGED, "model_weights.json: ", name, " belongs to no block of the model");
    }
    if (widened_.empty()) return;
    widened_memory_ = PageMemory(widened_.size() * sizeof(float));
    std::memcpy(widened_memory_.data(), widened_.data(), widened_.size() * sizeof(float));
    widened_buffer_ = WrappedBuffer(backend_, widened_memory_.data(), widened_memory_.size());
    widened_ = {};
}

} // namespace flashmoe
