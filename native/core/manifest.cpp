#include "core/manifest.h"

#include <algorithm>

#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"

namespace flashmoe {
namespace {

// The largest known model's manifest is under 1 MB.
constexpr uint64_t kMaxManifestBytes = 64u << 20;
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 46;
constexpr size_t kMaxTensors = 1'000'000;
constexpr uint64_t kDenseAlignment = 64;

ElementType parse_type(const Field& field) {
    const std::string& name = field.string();
    if (name == "U32") return ElementType::u32;
    if (name == "BF16") return ElementType::bf16;
    if (name == "F16") return ElementType::f16;
    if (name == "F32") return ElementType::f32;
    if (name == "U8") return ElementType::u8;
    if (name == "I64") return ElementType::i64;
    field.damaged("\"" + name + "\" is not one of U32, BF16, F16, F32, U8, I64");
}

/// Of codes with scales beside them.
Codes parse_mode(const Field& field) {
    const std::string& name = field.string();
    if (name == "mxfp4") return Codes::mxfp4;
    if (name == "nvfp4") return Codes::nvfp4;
    if (name == "mxfp8") return Codes::mxfp8;
    fail(FM_UNSUPPORTED_MODEL, field.path(), ": \"", name, "\" is not one of mxfp4, nvfp4, mxfp8");
}

/// Affine codes come in many widths, each floating point mode in one.
void check_width(const Field& field, const TensorInfo& tensor) {
    const uint32_t bits = tensor.bits, group = tensor.group;
    bool known = false;
    switch (tensor.codes) {
    case Codes::affine:
        known = (bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8) &&
                (group == 16 || group == 32 || group == 64 || group == 128);
        break;
    case Codes::mxfp4: known = bits == 4 && group == 32; break;
    case Codes::nvfp4: known = bits == 4 && group == 16; break;
    case Codes::mxfp8: known = bits == 8 && group == 32; break;
    case Codes::blocks: known = true; break; // their name has told both
    }
    if (known) return;
    fail(FM_UNSUPPORTED_MODEL, field.path(), ": ", bits, " bits in groups of ", group,
         "; supported are 2, 3, 4, 5, 6 or 8 bits in groups of 16, 32, 64 or 128, and of the floating point modes mxfp4 "
         "in groups of 32, nvfp4 of 16 and mxfp8 of 32");
}

/// Rows of bytes, whose `mode` says all about them.
void parse_block(const Field& field, TensorInfo& tensor) {
    const Field mode = field.at("mode");
    const auto block = quant::block_named(mode.string());
    if (!block) {
        std::string names;
        for (const quant::BlockKind& kind : quant::kBlockKinds) names += (names.empty() ? "" : ", ") + std::string(kind.name);
        fail(FM_UNSUPPORTED_MODEL, mode.path(), ": \"", mode.string(), "\" is not one of ", names);
    }
    if (tensor.bits != 0) field.damaged("blocks have no bits and group_size");
    if (tensor.offset % 2 != 0) field.damaged("blocks begin at an even offset");
    tensor.codes = Codes::blocks;
    tensor.block = *block;
    tensor.group = quant::block_values(*block);
    tensor.bits = quant::block_bytes(*block) * 8 / tensor.group;
}

TensorInfo parse_tensor(const Field& field, uint64_t file_size, uint64_t alignment) {
    TensorInfo tensor;
    tensor.offset = field.at("offset").integer(0, kMaxFileBytes);
    tensor.size = field.at("size").integer(1, kMaxFileBytes);
    tensor.type = parse_type(field.at("dtype"));
    uint64_t bytes = element_bytes(tensor.type);
    const Field shape = field.at("shape");
    for (const Field& item : shape.items(8)) {
        const uint64_t extent = item.integer(1, uint64_t{1} << 40);
        if (__builtin_mul_overflow(bytes, extent, &bytes)) shape.damaged("too large");
        tensor.shape.push_back(extent);
    }
    if (tensor.shape.empty()) shape.damaged("no dimensions");
    if (bytes != tensor.size) {
        field.damaged("its shape takes " + std::to_string(bytes) + " bytes, its size says " + std::to_string(tensor.size));
    }
    if (tensor.offset % alignment != 0) {
        field.damaged("offset " + std::to_string(tensor.offset) + " is not a multiple of " + std::to_string(alignment));
    }
    if (tensor.offset > file_size || tensor.size > file_size - tensor.offset) {
        field.damaged("ends at byte " + std::to_string(tensor.offset + tensor.size) + " of " + std::to_string(file_size));
    }
    if (field.has("bits")) tensor.bits = static_cast<uint32_t>(field.at("bits").integer(1, 32));
    if (field.has("group_size")) tensor.group = static_cast<uint32_t>(field.at("group_size").integer(1, 1u << 20));
    if ((tensor.bits != 0) != (tensor.group != 0)) field.damaged("bits and group_size belong together");
    if (tensor.type == ElementType::u8 && field.has("mode")) {
        parse_block(field, tensor);
    } else if (tensor.bits != 0) {
        if (tensor.type != ElementType::u32) field.damaged("quantised codes must be U32");
        if (field.has("mode")) tensor.codes = parse_mode(field.at("mode"));
        check_width(field, tensor);
    } else if (tensor.type == ElementType::u32) {
        field.damaged("U32 without bits and group_size");
    }
    return tensor;
}

void check_overlap(const std::map<std::string, TensorInfo>& tensors, const std::string& path) {
    std::vector<const std::pair<const std::string, TensorInfo>*> sorted;
    sorted.reserve(tensors.size());
    for (const auto& entry : tensors) sorted.push_back(&entry);
    std::sort(sorted.begin(), sorted.end(),
              [](const auto* a, const auto* b) { return a->second.offset < b->second.offset; });
    for (size_t i = 1; i < sorted.size(); ++i) {
        const TensorInfo& before = sorted[i - 1]->second;
        if (before.offset + before.size > sorted[i]->second.offset) {
            fail(FM_MODEL_DAMAGED, path, ": ", sorted[i]->first, " overlaps ", sorted[i - 1]->first);
        }
    }
}

void check_format(const Field& root, const char* format, int64_t newest = 1) {
    if (const Field name = root.at("format"); name.string() != format) {
        name.damaged("expected \"" + std::string(format) + "\"");
    }
    const Field version = root.at("version");
    if (const auto number = version.integer(0, 1u << 20); number < 1 || static_cast<int64_t>(number) > newest) {
        fail(FM_UNSUPPORTED_MODEL, version.path(), newest == 1 ? ": only version 1 is known" : ": only versions 1 and 2 are known");
    }
}

ExpertLayout parse_layout(const Field& field) {
    ExpertLayout layout;
    layout.expert_size = field.at("expert_size").integer(1, kMaxFileBytes);
    const Field stride = field.at("expert_stride");
    layout.expert_stride = stride.integer(1, kMaxFileBytes);
    if (layout.expert_stride < layout.expert_size || layout.expert_stride % kPage != 0) {
        stride.damaged("expected a multiple of " + std::to_string(kPage) + " not below expert_size");
    }
    const Field components = field.at("components");
    for (const Field& item : components.items(64)) {
        TensorInfo tensor = parse_tensor(item, layout.expert_size, 1);
        if (tensor.offset % element_bytes(tensor.type) != 0) item.at("offset").damaged("not aligned to its dtype");
        if (!layout.components.emplace(item.at("name").string(), std::move(tensor)).second) {
            item.at("name").damaged("stands twice");
        }
    }
    check_overlap(layout.components, components.path());
    return layout;
}

/// The table of a layer whose experts differ: one behind the other, each in a layout.
std::vector<ExpertPlace> parse_places(const Field& field, const ExpertsManifest& manifest, uint64_t file_size) {
    std::vector<ExpertPlace> places;
    uint64_t end = 0;
    for (const Field& item : field.items(1u << 14)) {
        const ExpertPlace place{.offset = item.at("offset").integer(0, kMaxFileBytes),
                                .layout = static_cast<uint32_t>(item.at("layout").integer(0, 1023))};
        if (place.layout >= manifest.layouts.size()) item.at("layout").damaged("no such layout");
        if (place.offset != end) item.at("offset").damaged("expected " + std::to_string(end));
        end += manifest.layouts[place.layout].expert_stride;
        places.push_back(place);
    }
    if (places.size() != manifest.experts) field.damaged("expected " + std::to_string(manifest.experts) + " experts");
    if (end != file_size) field.damaged("the experts end at " + std::to_string(end));
    return places;
}

bool is_plain_file_name(const std::string& name) {
    return name.find('/') == std::string::npos && name.find('\\') == std::string::npos && name != "." && name != "..";
}

RowTableFile parse_table(const Field& field) {
    RowTableFile table{.layer = static_cast<uint32_t>(field.at("layer").integer(0, 1023)),
                       .file = field.at("file").string(),
                       .size = field.at("size").integer(1, kMaxFileBytes),
                       .rows = field.at("rows").integer(1, uint64_t{1} << 40),
                       .columns = static_cast<uint32_t>(field.at("columns").integer(1, 1u << 20)),
                       .type = parse_type(field.at("dtype"))};
    if (!is_float(table.type)) field.at("dtype").damaged("must be BF16, F16 or F32");
    if (!is_plain_file_name(table.file)) field.at("file").damaged("expected a plain file name");
    if (field.has("bits")) {
        TensorInfo width;
        width.bits = table.bits = static_cast<uint32_t>(field.at("bits").integer(1, 32));
        width.group = table.group = static_cast<uint32_t>(field.at("group_size").integer(1, 1u << 20));
        check_width(field, width);
        if (table.columns % table.group != 0 || table.columns * table.bits % 32 != 0) field.at("columns").damaged("no whole groups");
    }
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(table.rows, table.row_bytes(), &bytes) || bytes != table.size) {
        field.at("size").damaged("expected rows of " + std::to_string(table.row_bytes()) + " bytes");
    }
    return table;
}

} // namespace

