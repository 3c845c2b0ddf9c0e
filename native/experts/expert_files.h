// The layer files: opened and measured at load, described as the matrices one expert holds. Experts are never
// mapped and never loaded whole; expert_reader.h reads them one by one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/file.h"
#include "core/manifest.h"

namespace flashmoe {

/// One layer's experts on disk. The matrices' spans are offsets from an expert's start, without a buffer.
struct ExpertLayer {
    File file;
    uint64_t expert_size;
    /// What one read asks for, at least expert_size.
    uint64_t read_size;
    uint64_t expert_stride;
    Matrix gate, up, down;
};

class ExpertFiles {
  public:
    /// Opens the file of every moe layer of `spec` and checks layouts, shapes and sizes; refuses leftovers.
    ExpertFiles(const std::string& experts_dir, const ModelSpec& spec, Caching caching);

    const ExpertLayer& layer(uint32_t index) const { return *layers_[index]; }
    /// Of layout.json; 0 when the model has no experts.
    uint64_t fingerprint() const { return fingerprint_; }
    /// Largest stride of any layer.
    uint64_t slot_bytes() const { return slot_bytes_; }

  private:
    std::vector<std::unique_ptr<ExpertLayer>> layers_;
    uint64_t fingerprint_ = 0;
    uint64_t slot_bytes_ = 0;
};

} // namespace flashmoe
