#include "experts/expert_files.h"

#include <algorithm>

#include "core/weights.h"

namespace flashmoe {
namespace {

void bind_bias(Matrix& matrix, const ExpertLayout& layout, const std::string& where, const std::string& name) {
    const auto found = layout.components.find(name + ".bias");
    if (found == layout.components.end()) fail(FM_MODEL_DAMAGED, where, ": ", name, ".bias is missing");
    const TensorInfo& bias = found->second;
    if (!is_float(bias.type) || bias.shape != std::vector<uint64_t>{matrix.rows}) {
        fail(FM_MODEL_DAMAGED, where, ": ", name, ".bias must be ", matrix.rows, " BF16, F16 or F32");
    }
    matrix.bias = Span{nullptr, bias.offset};
    matrix.bias_type = bias.type;
    matrix.has_bias = true;
}

/// gate, up and down of one layout for this layer's shape; every component of the layout must belong to one of them.
void bind_expert(ExpertShape& layer, const ExpertLayout& layout, const std::string& where, uint32_t hidden,
                 uint32_t intermediate, bool biased) {
    const SpanOf offset_of = [](const TensorInfo& tensor) { return Span{nullptr, tensor.offset}; };
    layer.gate = bind_matrix(layout.components, where, "gate_proj", offset_of, 1, intermediate, hidden);
    layer.up = bind_matrix(layout.components, where, "up_proj", offset_of, 1, intermediate, hidden);
    layer.down = bind_matrix(layout.components, where, "down_proj", offset_of, 1, hidden, intermediate);
    size_t used = 0;
    const std::pair<Matrix*, const char*> all[] = {{&layer.gate, "gate_proj"}, {&layer.up, "up_proj"}, {&layer.down, "down_proj"}};
    for (const auto& [matrix, name] : all) {
        if (biased) bind_bias(*matrix, layout, where, name);
        used += parts_of(*matrix) + (biased ? 1 : 0);
    }
    if (used != layout.components.size()) fail(FM_MODEL_DAMAGED, where, ": components that no expert has");
}

uint64_t read_size(const ExpertLayout& layout, Caching caching);

ExpertShape shape_of(const ExpertLayout& layout, Caching caching) {
    return {.expert_size = layout.expert_size,
            .read_size = read_size(layout, caching),
            .expert_stride = layout.expert_stride,
            .gate = {},
            .up = {},
            .down = {}};
}

/// Direct reads end at whole blocks; the stride, a multiple of them, has room for the last one.
uint64_t read_size(const ExpertLayout& layout, Caching caching) {
    if (caching == Caching::page_cache) return layout.expert_size;
    return (layout.expert_size + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment;
}

} // namespace

uint64_t ExpertLayer::largest_stride() const {
    uint64_t largest = 0;
    for (const ExpertShape& shape : shapes) largest = std::max(largest, shape.expert_stride);
    return largest;
}

uint64_t ExpertLayer::mean_size() const {
    if (places.empty()) return shapes[0].expert_size;
    uint64_t sum = 0;
    for (const Place& place : places) sum += shapes[place.shape].expert_size;
    return sum / places.size();
}

ExpertFiles::ExpertFiles(const std::string& experts_dir, const ModelSpec& spec, Caching caching) : layers_(spec.layers.size()) {
    const std::string manifest_path = experts_dir + "/layout.json";
    const bool any = std::any_of(spec.layers.begin(), spec.layers.end(),
                                 [](const LayerSpec& layer) { return std::holds_alternative<MoeSpec>(layer.mlp); });
    const bool has_rows = std::any_of(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& layer) { return layer.ngram.has_value(); });
    if (!any && !has_rows) return;
    const ExpertsManifest manifest = read_experts_manifest(manifest_path);
    fingerprint_ = manifest.fingerprint;
    experts_ = manifest.experts;
    for (const ExpertLayerFile& entry : manifest.layers) {
        const std::string where = manifest_path + ": layer " + std::to_string(entry.layer);
        const MoeSpec* moe =
            entry.layer < spec.layers.size() ? std::get_if<MoeSpec>(&spec.layers[entry.layer].mlp) : nullptr;
        if (moe == nullptr) fail(FM_MODEL_DAMAGED, where, ": the model has no experts there");
        if (moe->experts != manifest.experts) {
            fail(FM_MODEL_DAMAGED, manifest_path, ": ", manifest.experts, " experts, the model has ", moe->experts);
        }
        auto layer = std::make_unique<ExpertLayer>(
            ExpertLayer{.file = ModelFile(experts_dir + "/" + entry.file, caching), .shapes = {}, .places = {}, .mapping = {}});
        if (layer->file.size() != entry.size) {
            fail(FM_MODEL_DAMAGED, layer->file.path(), ": ", layer->file.size(), " bytes, layout.json says ", entry.size);
        }
        std::vector<uint32_t> used{entry.layout};
        for (const ExpertPlace& place : entry.places) {
            const auto known = std::find(used.begin(), used.end(), place.layout);
            layer->places.push_back({place.offset, static_cast<uint32_t>(known - used.begin())});
            if (known == used.end()) used.push_back(place.layout);
        }
        for (const uint32_t index : used) {
            const ExpertLayout& layout = manifest.layouts[index];
            ExpertShape shape = shape_of(layout, caching);
            bind_expert(shape, layout, where, spec.hidden_size, moe->intermediate_size, moe->expert_bias);
            for (const Matrix* matrix : {&shape.gate, &shape.up, &shape.down}) features_ |= features_of(*matrix);
            layer->shapes.push_back(shape);
        }
        layers_[entry.layer] = std::move(layer);
    }
    for (size_t i = 0; i < spec.layers.size(); ++i) {
        if (std::holds_alternative<MoeSpec>(spec.layers[i].mlp) && layers_[i] == nullptr) {
            fail(FM_MODEL_DAMAGED, manifest_path, ": layer ", i, " has experts, but no file is listed for it");
        }
    }
    open_tables(manifest, spec, experts_dir);
    measure();
}

void ExpertFiles::open_tables(const ExpertsManifest& manifest, const ModelSpec& spec, const std::string& experts_dir) {
    tables_.resize(spec.layers.size());
    for (const RowTableFile& entry : manifest.tables) {
        const std::string where = experts_dir + "/layout.json: table of layer " + std::to_string(entry.layer);
        if (entry.layer >= spec.layers.size() || !spec.layers[entry.layer].ngram) {
            fail(FM_MODEL_DAMAGED, where, ": the model has no n-gram rows there");
        }
        if (tables_[entry.layer] != nullptr) fail(FM_MODEL_DAMAGED, where, ": stands twice");
        tables_[entry.layer] = std::make_unique<RowTable>(experts_dir + "/" + entry.file, entry);
    }
    for (size_t i = 0; i < spec.layers.size(); ++i) {
        if (spec.layers[i].ngram && tables_[i] == nullptr) {
            fail(FM_MODEL_DAMAGED, experts_dir, "/layout.json: layer ", i, " has n-gram rows, but no table is listed for it");
        }
    }
}

ExpertFiles::ExpertFiles(std::vector<std::unique_ptr<ExpertLayer>> layers, uint32_t experts)
    : layers_(std::move(layers)), experts_(experts) {
    measure();
}

void ExpertFiles::measure() {
    for (const auto& layer : layers_) {
        if (layer == nullptr) continue;
        largest_stride_ = std::max(largest_stride_, layer->largest_stride());
        total_bytes_ += layer->file.size();
        ++expert_layers_;
    }
}

void ExpertFiles::map(Backend& backend) {
    for (const auto& layer : layers_) {
        if (layer != nullptr) layer->mapping = std::make_unique<MappedLayer>(backend, layer->file);
    }
    is_mapped_ = largest_stride_ != 0;
}

void ExpertFiles::require_intact() const {
    for (const auto& table : tables_) {
        if (table != nullptr && !table->file.is_unchanged()) {
            fail(FM_IO, table->file.path(), ": was changed while in use; what was computed is dropped, the model must be loaded anew");
        }
    }
    if (!is_mapped_) return;
    for (const auto& layer : layers_) {
        if (layer == nullptr || (layer->file.is_unchanged() && !layer->mapping->damaged())) continue;
        fail(FM_IO, layer->file.path(), layer->mapping->damaged() ? ": can't be read any more" : ": was changed while in use",
             "; what was computed is dropped, the model must be loaded anew");
    }
}

} // namespace flashmoe
