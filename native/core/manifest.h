// model_weights.json and layout.json, read and checked as far as they can be without the files they describe:
// sizes against shapes, offsets against alignment and file size, no overlap, plain file names. docs/format.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/spec.h"

namespace flashmoe {

struct TensorInfo {
    uint64_t offset = 0, size = 0;
    std::vector<uint64_t> shape;
    ElementType type = ElementType::u32;
    /// On the weight of a quantised linear; otherwise 0.
    uint32_t bits = 0, group = 0;
    Codes codes = Codes::affine;
    /// With Codes::blocks, where `bits` and `group` are those of its kind.
    quant::Block block = {};
};

struct DenseManifest {
    ModelSpec spec;
    uint64_t file_size = 0;
    /// Of the manifest's text, which holds the hashes of the bytes it describes.
    uint64_t fingerprint = 0;
    std::map<std::string, TensorInfo> tensors;
};

struct ExpertLayout {
    uint64_t expert_size = 0, expert_stride = 0;
    /// By name: gate_proj.weight and so on. Offsets count from the expert's start.
    std::map<std::string, TensorInfo> components;
};

struct ExpertPlace {
    uint64_t offset = 0;
    uint32_t layout = 0;
};

struct ExpertLayerFile {
    uint32_t layer = 0;
    std::string file;
    uint64_t size = 0;
    uint32_t layout = 0;
    /// By expert, without gaps; empty where all have `layout`.
    std::vector<ExpertPlace> places{};
};

/// A file of n-gram rows: a row's codes, then its scales and biases; or plain values.
struct RowTableFile {
    uint32_t layer = 0;
    std::string file;
    uint64_t size = 0, rows = 0;
    uint32_t columns = 0, bits = 0, group = 0;
    ElementType type = ElementType::bf16;

    uint64_t code_bytes() const { return bits != 0 ? uint64_t{columns} * bits / 8 : columns * element_bytes(type); }
    uint64_t parameter_bytes() const { return bits != 0 ? columns / group * element_bytes(type) : 0; }
    uint64_t row_bytes() const { return code_bytes() + 2 * parameter_bytes(); }
};

struct ExpertsManifest {
    uint32_t experts = 0;
    uint64_t fingerprint = 0;
    std::vector<ExpertLayout> layouts;
    std::vector<ExpertLayerFile> layers;
    std::vector<RowTableFile> tables;
};

DenseManifest read_dense_manifest(const std::string& path);
ExpertsManifest read_experts_manifest(const std::string& path);

/// The same from text; `path` is for messages only.
DenseManifest parse_dense_manifest(const std::string& text, const std::string& path);
ExpertsManifest parse_experts_manifest(const std::string& text, const std::string& path);

} // namespace flashmoe
