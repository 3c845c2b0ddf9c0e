#include "pack/tape.h"

#include "core/error.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace flashmoe::pack {

namespace {

/// What is handed to a thread at once: large enough to stream, small enough that a dozen are little memory. A power of
/// two, so that it holds whole groups of any width.
constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
/// Pieces that are hashed and not yet in their file.
constexpr std::size_t kMostSteps = 16;

std::uint64_t piece_size(std::uint64_t window) {
    std::uint64_t size = kPieceBytes;
    while (size > window / 8) size /= 2;
    return size;
}

std::exception_ptr interrupted() {
    return std::make_exception_ptr(Error("ERR_INTERRUPTED", "stopped before the end"));
}

} // namespace

TapeWriter::TapeWriter(TapeJob job)
    : job_(std::move(job)), starts_(checked_starts(job_)), piece_bytes_(piece_size(job_.window)),
      files_(job_.files), placer_(files_, job_.search, job_.importance), spool_(File::open_target(job_.spool, false)),
      mark_(job_.mark, job_.binding) {
    seals_.push_back(0);
    for (const auto& item : job_.items) seals_.push_back(seals_.back() + (item.type == TapeItem::Type::seal));
    if (job_.from) {
        placed_ = *job_.from;
        if (job_.sums.values > 0) errors_[placed_.item] = job_.sums;
    }
    auto mark = mark_.read();
    const bool is_further = mark && mark->state.item <= job_.items.size() && mark->state.at >= placed_.at &&
                            mark->state.item >= placed_.item && spool_.size() >= job_.window;
    if (is_further) {
        placed_ = mark->state;
        mark->errors.merge(errors_); // the mark's own count where both have one
        errors_ = std::move(mark->errors);
        for (const auto& [start, end] : mark->received) {
            if (end > start && end <= placed_.at + job_.window) receive(std::max(start, placed_.at), end);
        }
    } else {
        mark_.forget(false);
    }
    if (spool_.size() < job_.window) spool_.grow(job_.window);
    cursor_ = placed_;
    hash_ = Sha256::restore(cursor_.hash);
    try {
        threads_.emplace_back([this] { run(&TapeWriter::spool_loop); });
        threads_.emplace_back([this] { run(&TapeWriter::cursor_loop); });
        for (unsigned i = 0; i < job_.threads; ++i) {
            threads_.emplace_back([this] { run(&TapeWriter::place_loop); });
        }
    } catch (const std::system_error&) {
        close();
        throw Error("EAGAIN", "no threads for the writer");
    }
}

TapeWriter::~TapeWriter() { close(); }

void TapeWriter::close() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        changed_.notify_all();
    }
    const std::lock_guard one_at_a_time(ending_);
    for (auto& thread : threads_) thread.join();
    threads_.clear();
    for (auto& put : std::exchange(puts_, {})) put.done(failure_ ? failure_ : interrupted());
}

void TapeWriter::run(void (TapeWriter::*loop)()) {
    try {
        (this->*loop)();
    } catch (...) {
        fail(std::current_exception());
    }
}

void TapeWriter::fail(std::exception_ptr failure) {
    std::deque<Put> puts;
    {
        const std::lock_guard lock(mutex_);
        if (!failure_ && !closing_) failure_ = failure;
        if (failure_) puts = std::exchange(puts_, {});
        changed_.notify_all();
    }
    for (auto& put : puts) put.done(failure);
}

/// Returns when `until` holds; throws when the writer ends or failed.
void TapeWriter::wait(Lock& lock, const std::function<bool()>& until) {
    changed_.wait(lock, [&] { return failure_ || closing_ || until(); });
    if (failure_) std::rethrow_exception(failure_);
    if (closing_) std::rethrow_exception(interrupted());
}

void TapeWriter::put(std::uint64_t position, std::vector<std::span<const std::uint8_t>> spans, Done done) {
    std::uint64_t size = 0;
    for (const auto& span : spans) size += span.size();
    std::exception_ptr refused;
    {
        const std::lock_guard lock(mutex_);
        if (failure_) refused = failure_;
        else if (closing_) refused = interrupted();
        else if (size > job_.window / 2 || position > starts_.back() || size > starts_.back() - position) {
            refused = std::make_exception_ptr(Error("ERR_PLAN", "put: beyond the tape or the window"));
        } else {
            puts_.push_back({position, size, std::move(spans), std::move(done)});
            changed_.notify_all();
            return;
        }
    }
    done(refused);
}

