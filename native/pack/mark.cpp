#include "pack/mark.h"

#include "pack/sha256.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

namespace flashmoe::pack {

namespace {

/// Two records take turns, so that one is whole whenever the process ends.
constexpr std::size_t kRecordBytes = 8192;
constexpr std::uint32_t kMagic = 0x6b72616d; // "mark"
constexpr std::size_t kMostIntervals = 200;
constexpr std::size_t kMostErrors = 90;

struct RecordedSums {
    std::uint64_t item;
    double squared_error, range_error, sum, sum_of_squares;
    std::uint64_t values;
};

struct Record {
    std::uint32_t magic;
    std::uint32_t intervals;
    std::uint64_t errors;
    std::uint64_t sequence;
    std::array<std::uint8_t, 32> identity;
    std::uint64_t at;
    std::uint64_t item;
    Sha256::State hash;
    Interval received[kMostIntervals];
    RecordedSums sums[kMostErrors];
    std::array<std::uint8_t, 32> check;
};
static_assert(sizeof(Record) <= kRecordBytes);

std::array<std::uint8_t, 32> check_of(const Record& record) {
    Sha256 hash;
    hash.update(&record, offsetof(Record, check));
    return hash.digest();
}

std::array<std::uint8_t, 32> digest_of(const std::string& text) {
    Sha256 hash;
    hash.update(text.data(), text.size());
    return hash.digest();
}

} // namespace

std::string boot_identity() {
#ifdef __APPLE__
    char text[64] = {};
    std::size_t size = sizeof text - 1;
    if (::sysctlbyname("kern.bootsessionuuid", text, &size, nullptr, 0) != 0) return "";
    return text;
#else
    std::string text;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
    return text;
#endif
}

MarkFile::MarkFile(const std::string& path, const std::string& binding)
    : file_(File::open_target(path, false)) {
    const std::string boot = boot_identity();
    if (!boot.empty()) identity_ = boot + "\n" + binding;
    if (file_.size() < 2 * kRecordBytes) file_.grow(2 * kRecordBytes);
}

std::optional<Mark> MarkFile::read() {
    std::optional<Mark> best;
    if (identity_.empty()) return best;
    for (std::size_t i = 0; i < 2; ++i) {
        Record record;
        file_.read_at(&record, sizeof record, i * kRecordBytes);
        const bool is_ours = record.magic == kMagic && record.check == check_of(record) &&
                             record.identity == digest_of(identity_) && record.intervals <= kMostIntervals &&
                             record.errors <= kMostErrors;
        if (!is_ours || record.sequence < sequence_) continue;
        // What is written from here on is newer than both.
        sequence_ = record.sequence;
        best = Mark{{record.at, record.item, record.hash}, {record.received, record.received + record.intervals}, {}};
        for (std::size_t k = 0; k < record.errors; ++k) {
            const auto& [item, squared_error, range_error, sum, sum_of_squares, values] = record.sums[k];
            best->errors[item] = {squared_error, range_error, sum, sum_of_squares, values, 0};
        }
    }
    return best;
}

void MarkFile::write(const Mark& mark) {
    if (identity_.empty()) return;
    Record record{};
    record.magic = kMagic;
    record.sequence = ++sequence_;
    record.identity = digest_of(identity_);
    record.at = mark.state.at;
    record.item = mark.state.item;
    record.hash = mark.state.hash;
    record.intervals = static_cast<std::uint32_t>(std::min(mark.received.size(), kMostIntervals));
    std::copy_n(mark.received.begin(), record.intervals, record.received);
    // The last ones, when there are more: the item at hand is among them.
    const std::size_t errors = std::min(mark.errors.size(), kMostErrors);
    for (auto next = std::prev(mark.errors.end(), static_cast<std::ptrdiff_t>(errors)); next != mark.errors.end(); ++next) {
        const auto& [item, sums] = *next;
        record.sums[record.errors++] = {item,     sums.squared_error,  sums.range_error,
                                        sums.sum, sums.sum_of_squares, sums.values};
    }
    record.check = check_of(record);
    file_.write_at(&record, sizeof record, (sequence_ % 2) * kRecordBytes);
}

void MarkFile::forget(bool for_good) {
    if (for_good) identity_.clear();
    const Record nothing{};
    for (std::size_t i = 0; i < 2; ++i) file_.write_at(&nothing, sizeof nothing, i * kRecordBytes);
}

} // namespace flashmoe::pack
