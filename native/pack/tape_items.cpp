// Believes no field of a job: a wrong number here would put bytes where others belong.
#include "pack/tape_items.h"

#include "core/error.h"

#include <algorithm>

namespace flashmoe::pack {

namespace {

constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 52;
constexpr std::uint64_t kMinWindow = std::uint64_t{64} << 10;
constexpr std::uint64_t kMaxWindow = std::uint64_t{1} << 30;
constexpr std::size_t kDigestDigits = 64;

class Check {
  public:
    Check(const TapeJob& job, std::size_t index) : job_(job), index_(index) {}

    void item(const TapeItem& item) const {
        if (item.size > kMaxOffset) fail("size out of range");
        switch (item.type) {
        case TapeItem::Type::bytes: return place(item.place, item.size);
        case TapeItem::Type::recall: return inside(item.file, item.offset, item.size);
        case TapeItem::Type::seal:
            if (item.sha256.size() != kDigestDigits) fail("no sha256");
        }
    }

  private:
    [[noreturn]] void fail(const char* why) const {
        fail_plan("openTape: item " + std::to_string(index_) + ": " + why);
    }

    void inside(std::size_t file, std::uint64_t offset, std::uint64_t size) const {
        if (file >= job_.files.size()) fail("no such file");
        if (offset > job_.files[file].size || size > job_.files[file].size - offset) fail("reaches out of its file");
    }

    void place(const Place& p, std::uint64_t size) const {
        if (p.kind == Place::Kind::drop) return;
        if (p.kind == Place::Kind::copy) return inside(p.file, p.offset, size);
        if (p.slice == 0 || p.stride == 0 || p.from > kMaxOffset || size == 0) fail("an empty slice");
        const std::uint64_t last = (p.from + size - 1) / p.slice;
        if (p.stride > kMaxOffset / (last + 1)) fail("stride out of range");
        if (p.unit != 0 && p.slice % (2 * p.unit) != 0) fail("units are cut");
        if (p.kind == Place::Kind::spread) {
            const std::uint64_t part = p.unit == 0 ? p.slice : p.slice / 2;
            if (part > p.stride) fail("slices overlap");
            if (p.unit != 0) inside(p.file, p.second, last * p.stride + part);
            return inside(p.file, p.offset, last * p.stride + part);
        }
        if (p.kind == Place::Kind::convert) return conversion(p, size, last);
        widths(p);
        const std::uint64_t group = group_bytes(p);
        if (p.slice % group != 0 || p.from % group != 0 || size % group != 0) fail("groups are cut");
        const std::uint64_t groups = p.slice / group;
        const std::uint64_t results[] = {groups * target_group_bytes(p), groups * 2, groups * 2};
        for (std::size_t i = 0; i < 3; ++i) {
            if (p.offsets[i] > p.stride || results[i] > p.stride - p.offsets[i]) fail("reaches out of its expert");
            if (p.base > kMaxOffset) fail("base out of range");
            inside(p.file, p.base + last * p.stride + p.offsets[i], results[i]);
        }
        for (const auto file : {p.scales, p.biases}) {
            inside(file, p.from / group * parameter_bytes(p), size / group * parameter_bytes(p));
        }
    }

