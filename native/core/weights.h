// The dense file, mapped, and the lookup of its tensors by what a block needs: name, logical shape, kind.
#pragma once

#include <deque>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/file.h"
#include "core/manifest.h"
#include "core/mapped_guard.h"
#include "core/memory.h"
#include "core/wrapped_buffer.h"

namespace flashmoe {

/// The matrix that tensors NAME.weight, NAME.scales, NAME.biases make up in `tensors`, checked against [rows, cols];
/// `stack` > 1: the tensors carry a leading dimension, folded into rows. `where` names the file in complaints.
/// `span` says where a tensor of the file is.
using SpanOf = std::function<Span(const TensorInfo&)>;
Matrix bind_matrix(const std::map<std::string, TensorInfo>& tensors, const std::string& where, const std::string& name,
                   const SpanOf& span, uint32_t stack, uint32_t rows, uint32_t cols);

/// Tensors that a linear has: its weight, and scales and biases where they stand beside it.
uint32_t parts_of(const Matrix& matrix);
/// Features that a backend needs for a matrix, one bit each.
uint32_t features_of(const Matrix& matrix);

class DenseWeights {
  public:
    /// Maps model_weights.bin beside the manifest; its size must be the manifest's.
    DenseWeights(Backend& backend, const std::string& model_dir, const DenseManifest& manifest);
    DenseWeights(const DenseWeights&) = delete;
    DenseWeights& operator=(const DenseWeights&) = delete;

    /// NAME.weight as a linear [rows, cols], quantised or plain.
    Matrix matrix(const std::string& name, uint32_t rows, uint32_t cols) { return stacked(name, 1, rows, cols); }
    /// The same with NAME.bias [rows], which is added to its results. Usable after finish().
    Matrix biased(const std::string& name, uint32_t rows, uint32_t cols);
    /// Numbers of our own beside the widened tensors. Usable after finish().
    Span words(const std::vector<uint32_t>& values);
    /// Of all matrices so far, one bit each.
    uint32_t features() const { return features_; }
    /// [stack, rows, cols] as [stack * rows, cols].
    Matrix stacked(const std::string& name, uint32_t stack, uint32_t rows, uint32_t cols);
    /// NAME or NAME.weight of exactly this shape, widened to f32. Usable after finish().
    Span values(const std::string& name, const std::vector<uint64_t>& shape);
    /// NAME, I64 [count].
    std::vector<int64_t> integers(const std::string& name, uint32_t count);
    /// As values() of [rows, cols, 1], stored as [cols, rows].
    Span transposed(const std::string& name, uint32_t rows, uint32_t cols);
    /// Call once, after the last lookup: throws when a tensor of the manifest was not asked for.
    void finish();

    /// After a computation, before its results are used: throws FM_IO when the file was changed or cut
    /// short, or a part of it could not be read.
    void require_intact() const;

    uint64_t mapped_bytes() const { return mapping_.size(); }

  private:
    /// The file in as many buffers as the device demands, each from a page on. A tensor is whole in one of them.
    struct Part {
        uint64_t begin;
        WrappedBuffer buffer;
    };
    void wrap_parts();
    Span span_of(const TensorInfo& tensor) const;

    Backend& backend_;
    const DenseManifest& manifest_;
    ModelFile file_;
    MappedFile mapping_;
    MappedGuard guard_;
    /// Spans point into it: it grows without moving what is there.
    std::deque<Part> parts_;
    std::set<std::string> used_;
    uint32_t features_ = 0;
    std::vector<float> widened_;
    PageMemory widened_memory_;
    WrappedBuffer widened_buffer_;
};

} // namespace flashmoe
