#include "pack/placer.h"

#include "core/error.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace flashmoe::pack {

namespace {

/// Slices no further apart than that are not written one by one: a table of n-gram rows has hundreds of millions.
constexpr std::uint64_t kClose = 4096;
/// Bytes of a file that are woven at once.
constexpr std::uint64_t kWoven = std::uint64_t{1} << 20;

std::string folder_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

} // namespace

TapeFiles::TapeFiles(const std::vector<TapeFile>& files) {
    for (const auto& file : files) entries_.push_back({file, nullptr});
}

std::shared_ptr<File> TapeFiles::opened(std::size_t file) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_.at(file);
    if (!entry.open) {
        auto target = std::make_shared<File>(File::open_target(entry.file.path, false));
        if (target->size() < entry.file.size) target->grow(entry.file.size);
        entry.open = std::move(target);
    }
    return entry.open;
}

void TapeFiles::write(std::size_t file, const void* from, std::size_t size, std::uint64_t offset) {
    opened(file)->write_at(from, size, offset);
    // After the write: a sync in the middle of it may have missed it, and the next must not pass it by.
    const std::lock_guard lock(mutex_);
    entries_.at(file).dirty = true;
}

void TapeFiles::read(std::size_t file, void* to, std::size_t size, std::uint64_t offset) {
    opened(file)->read_at(to, size, offset);
}

void TapeFiles::sync() {
    std::vector<std::shared_ptr<File>> files;
    std::set<std::string> folders;
    {
        const std::lock_guard lock(mutex_);
        for (auto& entry : entries_) {
            if (!entry.dirty || !entry.open) continue;
            entry.dirty = false;
            files.push_back(entry.open);
            if (entry.is_new) folders.insert(folder_of(entry.file.path));
            entry.is_new = false;
        }
    }
    for (const auto& file : files) file->sync();
    for (const auto& folder : folders) sync_folder(folder);
}

void TapeFiles::release(std::size_t file) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_.at(file);
    entry.open.reset();
    entry.dirty = false;
}

Placer::Placer(TapeFiles& files, bool search, const std::string& importance) : files_(files), search_(search) {
    if (!importance.empty()) importance_ = File::open_source(importance);
}

quant::ErrorSums Placer::place(const Place& place, const Piece& piece) {
    quant::ErrorSums sums;
    const std::uint8_t* bytes = piece.bytes.data();
    std::uint64_t size = piece.bytes.size();
    if (place.kind == Place::Kind::drop) return sums;
    if (place.kind == Place::Kind::copy) {
        files_.write(place.file, bytes, size, place.offset + piece.from);
        return sums;
    }
    if (place.kind == Place::Kind::spread && place.unit == 0 && place.stride <= kClose && size > place.slice) {
        weave(place, bytes, size, place.from + piece.from);
        return sums;
    }
    for (std::uint64_t at = place.from + piece.from; size > 0;) {
        const std::uint64_t within = at % place.slice;
        const std::uint64_t part = std::min(size, place.slice - within);
        if (place.kind == Place::Kind::convert) {
            for (const Run& run : runs_of(place, bytes, part, at)) sums.add(convert(place, run));
        } else if (place.unit != 0) {
            for (const Run& run : runs_of(place, bytes, part, at)) {
                const std::uint64_t to = run.way == 0 ? place.offset : place.second;
                files_.write(place.file, run.bytes.data(), run.bytes.size(), to + run.expert * place.stride + run.at);
            }
        } else if (place.kind == Place::Kind::spread) {
            files_.write(place.file, bytes, part, place.offset + at / place.slice * place.stride + within);
        } else {
            sums.add(requantise(place, bytes, part, at));
        }
        bytes += part;
        at += part;
        size -= part;
    }
    return sums;
}

void Placer::weave(const Place& place, const std::uint8_t* bytes, std::uint64_t size, std::uint64_t at) {
    const auto target = [&](std::uint64_t byte) { return place.offset + byte / place.slice * place.stride + byte % place.slice; };
    std::vector<std::uint8_t> region;
    while (size > 0) {
        const std::uint64_t slices = std::max<std::uint64_t>(kWoven / place.stride, 1);
        const std::uint64_t count = std::min(size, slices * place.slice);
        const std::uint64_t begin = target(at);
        region.resize(target(at + count - 1) + 1 - begin);
        // Two parts of the same rows come from two tensors, and with them from two threads.
        const std::lock_guard lock(weaving_);
        files_.read(place.file, region.data(), region.size(), begin);
        for (std::uint64_t done = 0; done < count;) {
            const std::uint64_t part = std::min(count - done, place.slice - (at + done) % place.slice);
            std::memcpy(region.data() + target(at + done) - begin, bytes + done, part);
            done += part;
        }
        files_.write(place.file, region.data(), region.size(), begin);
        bytes += count;
        at += count;
        size -= count;
    }
}

quant::ErrorSums Placer::requantise(const Place& place, const std::uint8_t* codes, std::uint64_t size,
                                    std::uint64_t at) {
    const std::uint64_t group = group_bytes(place);
    const std::uint64_t groups = size / group;
    const std::uint64_t width = parameter_bytes(place);
    std::vector<std::uint8_t> scales(groups * width);
    std::vector<std::uint8_t> biases(groups * width);
    files_.read(place.scales, scales.data(), scales.size(), at / group * width);
    files_.read(place.biases, biases.data(), biases.size(), at / group * width);
    std::vector<std::uint8_t> narrow(groups * target_group_bytes(place));
    std::vector<std::uint8_t> new_scales(groups * 2);
    std::vector<std::uint8_t> new_biases(groups * 2);
    const auto method = search_ ? quant::Method::search : quant::Method::minmax;
    std::vector<std::uint8_t> weights;
    quant::Importance importance{};
    if (place.importance.columns > 0) {
        weights = column_weights(importance_, place.importance, at / place.slice, place.group_size);
        const std::uint64_t row_groups = place.importance.columns / place.group_size;
        importance = {weights.data(), row_groups, at % place.slice / group % row_groups};
    }
    const auto sums = quant::requantise(
        {codes, scales.data(), biases.data(), place.dtype, place.bits, place.group_size, groups},
        {narrow.data(), new_scales.data(), new_biases.data(), place.target_bits}, method, quant::best_isa(),
        weights.empty() ? nullptr : &importance);
    if (sums.broken_groups > 0) {
        throw Error("ERR_SAFETENSORS", "expert " + std::to_string(at / place.slice) + " of a projection has " +
                                             std::to_string(sums.broken_groups) +
                                             " scales or biases that are no usable numbers");
    }
    const std::uint64_t expert = place.base + at / place.slice * place.stride;
    const std::uint64_t within = at % place.slice;
    files_.write(place.file, narrow.data(), narrow.size(), expert + place.offsets[0] + within / group * target_group_bytes(place));
    files_.write(place.file, new_scales.data(), new_scales.size(), expert + place.offsets[1] + within / group * 2);
    files_.write(place.file, new_biases.data(), new_biases.size(), expert + place.offsets[2] + within / group * 2);
    return sums;
}

} // namespace flashmoe::pack