void TapeWriter::spool_loop() {
    for (;;) {
        Put put;
        std::uint64_t from = 0;
        {
            Lock lock(mutex_);
            auto next = puts_.end();
            wait(lock, [&] {
                next = std::find_if(puts_.begin(), puts_.end(), [&](const Put& each) {
                    return each.position + each.size <= placed_.at + job_.window;
                });
                return next != puts_.end();
            });
            put = std::move(*next);
            puts_.erase(next);
            spooling_ = true;
            from = std::max(put.position, placed_.at);
        }
        const std::uint64_t end = put.position + put.size;
        try {
            if (from < end) write_to_spool(put, from);
        } catch (...) {
            put.done(std::current_exception());
            throw;
        }
        {
            const std::lock_guard lock(mutex_);
            spooling_ = false;
            if (from < end) {
                receive(from, end);
                write_mark();
            }
            changed_.notify_all();
        }
        put.done(nullptr);
    }
}

void TapeWriter::write_to_spool(const Put& put, std::uint64_t from) {
    std::uint64_t at = put.position;
    for (const auto& span : put.spans) {
        const std::size_t size = span.size();
        std::uint64_t done = at < from ? std::min<std::uint64_t>(size, from - at) : 0;
        while (done < size) {
            const std::uint64_t offset = (at + done) % job_.window;
            const std::uint64_t part = std::min<std::uint64_t>(size - done, job_.window - offset);
            spool_.write_at(span.data() + done, part, offset);
            done += part;
        }
        at += size;
    }
}

void TapeWriter::read_from_spool(std::vector<std::uint8_t>& to, std::uint64_t at) const {
    const std::uint64_t offset = at % job_.window;
    const std::uint64_t first = std::min<std::uint64_t>(to.size(), job_.window - offset);
    spool_.read_at(to.data(), first, offset);
    if (first < to.size()) spool_.read_at(to.data() + first, to.size() - first, 0);
}

/// Adds an interval; those that touch it become one.
void TapeWriter::receive(std::uint64_t start, std::uint64_t end) {
    auto next = received_.upper_bound(start);
    if (next != received_.begin() && std::prev(next)->second >= start) --next;
    while (next != received_.end() && next->first <= end) {
        start = std::min(start, next->first);
        end = std::max(end, next->second);
        next = received_.erase(next);
    }
    received_.emplace(start, end);
}

bool TapeWriter::has(std::uint64_t start, std::uint64_t end) const {
    const auto next = received_.upper_bound(start);
    return next != received_.begin() && std::prev(next)->second >= end;
}

void TapeWriter::write_mark() {
    Mark mark{placed_, {}, errors_};
    for (const auto& [start, end] : received_) mark.received.push_back({start, end});
    mark_.write(mark);
}

void TapeWriter::cursor_loop() {
    while (cursor_.item < job_.items.size()) {
        const TapeItem& item = job_.items[cursor_.item];
        switch (item.type) {
        case TapeItem::Type::bytes: take_bytes(item); break;
        case TapeItem::Type::recall: recall(item); break;
        case TapeItem::Type::seal: seal(item); break;
        }
    }
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
}

void TapeWriter::take_bytes(const TapeItem& item) {
    const std::uint64_t done = cursor_.at - starts_[cursor_.item];
    const std::uint64_t in_tensor = item.place.from + done;
    const std::uint64_t size = std::min(piece_bytes_ - in_tensor % piece_bytes_, item.size - done);
    {
        Lock lock(mutex_);
        // Its parameters must be in their files before the first codes are.
        const bool reads = item.place.kind == Place::Kind::requantise || item.place.kind == Place::Kind::convert;
        if (reads && done == 0) wait(lock, [&] { return steps_.empty(); });
        needed_ = Interval{cursor_.at, cursor_.at + size};
        changed_.notify_all();
        wait(lock, [&] { return has(needed_->start, needed_->end); });
        needed_.reset();
    }
    Piece piece{cursor_.item, done, buffer(size)};
    read_from_spool(piece.bytes, cursor_.at);
    if (item.hashed) hash_.update(piece.bytes.data(), piece.bytes.size());
    cursor_.at += size;
    if (done + size == item.size) ++cursor_.item;
    cursor_.hash = hash_.save();
    pass(std::move(piece), item.place.kind != Place::Kind::drop);
}

