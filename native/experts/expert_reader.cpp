#include "experts/expert_reader.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <unistd.h>

namespace flashmoe {

ExpertReader::ExpertReader(Backend& backend, uint64_t slot_bytes, uint32_t slots, uint32_t threads)
    : memory_(slot_bytes * slots), buffer_(backend, memory_.data(), memory_.size()), slot_bytes_(slot_bytes),
      slots_(slots, State::empty), failures_(slots),
      threads_("reading experts", 0, threads, [this](uint32_t) { work(); }, [this] { stop(); }) {}

void ExpertReader::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_changed_.notify_all();
}

void ExpertReader::begin(const ExpertLayer& layer, const uint32_t* experts, uint32_t count) {
    {
        const std::lock_guard lock(mutex_);
        layer_ = &layer;
        experts_ = experts;
        count_ = count;
        issued_ = taken_ = released_ = 0;
        for (State& slot : slots_) slot = State::empty;
    }
    work_changed_.notify_all();
}

Span ExpertReader::next() {
    std::unique_lock lock(mutex_);
    const uint32_t slot = taken_ % slots();
    const auto done = [&] { return slots_[slot] == State::ready || slots_[slot] == State::failed; };
    if (!done()) {
        const auto start = std::chrono::steady_clock::now();
        result_changed_.wait(lock, done);
        counters_.waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    if (slots_[slot] == State::failed) throw Error(FM_IO, failures_[slot]);
    ++taken_;
    return buffer_.span(slot * slot_bytes_);
}

bool ExpertReader::is_next_ready() {
    const std::lock_guard lock(mutex_);
    return taken_ < count_ && taken_ - released_ < slots() && slots_[taken_ % slots()] == State::ready;
}

void ExpertReader::release(uint32_t count) {
    {
        const std::lock_guard lock(mutex_);
        for (; count > 0; --count) slots_[released_++ % slots()] = State::empty;
    }
    work_changed_.notify_all();
}

void ExpertReader::finish() {
    std::unique_lock lock(mutex_);
    count_ = issued_;
    result_changed_.wait(lock, [&] { return in_flight_ == 0; });
    layer_ = nullptr;
}

ReadCounters ExpertReader::counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
}

void ExpertReader::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        work_changed_.wait(lock, [&] { return stopping_ || (issued_ < count_ && issued_ - released_ < slots()); });
        if (stopping_) return;
        const uint32_t job = issued_++;
        const uint32_t slot = job % slots();
        slots_[slot] = State::reading;
        ++in_flight_;
        lock.unlock();
        std::string failure = read_expert(experts_[job], memory_.data() + slot * slot_bytes_);
        lock.lock();
        --in_flight_;
        ++counters_.reads;
        counters_.bytes += layer_->expert_size;
        slots_[slot] = failure.empty() ? State::ready : State::failed;
        failures_[slot] = std::move(failure);
        result_changed_.notify_all();
    }
}

/// Empty, or what went wrong.
std::string ExpertReader::read_expert(uint32_t expert, std::byte* target) {
    const uint64_t start = expert * layer_->expert_stride;
    uint64_t done = 0;
    while (done < layer_->expert_size) {
        const ssize_t got = pread(layer_->file.descriptor(), target + done, layer_->read_size - done,
                                  static_cast<off_t>(start + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            std::ostringstream text;
            text << layer_->file.path() << ": expert " << expert << ": read of " << layer_->expert_size - done
                 << " bytes at offset " << start + done << (got == 0 ? " fell short: the file ends there" : " failed: ")
                 << (got == 0 ? "" : std::strerror(errno));
            return text.str();
        }
        done += static_cast<uint64_t>(got);
    }
    return {};
}

} // namespace flashmoe