    void conversion(const Place& p, std::uint64_t size, std::uint64_t last) const {
        const Conversion& c = p.conversion;
        const unsigned bits = quant::bits_of(c.encoding);
        const std::size_t ways = p.unit == 0 ? 1 : 2;
        if (c.ways.size() != ways || c.columns == 0 || c.columns > kMaxOffset) fail("no such conversion");
        const std::uint64_t slice = p.slice / ways;
        if (slice * 8 % (c.columns * bits) != 0) fail("rows are cut");
        const std::uint64_t values = slice * 8 / bits;
        if (c.encoding == quant::Encoding::int4) {
            if (c.group_size < 16 || c.group_size > 128 || (c.group_size & (c.group_size - 1)) != 0) fail("no supported group");
        }
        const std::uint64_t grain = grain_of(p);
        const std::uint64_t cut = grain * bits / 8;
        if (grain * bits % 8 != 0 || slice % cut != 0 || p.from % cut != 0 || size % cut != 0) fail("groups are cut");
        if (p.unit % cut != 0 || (grain > 1 && c.columns % grain != 0)) fail("groups are cut");
        for (const Way& way : c.ways) {
            const std::uint64_t at = last * p.stride;
            if (way.bits == 0) {
                const std::uint64_t bytes = values * (c.plain == quant::ParamType::f32 ? 4 : 2);
                if (way.weight > p.stride || bytes > p.stride - way.weight) fail("reaches out of its expert");
                inside(p.file, at + way.weight, bytes);
                continue;
            }
            const bool is_width = way.bits >= 2 && way.bits <= 8 && way.bits != 7;
            const bool is_group = way.group_size == 16 || way.group_size == 32 || way.group_size == 64 || way.group_size == 128;
            if (!is_width || !is_group) fail("no supported width");
            const bool is_kept = c.encoding == quant::Encoding::int4 && way.bits == 4 && way.group_size == c.group_size;
            if (c.exact && !is_kept) fail("no exact conversion");
            const std::uint64_t groups = values / way.group_size;
            const std::uint64_t param = c.exact && c.scale_type == quant::ParamType::f32 ? 4 : 2;
            const std::uint64_t results[][2] = {
                {way.weight, values * way.bits / 8}, {way.scales, groups * param}, {way.biases, groups * param}};
            for (const auto& [offset, bytes] : results) {
                if (offset > p.stride || bytes > p.stride - offset) fail("reaches out of its expert");
                inside(p.file, at + offset, bytes);
            }
        }
        const std::uint64_t scales = scale_bytes(p, values);
        if (scales == 0) return;
        if (c.scales_stride != ways * scales || c.scales_stride > kMaxOffset / (last + 1)) fail("scales are cut");
        // Blocks of rows and units would cut each other.
        if (p.unit != 0 && (c.encoding == quant::Encoding::e4m3 || p.unit * c.scales_stride % p.slice != 0)) {
            fail("scales are cut");
        }
        inside(p.scales, last * c.scales_stride, c.scales_stride);
    }

    void widths(const Place& p) const {
        const bool is_width = quant::is_narrowing(p.bits, p.target_bits);
        const bool is_group = p.group_size == 32 || p.group_size == 64 || p.group_size == 128;
        if (!is_width || !is_group) fail("no supported width");
        if (p.importance.columns == 0) return;
        check_importance(p.importance, p.group_size, "openTape");
        if (job_.importance.empty()) fail("importance without its file");
        if (p.slice % (p.importance.columns * p.bits / 8) != 0) fail("rows are cut");
    }

    const TapeJob& job_;
    std::size_t index_;
};

} // namespace

std::uint64_t grain_of(const Place& place) {
    const Conversion& c = place.conversion;
    std::uint64_t grain = c.encoding == quant::Encoding::int4 ? c.group_size : c.encoding == quant::Encoding::e2m1 ? 32 : 1;
    for (const Way& way : c.ways) grain = std::max<std::uint64_t>(grain, way.bits == 0 ? 1 : way.group_size);
    return grain;
}

std::uint64_t scale_bytes(const Place& place, std::uint64_t values) {
    const Conversion& c = place.conversion;
    const auto blocks = [](std::uint64_t count) { return (count + quant::kBlock - 1) / quant::kBlock; };
    switch (c.encoding) {
    case quant::Encoding::e4m3: return blocks(values / c.columns) * blocks(c.columns) * 4;
    case quant::Encoding::int4: return values / c.group_size * (c.scale_type == quant::ParamType::f32 ? 4 : 2);
    case quant::Encoding::e2m1: return values / 32;
    default: return 0;
    }
}

std::vector<std::uint64_t> checked_starts(const TapeJob& job) {
    if (job.window < kMinWindow || job.window > kMaxWindow) fail_plan("openTape: window out of range");
    if (job.threads == 0 || job.threads > 1024) fail_plan("openTape: threads out of range");
    for (const auto& file : job.files) {
        if (file.size > kMaxOffset) fail_plan("openTape: " + file.path + ": size out of range");
    }
    std::vector<std::uint64_t> starts{0};
    starts.reserve(job.items.size() + 1);
    for (std::size_t i = 0; i < job.items.size(); ++i) {
        const auto& item = job.items[i];
        Check(job, i).item(item);
        const std::uint64_t size = item.type == TapeItem::Type::bytes ? item.size : 0;
        if (starts.back() + size > kMaxOffset) fail_plan("openTape: longer than any tape");
        starts.push_back(starts.back() + size);
    }
    if (job.from) {
        const auto [at, item, hash] = *job.from;
        if (item > job.items.size() || at < starts[item] ||
            at > starts[std::min<std::uint64_t>(item + 1, job.items.size())]) {
            fail_plan("openTape: no such point on this tape");
        }
    }
    return starts;
}

} // namespace flashmoe::pack
