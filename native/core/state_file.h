// A part of a conversation's state in a file: what a range of its tokens left in the planes, or the state of fixed
// size behind a number of tokens. Header, the range's tokens, then the bytes. The checksum is against accidents: a
// torn write, a damaged disk, a file of another model; the folder's permissions are against people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace flashmoe {

/// Asked with bytes done of all; false = stop.
using StateProgress = std::function<bool(uint64_t done, uint64_t total)>;

struct StateIdentity {
    /// Of weights, experts, top-k, and of the program that computed the state.
    uint64_t key;
    /// From the conversation's first on: all that the state depends on.
    const int32_t* tokens;
    /// Of the planes' rows; equal: the state of fixed size behind so many tokens.
    uint32_t from, to;
};

struct StatePart {
    std::byte* data;
    size_t bytes;
};

/// Creates `path`, which must not exist, readable by its owner alone; takes it away again when it throws FM_IO or
/// FM_INTERRUPTED. Not flushed to the disk: what a power cut tears is found out by the checksum. Returns its size.
uint64_t write_state_file(const std::string& path, const StateIdentity& identity, const std::vector<StatePart>& parts,
                          const StateProgress& progress);

/// A file of planes may go on behind the `known` tokens of `identity`, as long as those agree: the
/// rows beyond are left out. Throws FM_ENGINE for a file that isn't whole, or is of other tokens, of another model or
/// another version, FM_IO when it can't be read. `begins` is called when all but the parts' bytes is known to be right;
/// they are written from then on. `parts` have the bytes of rows [from, min(to, known)).
void read_state_file(const std::string& path, const StateIdentity& identity, uint32_t known,
                     const std::vector<StatePart>& parts, const std::function<void()>& begins,
                     const StateProgress& progress);

} // namespace flashmoe
