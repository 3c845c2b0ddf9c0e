// Where a tape stands, written after every piece and never synced: it survives the process, not the machine, and is
// believed only within the boot that wrote it.
#pragma once

#include "core/file.h"
#include "pack/tape_items.h"

#include <optional>
#include <string>
#include <vector>

namespace flashmoe::pack {

struct Mark {
    TapeState state;
    /// What waits in the spool.
    std::vector<Interval> received;
    /// Of items that no journal may know yet.
    ItemErrors errors;
};

class MarkFile {
  public:
    /// `binding` tells tapes apart. Without an identity of the boot nothing is ever believed.
    MarkFile(const std::string& path, const std::string& binding);

    /// The newer of the two records that is whole and of this boot and binding.
    std::optional<Mark> read();
    void write(const Mark& mark);
    /// Nothing in it counts any more; `for_good`: nor does anything written later.
    void forget(bool for_good);

  private:
    File file_;
    std::string identity_;
    std::uint64_t sequence_ = 0;
};

/// Another text after every boot; empty where the system doesn't tell.
std::string boot_identity();

} // namespace flashmoe::pack
