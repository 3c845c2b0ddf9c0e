// What a tape consists of. All numbers are bytes unless said otherwise.
#pragma once

#include "pack/importance.h"
#include "pack/sha256.h"
#include "quant/encoded.h"
#include "quant/quantise.h"
#include "quant/requantise.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace flashmoe::pack {

struct TapeFile {
    std::string path;
    /// Made this long at once, with holes.
    std::uint64_t size = 0;
};

/// Where a converted tensor's values go in an expert: affine codes, or plain values at `weight` where `bits` is 0.
struct Way {
    unsigned bits = 0;
    unsigned group_size = 0;
    std::uint64_t weight = 0;
    std::uint64_t scales = 0;
    std::uint64_t biases = 0;
};

/// Values that are stored in another form than they come in.
struct Conversion {
    quant::Encoding encoding = quant::Encoding::bf16;
    std::uint64_t columns = 0;
    /// Of the source's own scales: how many values share one (int4), their type, and their bytes for one expert.
    unsigned group_size = 0;
    quant::ParamType scale_type = quant::ParamType::bf16;
    std::uint64_t scales_stride = 0;
    quant::Rule rule = quant::Rule::fit;
    /// Rounded to BF16 before anything else is done.
    bool via_bf16 = false;
    /// Codes and scales stay as they are; only biases are made. int4.
    bool exact = false;
    /// Added to plain values, which are stored in this type; or ln(-value) is.
    float addend = 0;
    bool log_of_negative = false;
    quant::ParamType plain = quant::ParamType::f32;
    std::vector<Way> ways;
};

struct Place {
    enum class Kind { drop, copy, spread, requantise, convert };
    Kind kind = Kind::drop;
    std::size_t file = 0;
    /// copy, spread: of the item's (the tensor's) first byte in the file.
    std::uint64_t offset = 0;
    /// Byte of the tensor at which the item begins.
    std::uint64_t from = 0;
    /// Bytes of the tensor that belong to one expert, and from one expert to the next in the file.
    std::uint64_t slice = 0;
    std::uint64_t stride = 0;
    /// spread, convert: where it is not 0, runs of so many bytes go to the one and the other way in turn: rows of two
    /// matrices that are stored row by row, or the two halves of a slice.
    std::uint64_t unit = 0;
    /// spread with a unit: where the second way begins in an expert; `offset` is the first's.
    std::uint64_t second = 0;
    /// requantise: width and group of the codes, the width that they get, where the parameters are, where the three results go
    /// in an expert.
    unsigned bits = 0;
    unsigned target_bits = 2;
    unsigned group_size = 0;
    quant::ParamType dtype = quant::ParamType::bf16;
    std::size_t scales = 0;
    std::size_t biases = 0;
    std::array<std::uint64_t, 3> offsets{};
    /// requantise: where expert 0 would begin, if all before these were as long as they are.
    std::uint64_t base = 0;
    /// Of the job's file of mean squares.
    ImportancePlace importance{};
    /// convert; the source's scales lie in `scales`.
    Conversion conversion{};
};

struct TapeItem {
    enum class Type { bytes, recall, seal };
    Type type = Type::bytes;
    std::uint64_t size = 0;
    /// The bytes are the next ones of the shard in file order.
    bool hashed = true;
    Place place;
    /// recall: where the next bytes of the shard lie.
    std::size_t file = 0;
    std::uint64_t offset = 0;
    /// seal: hex.
    std::string sha256;
};

/// A point before which everything is in its file: the first item not done, and the shard's hash so far.
struct TapeState {
    std::uint64_t at = 0;
    std::uint64_t item = 0;
    Sha256::State hash = Sha256().save();
};

/// What requantising left, by item.
using ItemErrors = std::map<std::uint64_t, quant::ErrorSums>;

struct TapeJob {
    std::vector<TapeFile> files;
    std::vector<TapeItem> items;
    std::string spool;
    std::string mark;
    /// File that the places' importance is read from; empty where none has any.
    std::string importance;
    std::uint64_t window = 0;
    std::string binding;
    std::optional<TapeState> from;
    /// Of the item that `from` lies in, up to there.
    quant::ErrorSums sums;
    unsigned threads = 1;
    bool search = true;
};

struct Interval {
    std::uint64_t start;
    std::uint64_t end;
};

/// Position at which each item begins, and behind them the length of the tape. Throws ERR_PLAN for any field that can't
/// be right: an index, a width, a place out of its file.
std::vector<std::uint64_t> checked_starts(const TapeJob& job);

/// Values that a conversion takes together at least: pieces, slices and units hold whole ones.
std::uint64_t grain_of(const Place& place);
/// Bytes of the source's own scales for so many values of one way of an expert; 0 where it has none.
std::uint64_t scale_bytes(const Place& place, std::uint64_t values);

/// Bytes of codes of one group, as they come and as they are stored.
inline std::uint64_t group_bytes(const Place& place) { return std::uint64_t{place.group_size} * place.bits / 8; }
inline std::uint64_t target_group_bytes(const Place& place) { return std::uint64_t{place.group_size} * place.target_bits / 8; }
/// Bytes of one stored parameter.
inline std::uint64_t parameter_bytes(const Place& place) {
    return place.dtype == quant::ParamType::f32 ? 4 : 2;
}

} // namespace flashmoe::pack