DenseManifest read_dense_manifest(const std::string& path) {
    return parse_dense_manifest(read_text(path, kMaxManifestBytes), path);
}

ExpertsManifest read_experts_manifest(const std::string& path) {
    return parse_experts_manifest(read_text(path, kMaxManifestBytes), path);
}

DenseManifest parse_dense_manifest(const std::string& text, const std::string& path) {
    const Json json = parse_json(text, path);
    const Field root(json, path + ":");
    check_format(root, "flashmoe-dense");
    DenseManifest manifest{.spec = parse_model_spec(root.at("config")),
                           .file_size = root.at("file_size").integer(1, kMaxFileBytes),
                           .fingerprint = hash_bytes(text.data(), text.size()),
                           .tensors = {}};
    for (const auto& [name, field] : root.at("tensors").members(kMaxTensors)) {
        if (name.empty() || name.size() > 512) field.damaged("a tensor name has 1 to 512 bytes");
        manifest.tensors.emplace(name, parse_tensor(field, manifest.file_size, kDenseAlignment));
    }
    if (const Field count = root.at("num_tensors"); count.integer(0, kMaxTensors) != manifest.tensors.size()) {
        count.damaged("there are " + std::to_string(manifest.tensors.size()) + " tensors");
    }
    check_overlap(manifest.tensors, path);
    return manifest;
}

