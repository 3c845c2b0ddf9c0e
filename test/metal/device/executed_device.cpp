#include "device/executed_device.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <regex>
#include <set>
#include <utility>
#include <vector>

#include <unistd.h>

namespace fm_msl {
namespace {

using namespace flashmoe;

std::atomic<int> live{0};
const size_t PAGE = static_cast<size_t>(sysconf(_SC_PAGESIZE));

/// Misuse of the API is a bug in host code, found where it happens.
[[noreturn]] void misuse(const char *what) {
    fprintf(stderr, "device API: %s\n", what);
    abort();
}

std::set<std::string> &used_kernels() {
    static std::set<std::string> names;
    return names;
}

std::set<std::string> &barriers() {
    static std::set<std::string> names;
    return names;
}
std::string left_out_after;

std::string family_of(const std::string &kernel) {
    static const std::regex variant("(_q[248])?_(bf16|f16|f32|[0-9]+)$");
    return std::regex_replace(kernel, variant, "");
}

class ExecutedBuffer final : public gpu::Buffer {
  public:
    ExecutedBuffer(void *memory, size_t bytes, bool owned)
        : memory_(static_cast<std::byte *>(memory)), bytes_(bytes), owned_(owned) {
        live++;
    }
    ~ExecutedBuffer() override {
        // A GPU would go on reading and writing memory that is somebody else's by then.
        if (users != 0) misuse("a buffer ends while a command uses it that nobody has waited for");
        if (owned_) free(memory_);
        live--;
    }
    std::byte *contents() override { return memory_; }
    size_t size() const override { return bytes_; }

    /// Commands that bound it and were not waited for.
    int users = 0;

  private:
    std::byte *memory_;
    size_t bytes_;
    bool owned_;
};

class ExecutedPipeline final : public gpu::Pipeline {
  public:
    ExecutedPipeline(const Kernel &kernel, const Shortcomings &shortcomings) : kernel(kernel), shortcomings_(shortcomings) { live++; }
    ~ExecutedPipeline() override { live--; }
    uint32_t max_threads() const override { return shortcomings_.max_threads; }
    uint32_t simd_width() const override { return shortcomings_.simd_width; }
    const Kernel &kernel;

  private:
    const Shortcomings shortcomings_;
};

struct Dispatch {
    const Kernel *kernel;
    Launch launch;
    /// Storage of inline bytes; launch.buffers point into it.
    std::vector<std::vector<unsigned char>> inline_bytes;
};

class ExecutedCommand final : public gpu::Command {
  public:
    ExecutedCommand(const ExecutedOptions &options, std::string error) : options_(options), error_(std::move(error)) { live++; }
    ~ExecutedCommand() override {
        let_go();
        live--;
    }

    void use(const gpu::Pipeline &pipeline) override {
        open();
        kernel_ = &static_cast<const ExecutedPipeline &>(pipeline).kernel;
        bindings_ = {};
        bound_ = {};
        inline_bytes_.assign(MAX_BUFFERS, {});
    }
    void bind(uint32_t index, gpu::Buffer &buffer, size_t offset) override {
        open();
        if (index >= MAX_BUFFERS) misuse("buffer index over 30");
        if (offset >= buffer.size()) misuse("offset behind the end of a buffer");
        bindings_.buffers[index] = buffer.contents() + offset;
        bound_[index] = static_cast<ExecutedBuffer *>(&buffer);
    }
    void bind_bytes(uint32_t index, const void *bytes, size_t size) override {
        open();
        if (index >= MAX_BUFFERS) misuse("buffer index over 30");
        if (size == 0 || size > 4096) misuse("inline bytes must be 1 to 4096");
        const auto *from = static_cast<const unsigned char *>(bytes);
        inline_bytes_[index].assign(from, from + size);
    }
    void dispatch(gpu::Size3 groups, gpu::Size3 threads) override {
        open();
        if (kernel_ == nullptr) misuse("dispatch without a pipeline");
        if (groups.x == 0 || groups.y == 0 || groups.z == 0) misuse("dispatch of nothing");
        Dispatch &dispatch = pending_.emplace_back();
        dispatch.kernel = kernel_;
        dispatch.launch = bindings_;
        dispatch.launch.threadgroups = {groups.x, groups.y, groups.z};
        dispatch.launch.threads = {threads.x, threads.y, threads.z};
        dispatch.inline_bytes = inline_bytes_;
        for (int i = 0; i < MAX_BUFFERS; i++) {
            if (!dispatch.inline_bytes[i].empty()) dispatch.launch.buffers[i] = dispatch.inline_bytes[i].data();
        }
        check_bindings(dispatch);
        for (ExecutedBuffer *buffer : bound_) {
            if (buffer != nullptr && used_.insert(buffer).second) buffer->users++;
        }
    }
    void barrier() override {
        open();
        if (pending_.empty()) return;
        const std::string after = family_of(pending_.back().kernel->name);
        barriers().insert(after);
        if (after != left_out_after) run_pending();
    }
    void commit() override {
        open();
        run_pending();
        committed_ = true;
    }
    std::string wait() override {
        if (!committed_) misuse("wait before commit");
        let_go();
        return error_;
    }
    double seconds() const override { return 0; }

