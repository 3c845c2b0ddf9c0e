// A stack of its own and a switch to and from it. Hand-written, because swapcontext makes a system call each time.
#pragma once

#include <cstddef>

namespace fm_msl {

class Fiber {
  public:
    static constexpr size_t STACK_BYTES = 128 * 1024;

    Fiber();
    ~Fiber();
    Fiber(const Fiber &) = delete;
    Fiber &operator=(const Fiber &) = delete;

    /// Prepares to run `body(argument)` at the next resume. `body` never returns: when done, it yields for ever.
    void start(void (*body)(void *), void *argument);
    /// Runs until the fiber yields. Called from the scheduler's own stack.
    void resume();
    /// Back to the scheduler. Called from the fiber.
    void yield();

  private:
    void *stack_;
    void *own_ = nullptr;
    void *scheduler_ = nullptr;
    void *tsan_ = nullptr;
    void *tsan_scheduler_ = nullptr;
    void *asan_fake_ = nullptr;
    const void *scheduler_stack_ = nullptr;
    size_t scheduler_stack_bytes_ = 0;
    void (*body_)(void *) = nullptr;
    void *argument_ = nullptr;

    static void enter();
};

} // namespace fm_msl
