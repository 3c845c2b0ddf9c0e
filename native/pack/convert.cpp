// What becomes of values that are stored in another form than they come in.
#include "core/half.h"
#include "core/error.h"
#include "pack/placer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace flashmoe::pack {

namespace {

std::uint64_t type_bytes(quant::ParamType type) { return type == quant::ParamType::f32 ? 4 : 2; }

quant::Encoding encoding_of(quant::ParamType type) {
    if (type == quant::ParamType::f32) return quant::Encoding::f32;
    return type == quant::ParamType::bf16 ? quant::Encoding::bf16 : quant::Encoding::f16;
}

void store(quant::ParamType type, const float* values, std::size_t count, std::uint8_t* to) {
    if (type == quant::ParamType::f32) {
        std::memcpy(to, values, 4 * count);
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint16_t half = type == quant::ParamType::bf16 ? float_to_bf16(values[i]) : float_to_f16(values[i]);
        std::memcpy(to + 2 * i, &half, 2);
    }
}

[[noreturn]] void broken(std::uint64_t expert, const std::string& what) {
    throw Error("ERR_SAFETENSORS", "matrix " + std::to_string(expert) + " of a tensor has " + what);
}

} // namespace

/// The bytes of one slice by ways. Units of one way follow each other in its matrix, whatever lies between them here.
std::vector<Placer::Run> Placer::runs_of(const Place& place, const std::uint8_t* bytes, std::uint64_t size,
                                         std::uint64_t at) {
    const std::uint64_t expert = at / place.slice;
    std::uint64_t within = at % place.slice;
    if (place.unit == 0) return {{expert, 0, within, {bytes, bytes + size}}};
    std::vector<Run> runs(2);
    while (size > 0) {
        const std::uint64_t index = within / place.unit;
        const std::uint64_t into = within % place.unit;
        const std::uint64_t part = std::min(size, place.unit - into);
        Run& run = runs[index % 2];
        if (run.bytes.empty()) {
            run.expert = expert;
            run.way = index % 2;
            run.at = index / 2 * place.unit + into;
        }
        run.bytes.insert(run.bytes.end(), bytes, bytes + part);
        bytes += part;
        within += part;
        size -= part;
    }
    std::erase_if(runs, [](const Run& run) { return run.bytes.empty(); });
    return runs;
}

void Placer::decode(const Place& place, const Run& run, std::vector<float>& values) {
    const Conversion& c = place.conversion;
    const unsigned bits = quant::bits_of(c.encoding);
    const std::uint64_t first = run.at * 8 / bits;
    const std::uint64_t ways = c.ways.size();
    std::vector<std::uint8_t> scales;
    const auto read = [&](std::uint64_t from, std::uint64_t size) {
        scales.resize(size);
        read_scales(place, run, from, scales);
    };
    switch (c.encoding) {
    case quant::Encoding::bf16:
    case quant::Encoding::f16:
    case quant::Encoding::f32: quant::decode_plain(c.encoding, run.bytes.data(), values.size(), values.data()); break;
    case quant::Encoding::e4m3:
        quant::decode_plain(c.encoding, run.bytes.data(), values.size(), values.data());
        read(0, scale_bytes(place, place.slice / ways * 8 / bits));
        quant::scale_blocks(values.data(), first, values.size(), c.columns, scales.data());
        break;
    case quant::Encoding::e2m1:
        read(first / 32, values.size() / 32);
        quant::decode_e2m1(run.bytes.data(), scales.data(), scales.size(), values.data());
        break;
    case quant::Encoding::int4: {
        const std::uint64_t width = type_bytes(c.scale_type);
        const std::size_t groups = values.size() / c.group_size;
        read(first / c.group_size * width, groups * width);
        std::vector<float> parameters(groups);
        quant::decode_plain(encoding_of(c.scale_type), scales.data(), groups, parameters.data());
        quant::decode_int4(run.bytes.data(), parameters.data(), groups, c.group_size, values.data());
        break;
    }
    }
    if (c.via_bf16) {
        for (float& value : values) value = bf16_to_float(float_to_bf16(value));
    }
}