ExpertsManifest parse_experts_manifest(const std::string& text, const std::string& path) {
    const Json json = parse_json(text, path);
    const Field root(json, path + ":");
    check_format(root, "flashmoe-experts", 2);
    ExpertsManifest manifest;
    manifest.fingerprint = hash_bytes(text.data(), text.size());
    manifest.experts = static_cast<uint32_t>(root.at("num_experts").integer(1, 1u << 14));
    for (const Field& field : root.at("layouts").items(1024)) manifest.layouts.push_back(parse_layout(field));
    for (const Field& field : root.at("layers").items(1024)) {
        ExpertLayerFile file{.layer = static_cast<uint32_t>(field.at("layer").integer(0, 1023)),
                             .file = field.at("file").string(),
                             .size = field.at("size").integer(1, kMaxFileBytes),
                             .layout = static_cast<uint32_t>(field.at("layout").integer(0, 1023))};
        if (!is_plain_file_name(file.file)) field.at("file").damaged("expected a plain file name");
        if (file.layout >= manifest.layouts.size()) field.at("layout").damaged("no such layout");
        const ExpertLayout& layout = manifest.layouts[file.layout];
        if (field.has("experts")) {
            file.places = parse_places(field.at("experts"), manifest, file.size);
        } else if (file.size != manifest.experts * layout.expert_stride) {
            field.at("size").damaged("expected num_experts * expert_stride = " +
                                     std::to_string(manifest.experts * layout.expert_stride));
        }
        for (const ExpertLayerFile& other : manifest.layers) {
            if (other.layer == file.layer) field.at("layer").damaged("stands twice");
            if (other.file == file.file) field.at("file").damaged("stands twice");
        }
        manifest.layers.push_back(std::move(file));
    }
    if (root.has("tables")) {
        for (const Field& field : root.at("tables").items(1024)) manifest.tables.push_back(parse_table(field));
    }
    return manifest;
}

} // namespace flashmoe
