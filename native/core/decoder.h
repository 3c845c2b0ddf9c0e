// Sessions that decode at the same time have their next tokens computed in one step: what a layer needs, its experts above all, is
// read once for all of them. A token's results are those that it has alone.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <vector>

#include "flashmoe.h"

namespace flashmoe {

class Engine;
class Session;
struct Part;

class Decoder {
  public:
    Decoder();
    ~Decoder();
    Decoder(const Decoder&) = delete;

    /// Appends a token, which session.check() has passed, to the state. Waits for a turn. Throws as a step does; what fails a step
    /// fails it for all whose tokens were in it.
    fm_step_stats decode(Engine& engine, Session& session, int32_t token);
    /// Most tokens that a step has had, since the engine was opened.
    uint32_t most_together() const { return most_together_.load(); }

  private:
    struct Next {
        Session* session;
        int32_t token;
        fm_step_stats stats{};
        std::exception_ptr error{};
        std::atomic<bool> done{false};
    };
    using Clock = std::chrono::steady_clock;

    /// Of those that wait, who goes along with `first`; waits a little for those that were in the step before.
    void gather(Next& first);
    void run(Engine& engine);
    bool is_coming(const Session* session) const;

    std::mutex mutex_;
    std::condition_variable came_;
    /// A token each, in order.
    std::vector<Next*> waiting_;
    /// Of the step before: as a rule they ask for another token right away.
    std::vector<const Session*> lately_;
    /// Of the step that is made, by whoever has the turn.
    std::vector<Next*> step_;
    std::vector<Part> parts_;
    Clock::duration longest_wait_{};
    std::atomic<uint32_t> most_together_{0};
};

} // namespace flashmoe
