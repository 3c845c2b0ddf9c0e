#include "core/decoder.h"

#include <algorithm>

#include "core/session.h"
#include "core/step_meter.h"

namespace flashmoe {
namespace {

/// Of a step's time, what waiting for others may take: two tokens together take less than one and a half times one.
constexpr int kShareOfWait = 2;
constexpr std::chrono::milliseconds kLongestWait{10};

/// One session's share of what a step of several read: adding up all of them gives what was read.
fm_step_stats share_of(const fm_step_stats& all, uint64_t index, uint64_t count) {
    fm_step_stats stats = all;
    for (uint64_t fm_step_stats::*field : {&fm_step_stats::expert_bytes_read, &fm_step_stats::expert_reads, &fm_step_stats::expert_uses,
                                           &fm_step_stats::expert_hits, &fm_step_stats::expert_waits, &fm_step_stats::device_waits}) {
        stats.*field = all.*field / count + (index < all.*field % count ? 1 : 0);
    }
    return stats;
}

} // namespace

Decoder::Decoder() = default;
Decoder::~Decoder() = default;

fm_step_stats Decoder::decode(Engine& engine, Session& session, int32_t token) {
    Next next{.session = &session, .token = token};
    {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(&next);
    }
    came_.notify_all();
    // Somebody else's turn may have computed it already.
    if (engine.turns.lock_unless(1, [&] { return next.done.load(); })) {
        const std::lock_guard turn(engine.turns, std::adopt_lock);
        if (!next.done.load()) {
            gather(next);
            run(engine);
        }
    }
    if (next.error) std::rethrow_exception(next.error);
    return next.stats;
}

bool Decoder::is_coming(const Session* session) const {
    return std::any_of(waiting_.begin(), waiting_.end(), [&](const Next* next) { return next->session == session; });
}

void Decoder::gather(Next& first) {
    std::unique_lock lock(mutex_);
    // A session that doesn't come back in time isn't waited for again until it has been in a step.
    came_.wait_for(lock, longest_wait_, [&] {
        return waiting_.size() >= kMaxTogether || std::all_of(lately_.begin(), lately_.end(), [&](const Session* session) { return is_coming(session); });
    });
    step_.assign(1, &first);
    std::erase(waiting_, &first);
    while (!waiting_.empty() && step_.size() < kMaxTogether) {
        step_.push_back(waiting_.front());
        waiting_.erase(waiting_.begin());
    }
    lately_.clear();
    for (const Next* next : step_) lately_.push_back(next->session);
}

void Decoder::run(Engine& engine) {
    const auto began = Clock::now();
    StepMeter meter(engine);
    parts_.clear();
    std::erase_if(step_, [&](Next* next) {
        try {
            parts_.push_back(next->session->begin_token(next->token));
            return false;
        } catch (...) {
            // Without room for its token the others go on without it.
            next->error = std::current_exception();
            next->done = true;
            return true;
        }
    });
    std::exception_ptr error;
    const auto count = static_cast<uint32_t>(parts_.size());
    if (count != 0) {
        try {
            engine.step({engine.together(), parts_.data(), count, count}, [](uint32_t) { return true; }, meter);
        } catch (...) {
            error = std::current_exception();
        }
    }
    meter.pause();
    most_together_ = std::max(most_together_.load(), count);
    longest_wait_ = std::min<Clock::duration>((Clock::now() - began) / kShareOfWait, kLongestWait);
    const fm_step_stats stats = meter.stats(1);
    for (uint32_t i = 0; i < count; ++i) {
        Next& next = *step_[i];
        next.session->end_token(!error);
        next.error = error;
        next.stats = share_of(stats, i, count);
    }
    // From here on whoever waits may be gone.
    for (Next* next : step_) next->done = true;
}

} // namespace flashmoe
