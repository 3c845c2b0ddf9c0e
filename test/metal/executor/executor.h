// Runs translated MSL kernels on a CPU: one fiber a thread, threadgroups spread over OS threads. Stops with
// both places named when threads wait at different barriers; fills threadgroup memory with NaN bytes first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fm_msl {

constexpr uint32_t SIMD_WIDTH = 32;
constexpr int MAX_BUFFERS = 31;
constexpr size_t THREADGROUP_MEMORY = 32768;

/// What a simd operation passes between lanes; as words, so that copying it is never a library call a sanitizer watches.
struct Exchange {
    uint64_t words[2];
};

struct Size3 {
    uint32_t x = 1, y = 1, z = 1;
};

/// Order in which runnable fibers are resumed. A right kernel gives the same result under all.
enum class Schedule { forward, reverse, random };

struct Launch {
    void *buffers[MAX_BUFFERS] = {};
    size_t threadgroup_bytes[MAX_BUFFERS] = {};
    Size3 threadgroups, threads;
};

using Entry = void (*)(const Launch &);

/// A bound argument: a device pointer (bytes 0), or a constant structure or array of structures of so many bytes.
struct Binding {
    uint32_t index;
    size_t bytes;
    bool array, writable;
};

struct Kernel {
    std::string name;
    Entry entry;
    std::vector<Binding> bindings;
};

/// Puts a kernel into the table at static initialisation.
struct Registration {
    Registration(Kernel kernel);
};

/// Null when there is none of that name.
const Kernel *find_kernel(const std::string &name);
std::vector<std::string> kernel_names();

/// Runs every threadgroup. Returns an empty string, or what went wrong.
std::string run(const Launch &launch, Entry entry, Schedule schedule, int os_threads, uint64_t seed);

/// A barrier of a kernel that is left out, as if its line were deleted; null and 0: none is.
void leave_out_barrier(const char *file, int line);

// Called from kernels.
Size3 threadgroup_position();
Size3 threadgroups_per_grid();
Size3 thread_position();
Size3 threads_per_threadgroup();
uint32_t thread_index();
uint32_t thread_count();
void *static_threadgroup(int id, size_t bytes);
void *dynamic_threadgroup(int index);
/// `file` and `line` are those of the .metal file.
void barrier(int line, const char *file);
void simd_barrier(int line, const char *file);
/// Gives `value` to the simdgroup and returns what `lane` gave.
Exchange simd_exchange(Exchange value, uint32_t lane, int line);
/// The same, and returns what all lanes gave; good until the next but one.
const Exchange *simd_all(Exchange value, int line);
/// Ends the program: a kernel asks for what Metal or another device would not do.
[[noreturn]] void kernel_misuse(const char *what);

} // namespace fm_msl