/// A way's scales from its byte `from` on. They lie as the source has them: where units take turns, theirs do.
void Placer::read_scales(const Place& place, const Run& run, std::uint64_t from, std::vector<std::uint8_t>& to) {
    const Conversion& c = place.conversion;
    const std::uint64_t expert = run.expert * c.scales_stride;
    if (place.unit == 0) return files_.read(place.scales, to.data(), to.size(), expert + from);
    const std::uint64_t unit = place.unit * c.scales_stride / place.slice;
    for (std::uint64_t done = 0; done < to.size();) {
        const std::uint64_t at = from + done;
        const std::uint64_t part = std::min(unit - at % unit, to.size() - done);
        files_.read(place.scales, to.data() + done, part, expert + (at / unit * 2 + run.way) * unit + at % unit);
        done += part;
    }
}

quant::ErrorSums Placer::convert(const Place& place, const Run& run) {
    const Conversion& c = place.conversion;
    if (c.exact) {
        keep(place, run);
        return {};
    }
    const Way& way = c.ways[run.way];
    const unsigned bits = quant::bits_of(c.encoding);
    const std::uint64_t first = run.at * 8 / bits;
    const std::uint64_t expert = run.expert * place.stride;
    std::vector<float> values(run.bytes.size() * 8 / bits);
    decode(place, run, values);
    if (way.bits == 0) {
        for (float& value : values) {
            // In double precision, which rounds to the same float wherever it is computed.
            value = c.log_of_negative ? static_cast<float>(std::log(-static_cast<double>(value))) : value + c.addend;
            if (!std::isfinite(value)) broken(run.expert, "values that are no usable numbers");
        }
        const std::uint64_t width = type_bytes(c.plain);
        std::vector<std::uint8_t> stored(values.size() * width);
        store(c.plain, values.data(), values.size(), stored.data());
        files_.write(place.file, stored.data(), stored.size(), expert + way.weight + first * width);
        return {};
    }
    const std::size_t groups = values.size() / way.group_size;
    std::vector<std::uint8_t> codes(values.size() * way.bits / 8), scales(groups * 2), biases(groups * 2);
    const auto sums = quant::quantise({values.data(), way.group_size, groups},
                                      {codes.data(), scales.data(), biases.data(), way.bits}, c.rule);
    if (sums.broken_groups > 0) {
        broken(run.expert, std::to_string(sums.broken_groups) + " groups of values that are no usable numbers");
    }
    const std::uint64_t group = first / way.group_size;
    files_.write(place.file, codes.data(), codes.size(), expert + way.weight + first * way.bits / 8);
    files_.write(place.file, scales.data(), scales.size(), expert + way.scales + group * 2);
    files_.write(place.file, biases.data(), biases.size(), expert + way.biases + group * 2);
    return sums;
}

/// (code - 8) * scale is scale * code - 8 * scale, and eight times a BF16 or F32 scale is exact.
void Placer::keep(const Place& place, const Run& run) {
    const Conversion& c = place.conversion;
    const Way& way = c.ways[run.way];
    const std::uint64_t expert = run.expert * place.stride;
    const std::uint64_t group = run.at * 2 / c.group_size;
    const std::size_t groups = run.bytes.size() * 2 / c.group_size;
    const std::uint64_t width = type_bytes(c.scale_type);
    std::vector<std::uint8_t> scales(groups * width), biases(groups * width);
    read_scales(place, run, group * width, scales);
    std::vector<float> values(groups);
    quant::decode_plain(encoding_of(c.scale_type), scales.data(), groups, values.data());
    for (float& value : values) {
        value *= -8;
        if (!std::isfinite(value)) broken(run.expert, "a scale that is no usable number");
    }
    store(c.scale_type, values.data(), groups, biases.data());
    files_.write(place.file, run.bytes.data(), run.bytes.size(), expert + way.weight + run.at);
    files_.write(place.file, scales.data(), scales.size(), expert + way.scales + group * width);
    files_.write(place.file, biases.data(), biases.size(), expert + way.biases + group * width);
}

} // namespace flashmoe::pack
