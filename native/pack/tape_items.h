// What a tape consists of. All numbers are bytes unless said otherwise.
#pragma once

#include "pack/importance.h"
#include "pack/sha256.h"
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

struct Place {
    enum class Kind { drop, copy, spread, requantise };
    Kind kind = Kind::drop;
    std::size_t file = 0;
    /// copy, spread: of the item's (the tensor's) first byte in the file.
    std::uint64_t offset = 0;
    /// Byte of the tensor at which the item begins.
    std::uint64_t from = 0;
    /// Bytes of the tensor that belong to one expert, and from one expert to the next in the file.
    std::uint64_t slice = 0;
    std::uint64_t stride = 0;
    /// requantise: width and group of the codes, where the parameters are, where the three results go in an expert.
    unsigned bits = 0;
    unsigned group_size = 0;
    quant::ParamType dtype = quant::ParamType::bf16;
    std::size_t scales = 0;
    std::size_t biases = 0;
    std::array<std::uint64_t, 3> offsets{};
    /// Of the job's file of mean squares.
    ImportancePlace importance{};
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

/// Bytes of codes of one group.
inline std::uint64_t group_bytes(const Place& place) { return std::uint64_t{place.group_size} * place.bits / 8; }
/// Bytes of one stored parameter.
inline std::uint64_t parameter_bytes(const Place& place) {
    return place.dtype == quant::ParamType::f32 ? 4 : 2;
}

} // namespace flashmoe::pack
