#include "executor/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_THREAD__)
#define FM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FM_TSAN 1
#endif
#endif
// The executor itself is built without ThreadSanitizer's instrumentation but linked with its run time.
#if defined(FM_LINKED_TSAN)
#define FM_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FM_ASAN 1
#endif
#endif

#ifdef FM_TSAN
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
}
// The switch itself must not order memory: only barriers do.
static constexpr unsigned NO_SYNC = 1;
#endif
#ifdef FM_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *size);
}
#endif

extern "C" void fm_switch_stack(void **save, void *load);

#if defined(__x86_64__)
asm(R"(
.text
.globl fm_switch_stack
.type fm_switch_stack,@function
fm_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size fm_switch_stack,.-fm_switch_stack
)");
static constexpr int SAVED_WORDS = 6;
#elif defined(__aarch64__)
asm(R"(
.text
#ifdef __APPLE__
.globl _fm_switch_stack
_fm_switch_stack:
#endif
.globl fm_switch_stack
fm_switch_stack:
    sub sp, sp, #176
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #176
    ret
)");
#else
#error "no stack switch for this processor"
#endif

namespace fm_msl {

// A new fiber starts here with nothing on its stack; the switch passes no argument, so it comes this way.
static thread_local Fiber *starting = nullptr;

Fiber::Fiber() {
    stack_ = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack_ == MAP_FAILED) abort();
#ifdef FM_TSAN
    tsan_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef FM_TSAN
    __tsan_destroy_fiber(tsan_);
#endif
    munmap(stack_, STACK_BYTES);
}

void Fiber::enter() {
    Fiber *self = starting;
#ifdef FM_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &self->scheduler_stack_, &self->scheduler_stack_bytes_);
#endif
    self->body_(self->argument_);
    abort(); // a finished body yields for ever
}

void Fiber::start(void (*body)(void *), void *argument) {
    body_ = body;
    argument_ = argument;
    auto *top = reinterpret_cast<uintptr_t *>(static_cast<char *>(stack_) + STACK_BYTES);
#if defined(__x86_64__)
    *--top = 0;
    *--top = reinterpret_cast<uintptr_t>(&Fiber::enter);
    top -= SAVED_WORDS;
    for (int i = 0; i < SAVED_WORDS; i++) top[i] = 0;
#else
    top -= 22;
    for (int i = 0; i < 22; i++) top[i] = 0;
    top[11] = reinterpret_cast<uintptr_t>(&Fiber::enter);
#endif
    own_ = top;
}

void Fiber::resume() {
    starting = this;
#ifdef FM_TSAN
    tsan_scheduler_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_, NO_SYNC);
#endif
#ifdef FM_ASAN
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_, STACK_BYTES);
#endif
    fm_switch_stack(&scheduler_, own_);
#ifdef FM_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void Fiber::yield() {
#ifdef FM_TSAN
    __tsan_switch_to_fiber(tsan_scheduler_, NO_SYNC);
#endif
#ifdef FM_ASAN
    __sanitizer_start_switch_fiber(&asan_fake_, scheduler_stack_, scheduler_stack_bytes_);
#endif
    fm_switch_stack(&own_, scheduler_);
#ifdef FM_ASAN
    __sanitizer_finish_switch_fiber(asan_fake_, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
}

} // namespace fm_msl
