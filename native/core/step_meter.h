// What a step takes, its own turns alone: sessions share an engine, and a prompt gives way to others' tokens.
#pragma once

#include <chrono>

#include "core/engine.h"

namespace flashmoe {

class StepMeter {
  public:
    explicit StepMeter(const Engine& engine) : engine_(engine) { resume(); }
    void resume() {
        reads_ = engine_.expert_counters();
        device_ = engine_.device_counters();
        const auto now = Clock::now();
        away_ = now - start_;
        start_ = now;
    }
    /// Adds up what was done since resume().
    void pause() {
        const ExpertCounters reads = engine_.expert_counters();
        const BackendCounters device = engine_.device_counters();
        const auto now = Clock::now();
        sum_.seconds += std::chrono::duration<double>(now - start_).count();
        start_ = now;
        sum_.expert_bytes_read += reads.bytes - reads_.bytes;
        sum_.expert_reads += reads.reads - reads_.reads;
        sum_.expert_uses += reads.uses - reads_.uses;
        sum_.expert_hits += reads.hits - reads_.hits;
        sum_.expert_waits += reads.waits - reads_.waits;
        sum_.io_seconds += reads.waited_seconds - reads_.waited_seconds;
        sum_.device_waits += device.waits - device_.waits;
        sum_.device_wait_seconds += device.waited_seconds - device_.waited_seconds;
        sum_.device_seconds += device.device_seconds - device_.device_seconds;
    }
    /// The turn that is had has lasted no less than what was between it and the one before.
    bool has_had_its_share() const { return Clock::now() - start_ >= away_; }
    /// Of a step of so many tokens, paused.
    fm_step_stats stats(size_t tokens) const {
        fm_step_stats stats = sum_;
        stats.tokens = static_cast<uint32_t>(tokens);
        return stats;
    }

  private:
    using Clock = std::chrono::steady_clock;
    const Engine& engine_;
    fm_step_stats sum_{};
    ExpertCounters reads_;
    BackendCounters device_;
    /// When it was resumed or paused.
    Clock::time_point start_ = Clock::now();
    Clock::duration away_{};
};

} // namespace flashmoe