void TapeWriter::recall(const TapeItem& item) {
    {
        Lock lock(mutex_);
        wait(lock, [&] { return steps_.empty(); });
    }
    std::vector<std::uint8_t> bytes = buffer(std::min(item.size, kPieceBytes));
    for (std::uint64_t done = 0; done < item.size;) {
        const std::uint64_t size = std::min<std::uint64_t>(item.size - done, bytes.size());
        files_.read(item.file, bytes.data(), size, item.offset + done);
        hash_.update(bytes.data(), size);
        done += size;
    }
    ++cursor_.item;
    cursor_.hash = hash_.save();
    pass({}, false);
}

void TapeWriter::seal(const TapeItem& item) {
    const std::string digest = hash_.hex();
    if (digest != item.sha256) {
        {
            const std::lock_guard lock(mutex_);
            mismatch_ = Mismatch{cursor_.item, digest};
        }
        throw Error("ERR_HASH", "sha256 is " + digest + ", where the listing says " + item.sha256);
    }
    hash_ = Sha256();
    ++cursor_.item;
    cursor_.hash = hash_.save();
    pass({}, false);
}

/// The cursor has moved: what it took goes to the threads that place, or is done at once.
void TapeWriter::pass(Piece piece, bool to_place) {
    auto step = std::make_shared<Step>();
    step->piece = std::move(piece);
    step->after = cursor_;
    step->done = !to_place;
    Lock lock(mutex_);
    wait(lock, [&] { return steps_.size() < kMostSteps; });
    if (!to_place) free_.push_back(std::exchange(step->piece.bytes, {}));
    steps_.push_back(step);
    if (to_place) to_place_.push_back(step);
    settle();
    changed_.notify_all();
}

void TapeWriter::place_loop() {
    for (;;) {
        std::shared_ptr<Step> step;
        {
            Lock lock(mutex_);
            wait(lock, [&] { return !to_place_.empty(); });
            step = std::move(to_place_.front());
            to_place_.pop_front();
        }
        step->sums = placer_.place(job_.items[step->piece.item].place, step->piece);
        const std::lock_guard lock(mutex_);
        free_.push_back(std::exchange(step->piece.bytes, {}));
        step->done = true;
        settle();
        changed_.notify_all();
    }
}

/// Moves `placed_` over all steps that are done in a row.
void TapeWriter::settle() {
    const std::uint64_t item = placed_.item;
    const std::uint64_t before = placed_.at;
    while (!steps_.empty() && steps_.front()->done) {
        const Step& step = *steps_.front();
        placed_ = step.after;
        if (step.sums.values > 0) errors_[step.piece.item].add(step.sums);
        steps_.pop_front();
    }
    if (placed_.at == before && placed_.item == item) return;
    while (!received_.empty() && received_.begin()->first < placed_.at) {
        const std::uint64_t end = received_.begin()->second;
        received_.erase(received_.begin());
        if (end > placed_.at) received_.emplace(placed_.at, end);
    }
    write_mark();
}

std::vector<std::uint8_t> TapeWriter::buffer(std::uint64_t size) {
    std::vector<std::uint8_t> bytes;
    {
        const std::lock_guard lock(mutex_);
        if (!free_.empty()) {
            bytes = std::move(free_.back());
            free_.pop_back();
        }
    }
    bytes.resize(size);
    return bytes;
}

TapeProgress TapeWriter::progress() {
    const std::lock_guard lock(mutex_);
    TapeProgress progress{placed_.at, seals_[placed_.item], {}, mismatch_};
    for (const auto& [start, end] : received_) progress.received.push_back({start, end});
    return progress;
}

Checkpoint TapeWriter::checkpoint(bool drain, std::uint64_t journalled, const Control& control) {
    const std::lock_guard one_at_a_time(syncing_);
    Checkpoint here;
    {
        Lock lock(mutex_);
        errors_.erase(errors_.begin(), errors_.lower_bound(journalled));
        if (drain) {
            wait(lock, [&] {
                return control.cancelled || (puts_.empty() && !spooling_ && starved() && steps_.empty());
            });
            control.check();
        }
        if (failure_) std::rethrow_exception(failure_);
        here = {placed_, errors_};
    }
    try {
        files_.sync();
    } catch (...) {
        // What the system could not write it may have dropped: only the journal can say where to go on.
        {
            const std::lock_guard lock(mutex_);
            mark_.forget(true);
        }
        fail(std::current_exception());
        throw;
    }
    return here;
}

} // namespace flashmoe::pack
