// The layer files: opened and measured at load, described as the matrices one expert holds. Where all of them fit into
// memory they are mapped; otherwise expert_store.h reads experts one by one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/file.h"
#include "core/manifest.h"
#include "core/mapped_guard.h"
#include "core/wrapped_buffer.h"
#include "experts/row_reader.h"

namespace flashmoe {

/// A layer file in the address space; what can't be read of it any more is taken as for dense weights (mapped_guard.h).
class MappedLayer {
  public:
    MappedLayer(Backend& backend, const File& file)
        : mapping_(file), guard_(mapping_.data(), mapping_.size()), buffer_(backend, mapping_.data(), mapping_.size()) {}
    Span span(uint64_t offset) const { return buffer_.span(offset); }
    const std::byte* data(uint64_t offset) const { return mapping_.data() + offset; }
    bool damaged() const { return guard_.damaged(); }

  private:
    MappedFile mapping_;
    MappedGuard guard_;
    WrappedBuffer buffer_;
};

/// What experts of one width are. The matrices' spans are offsets from an expert's start, without a buffer.
struct ExpertShape {
    uint64_t expert_size;
    /// What one read asks for, at least expert_size.
    uint64_t read_size;
    uint64_t expert_stride;
    Matrix gate, up, down;
};

/// One layer's experts on disk, in their order: of one shape mostly, of several where a table says whose is which.
struct ExpertLayer {
    ModelFile file;
    std::vector<ExpertShape> shapes;
    /// By expert: where it begins and which of the shapes it has; empty where all have the first, stride by stride.
    struct Place {
        uint64_t offset;
        uint32_t shape;
    };
    std::vector<Place> places;
    /// Null where experts are read.
    std::unique_ptr<MappedLayer> mapping;

    uint32_t shape_of(uint32_t expert) const { return places.empty() ? 0 : places[expert].shape; }
    const ExpertShape& shape(uint32_t expert) const { return shapes[shape_of(expert)]; }
    uint64_t offset(uint32_t expert) const {
        return places.empty() ? expert * shapes[0].expert_stride : places[expert].offset;
    }
    uint64_t largest_stride() const;
    /// Of an expert, on average.
    uint64_t mean_size() const;
};

class ExpertFiles {
  public:
    /// Opens the file of every moe layer of `spec` and checks layouts, shapes and sizes; refuses leftovers.
    ExpertFiles(const std::string& experts_dir, const ModelSpec& spec, Caching caching);

    /// Of layers that were opened elsewhere, null where there are no experts.
    ExpertFiles(std::vector<std::unique_ptr<ExpertLayer>> layers, uint32_t experts);

    const ExpertLayer& layer(uint32_t index) const { return *layers_[index]; }
    bool has_layer(uint32_t index) const { return layers_[index] != nullptr; }
    /// The n-gram rows of a layer that has some.
    const RowTable& table(uint32_t index) const { return *tables_[index]; }
    /// Of layout.json; 0 when the model has no experts.
    uint64_t fingerprint() const { return fingerprint_; }
    /// Largest stride of any layer; 0 when the model has no experts.
    uint64_t largest_stride() const { return largest_stride_; }
    /// Of all layer files.
    uint64_t total_bytes() const { return total_bytes_; }
    uint32_t layers() const { return static_cast<uint32_t>(layers_.size()); }
    /// Layers that have experts, and experts of each.
    uint32_t expert_layers() const { return expert_layers_; }
    uint32_t experts() const { return experts_; }

    /// From here on experts are where their files are mapped. Throws as Backend::wrap.
    void map(Backend& backend);
    bool is_mapped() const { return is_mapped_; }
    /// After a computation, before its results are used: throws FM_IO when a mapped file was changed or cut short, or a part of it
    /// could not be read.
    void require_intact() const;

    /// That a backend needs for the experts' matrices, one bit each.
    uint32_t features() const { return features_; }

  private:
    void measure();
    void open_tables(const ExpertsManifest& manifest, const ModelSpec& spec, const std::string& experts_dir);

    std::vector<std::unique_ptr<ExpertLayer>> layers_;
    std::vector<std::unique_ptr<RowTable>> tables_;
    uint32_t features_ = 0;
    uint64_t fingerprint_ = 0;
    uint64_t largest_stride_ = 0, total_bytes_ = 0;
    uint32_t expert_layers_ = 0, experts_ = 0;
    bool is_mapped_ = false;
};

} // namespace flashmoe