  private:
    void let_go() {
        for (ExecutedBuffer *buffer : used_) buffer->users--;
        used_.clear();
    }
    void run_pending() {
        // Last to first: a forgotten barrier reads what has not been written yet.
        for (size_t i = pending_.size(); i > 0 && error_.empty(); i--) {
            error_ = run(pending_[i - 1].launch, pending_[i - 1].kernel->entry, options_.schedule, options_.os_threads, options_.seed);
        }
        pending_.clear();
    }
    /// Exactly what the kernel declares is bound, and structures have its size.
    void check_bindings(const Dispatch &dispatch) const {
        const auto complain = [&](size_t index, const char *what) {
            misuse((kernel_->name + ", buffer " + std::to_string(index) + ": " + what).c_str());
        };
        size_t bound = 0;
        for (const void *address : dispatch.launch.buffers) bound += address != nullptr;
        for (const Binding &binding : kernel_->bindings) {
            const size_t given = dispatch.inline_bytes[binding.index].size();
            if (dispatch.launch.buffers[binding.index] == nullptr) complain(binding.index, "not bound");
            if (binding.bytes == 0 && given != 0) complain(binding.index, "inline bytes for device memory");
            if (binding.bytes != 0 && given == 0) continue; // a buffer may hold constants, too
            if (binding.array ? given % std::max<size_t>(binding.bytes, 1) != 0 : given != binding.bytes) {
                complain(binding.index, "a structure of another size");
            }
        }
        if (bound != kernel_->bindings.size()) misuse((kernel_->name + ": more is bound than it declares").c_str());
        used_kernels().insert(kernel_->name);
    }
    void open() const {
        if (committed_) misuse("encoding after commit");
    }

    ExecutedOptions options_;
    const Kernel *kernel_ = nullptr;
    Launch bindings_;
    std::array<ExecutedBuffer *, MAX_BUFFERS> bound_{};
    std::set<ExecutedBuffer *> used_;
    std::vector<std::vector<unsigned char>> inline_bytes_;
    std::vector<Dispatch> pending_;
    std::string error_;
    bool committed_ = false;
};

class ExecutedDevice final : public gpu::Device {
  public:
    explicit ExecutedDevice(const ExecutedOptions &options) : options_(options) {}

    gpu::DeviceFacts facts() const override { 
        const Shortcomings &its = options_.shortcomings;
        return {"executed kernels", its.working_set, its.max_buffer, its.low_power};
    }
    std::unique_ptr<gpu::Buffer> allocate(size_t bytes) override {
        void *memory = nullptr;
        if (bytes > options_.shortcomings.max_buffer) misuse("a buffer is larger than maxBufferLength");
        if (options_.shortcomings.no_buffers) return nullptr;
        if (posix_memalign(&memory, PAGE, bytes) != 0) return nullptr;
        memset(memory, 0xff, bytes); // poison: a kernel that reads what nobody wrote yields NaN
        return std::make_unique<ExecutedBuffer>(memory, bytes, true);
    }
    std::unique_ptr<gpu::Buffer> wrap(void *memory, size_t bytes) override {
        if (reinterpret_cast<uintptr_t>(memory) % PAGE != 0) misuse("wrapped memory must begin on a page");
        if (bytes == 0 || bytes % PAGE != 0) misuse("wrapped memory must be whole pages");
        if (bytes > options_.shortcomings.max_buffer) misuse("a buffer is larger than maxBufferLength");
        if (options_.shortcomings.no_buffers) return nullptr;
        return std::make_unique<ExecutedBuffer>(memory, bytes, false);
    }
    // The kernels were translated at build time from the same text.
    std::string compile(const std::string &source) override {
        return source.empty() ? "no kernel source" : options_.shortcomings.compiler;
    }
    std::unique_ptr<gpu::Pipeline> pipeline(const std::string &name, std::string &problem) override {
        const Kernel *kernel = find_kernel(name);
        problem = kernel == nullptr ? "no kernel of that name" : options_.shortcomings.pipeline;
        return problem.empty() ? std::make_unique<ExecutedPipeline>(*kernel, options_.shortcomings) : nullptr;
    }
    std::unique_ptr<gpu::Command> command() override {
        if (options_.shortcomings.no_commands) return nullptr;
        return std::make_unique<ExecutedCommand>(options_, std::exchange(options_.shortcomings.command, ""));
    }

  private:
    ExecutedOptions options_;
};

} // namespace

std::unique_ptr<gpu::Device> open_executed_device(const ExecutedOptions &options) {
    return std::make_unique<ExecutedDevice>(options);
}

int live_objects() { return live; }

std::vector<std::string> recorded_barriers() { return {barriers().begin(), barriers().end()}; }

void leave_out_barriers_after(const std::string &kernel) { left_out_after = kernel; }

std::vector<std::string> unused_kernels() {
    std::vector<std::string> names;
    for (const std::string &name : kernel_names()) {
        if (!used_kernels().contains(name)) names.push_back(name);
    }
    return names;
}

} // namespace fm_msl
