#include "device/cuda_device.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include <cuda_runtime.h>

#include "device/cuda_kernels.h"

namespace {

using namespace flashmoe;

std::atomic<int> live{0};

void must(cudaError_t status, const char *what) {
    if (status == cudaSuccess) return;
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
    abort();
}
#define MUST(call) must(call, #call)

[[noreturn]] void misuse(const std::string &what) {
    fprintf(stderr, "device API: %s\n", what.c_str());
    abort();
}

std::map<std::string, CudaKernel> &table() {
    static std::map<std::string, CudaKernel> kernels;
    return kernels;
}

std::set<std::string> &used_kernels() {
    static std::set<std::string> names;
    return names;
}

std::string &launched_prefix() {
    static std::string prefix;
    return prefix;
}

bool &is_timed() {
    static bool timed = false;
    return timed;
}

std::map<std::string, std::pair<uint64_t, double>> &times() {
    static std::map<std::string, std::pair<uint64_t, double>> seconds;
    return seconds;
}

bool is_managed(void *memory) {
    cudaPointerAttributes attributes;
    MUST(cudaPointerGetAttributes(&attributes, memory));
    return attributes.type == cudaMemoryTypeManaged;
}

/// That its pages cannot be written, as /proc/self/maps says.
bool is_read_only(const void *memory) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        unsigned long begin, end;
        char access[5] = {};
        if (sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) != 3) continue;
        const auto at = reinterpret_cast<unsigned long>(memory);
        if (begin <= at && at < end) return access[1] != 'w';
    }
    return false;
}

class CudaBuffer final : public gpu::Buffer {
  public:
    /// `host` null: of the device alone.
    CudaBuffer(void *host, size_t bytes) : host_(static_cast<std::byte *>(host)), bytes_(bytes) {
        managed_ = host != nullptr && is_managed(host);
        if (managed_) address = host;
        else MUST(cudaMalloc(&address, bytes));
        mirrored_ = host != nullptr && !managed_ && !is_read_only(host);
        if (host != nullptr && !managed_ && !mirrored_) MUST(cudaMemcpy(address, host, bytes, cudaMemcpyHostToDevice));
        live++;
    }
    ~CudaBuffer() override {
        if (!managed_) MUST(cudaFree(address));
        live--;
    }
    std::byte *contents() override { return host_; }
    size_t size() const override { return bytes_; }
    void upload(cudaStream_t stream) {
        if (mirrored_) MUST(cudaMemcpyAsync(address, host_, bytes_, cudaMemcpyHostToDevice, stream));
    }
    void download() {
        if (mirrored_) MUST(cudaMemcpy(host_, address, bytes_, cudaMemcpyDeviceToHost));
    }

    void *address = nullptr;
    /// A command wrote it that nobody has waited for: what the host holds is older.
    bool device_newer = false;

  private:
    std::byte *host_;
    size_t bytes_;
    bool managed_ = false, mirrored_ = false;
};

class CudaPipeline final : public gpu::Pipeline {
  public:
    explicit CudaPipeline(const CudaKernel &kernel) : kernel(kernel) { live++; }
    ~CudaPipeline() override { live--; }
    uint32_t max_threads() const override {
        cudaFuncAttributes attributes;
        MUST(cudaFuncGetAttributes(&attributes, kernel.entry));
        return static_cast<uint32_t>(attributes.maxThreadsPerBlock);
    }
    uint32_t simd_width() const override { return 32; }
    const CudaKernel &kernel;
};

struct Recorded {
    const CudaKernel *kernel;
    FmBuffers buffers;
    FmInline<2> values;
    dim3 groups, threads;
};

/// A graph that can be launched, and its kernels one after the other.
struct Graph {
    cudaGraphExec_t executable = nullptr;
    std::vector<const void *> kernels;
    /// Of the last that was no graph.
    std::vector<const void *> seen;
};

/// Graphs by how many commands were committed before them since the last wait.
class Graphs {
  public:
    ~Graphs() {
        for (Graph &each : all_) {
            if (each.executable != nullptr) cudaGraphExecDestroy(each.executable);
        }
    }
    /// Every command a graph, seen before or not: for timing.
    bool always = false;
    void begin() { used_ = 0; }
    Graph &next() {
        // What is over this many is not kept apart: a long prompt's commands differ anyway.
        constexpr size_t most = 64;
        if (used_ == all_.size() && used_ < most) all_.emplace_back();
        return all_[used_++ % most];
    }

  private:
    std::vector<Graph> all_;
    size_t used_ = 0;
};

class CudaCommand final : public gpu::Command {
  public:
    CudaCommand(cudaStream_t stream, Graphs &graphs) : stream_(stream), graphs_(graphs) {
        MUST(cudaEventCreate(&start_));
        MUST(cudaEventCreate(&end_));
        live++;
    }
    ~CudaCommand() override {
        cudaEventDestroy(start_);
        cudaEventDestroy(end_);
        live--;
    }
    void use(const gpu::Pipeline &pipeline) override {
        kernel_ = &static_cast<const CudaPipeline &>(pipeline).kernel;
        memset(bound_, 0, sizeof bound_);
        next_ = {};
    }
    void bind(uint32_t index, gpu::Buffer &buffer, size_t offset) override {
        auto &target = static_cast<CudaBuffer &>(buffer);
        if (index >= FM_MAX_BUFFERS || offset >= target.size()) misuse("index or offset of a buffer");
        bound_[index] = &target;
        next_.buffers.address[index] = static_cast<char *>(target.address) + offset;
    }
    void bind_bytes(uint32_t index, const void *bytes, size_t size) override {
        size_t place = 0, array = 0;
        for (const CudaBinding &binding : kernel_->bindings) {
            if (binding.index == index) place = binding.array ? FM_STRUCTURE_BYTES + array * FM_ARRAY_BYTES : 0;
            array += binding.array;
            if (binding.index == index && size > (binding.array ? size_t{FM_ARRAY_BYTES} : binding.bytes)) misuse("inline bytes");
        }
        memcpy(next_.values.bytes + place, bytes, size);
    }
    void dispatch(gpu::Size3 groups, gpu::Size3 threads) override {
        for (const CudaBinding &binding : kernel_->bindings) {
            if (binding.bytes != 0) continue;
            if (bound_[binding.index] == nullptr) misuse(kernel_->name + " lacks a buffer");
            used_.insert(bound_[binding.index]);
            if (binding.writable) written_.insert(bound_[binding.index]);
        }
        used_kernels().insert(kernel_->name);
        if (!kernel_->name.starts_with(launched_prefix())) return;
        next_.kernel = kernel_;
        next_.groups = dim3(groups.x, groups.y, groups.z);
        next_.threads = dim3(threads.x, threads.y, threads.z);
        recorded_.push_back(next_);
    }
    // Launches of one stream follow each other anyway.
    void barrier() override {}
    void commit() override {
        for (CudaBuffer *buffer : used_) {
            if (!buffer->device_newer) buffer->upload(stream_);
        }
        for (CudaBuffer *buffer : written_) buffer->device_newer = true;
        if (is_timed()) return launch_timed();
        // One graph, built when everything is known: a launch by itself costs more than most of these kernels. The one that was as
        // many commands behind a wait takes this one's arguments where its kernels are the same, as a token's are the last one's.
        std::vector<const void *> kernels;
        for (const Recorded &call : recorded_) kernels.push_back(call.kernel->entry);
        Graph &kept = graphs_.next();
        // What has not been seen before may not come again: a graph costs more than it saves then.
        if (!graphs_.always && kept.kernels != kernels && kept.seen != kernels) {
            kept.seen = std::move(kernels);
            MUST(cudaEventRecord(start_, stream_));
            for (Recorded &call : recorded_) launch(call);
            MUST(cudaEventRecord(end_, stream_));
            return;
        }
        cudaGraph_t graph;
        MUST(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
        for (Recorded &call : recorded_) launch(call);
        MUST(cudaStreamEndCapture(stream_, &graph));
        if (kept.executable != nullptr && kept.kernels == kernels) {
            cudaGraphExecUpdateResultInfo changed;
            MUST(cudaGraphExecUpdate(kept.executable, graph, &changed));
        } else {
            // It may be on its way.
            if (kept.executable != nullptr) {
                MUST(cudaStreamSynchronize(stream_));
                MUST(cudaGraphExecDestroy(kept.executable));
            }
            MUST(cudaGraphInstantiate(&kept.executable, graph, 0));
            kept.kernels = std::move(kernels);
        }
        MUST(cudaGraphDestroy(graph));
        MUST(cudaEventRecord(start_, stream_));
        MUST(cudaGraphLaunch(kept.executable, stream_));
        MUST(cudaEventRecord(end_, stream_));
    }
    std::string wait() override {
        const cudaError_t status = cudaStreamSynchronize(stream_);
        if (status != cudaSuccess) return cudaGetErrorString(status);
        // The whole stream has come to its end, later commands included.
        for (CudaBuffer *buffer : written_) {
            buffer->download();
            buffer->device_newer = false;
        }
        float milliseconds = 0;
        MUST(cudaEventElapsedTime(&milliseconds, start_, end_));
        seconds_ = milliseconds / 1000;
        graphs_.begin();
        return "";
    }
    double seconds() const override { return seconds_; }

  private:
    void launch(Recorded &call) {
        void *arguments[] = {&call.buffers, &call.values};
        MUST(cudaLaunchKernel(call.kernel->entry, call.groups, call.threads, arguments, 0, stream_));
    }
    void launch_timed() {
        cudaEvent_t before, after;
        MUST(cudaEventCreate(&before));
        MUST(cudaEventCreate(&after));
        MUST(cudaEventRecord(start_, stream_));
        for (Recorded &call : recorded_) {
            MUST(cudaEventRecord(before, stream_));
            launch(call);
            MUST(cudaEventRecord(after, stream_));
            MUST(cudaEventSynchronize(after));
            float milliseconds = 0;
            MUST(cudaEventElapsedTime(&milliseconds, before, after));
            auto &[launches, seconds] = times()[call.kernel->name];
            launches++;
            seconds += milliseconds / 1000;
        }
        MUST(cudaEventRecord(end_, stream_));
        MUST(cudaEventDestroy(before));
        MUST(cudaEventDestroy(after));
    }

    cudaStream_t stream_;
    Graphs &graphs_;
    cudaEvent_t start_, end_;
    const CudaKernel *kernel_ = nullptr;
    CudaBuffer *bound_[FM_MAX_BUFFERS] = {};
    Recorded next_{};
    std::vector<Recorded> recorded_;
    std::set<CudaBuffer *> used_, written_;
    double seconds_ = 0;
};

class CudaDevice final : public gpu::Device {
  public:
    explicit CudaDevice(bool graphs) {
        graphs_.always = graphs;
        MUST(cudaStreamCreate(&stream_));
    }
    ~CudaDevice() override { cudaStreamDestroy(stream_); }
    gpu::DeviceFacts facts() const override {
        cudaDeviceProp properties;
        MUST(cudaGetDeviceProperties(&properties, 0));
        return {properties.name, properties.totalGlobalMem, properties.totalGlobalMem, false};
    }
    std::unique_ptr<gpu::Buffer> allocate(size_t bytes) override {
        auto buffer = std::make_unique<CudaBuffer>(nullptr, bytes);
        // Poison: what a kernel reads that nobody wrote is no number.
        MUST(cudaMemset(buffer->address, 0xff, bytes));
        return buffer;
    }
    std::unique_ptr<gpu::Buffer> wrap(void *memory, size_t bytes) override {
        return std::make_unique<CudaBuffer>(memory, bytes);
    }
    std::string compile(const std::string &source) override { return source.empty() ? "no kernel source" : ""; }
    std::unique_ptr<gpu::Pipeline> pipeline(const std::string &name, std::string &problem) override {
        auto found = table().find(name);
        if (found == table().end()) {
            problem = "no kernel of that name";
            return nullptr;
        }
        return std::make_unique<CudaPipeline>(found->second);
    }
    std::unique_ptr<gpu::Command> command() override { return std::make_unique<CudaCommand>(stream_, graphs_); }

  private:
    Graphs graphs_;
    cudaStream_t stream_ = nullptr;
};

__global__ void randomise(uint32_t *words, size_t count, uint32_t seed) {
    for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count; i += size_t{gridDim.x} * blockDim.x) {
        uint32_t z = static_cast<uint32_t>(i) * 0x9E3779B9u + seed;
        z = (z ^ (z >> 16)) * 0x85EBCA6Bu;
        z = (z ^ (z >> 13)) * 0xC2B2AE35u;
        // Exponents below one, so that as bf16, f16 or f32 everything is small and finite.
        words[i] = (z ^ (z >> 16)) & 0xbbffbbffu;
    }
}

} // namespace

CudaRegistration::CudaRegistration(CudaKernel kernel) {
    const std::string name = kernel.name;
    if (!table().emplace(name, std::move(kernel)).second) abort();
}

std::unique_ptr<flashmoe::gpu::Device> open_cuda_device(bool graphs) { return std::make_unique<CudaDevice>(graphs); }

std::unique_ptr<flashmoe::gpu::Buffer> resident_buffer(size_t bytes, uint32_t seed) {
    auto buffer = std::make_unique<CudaBuffer>(nullptr, bytes);
    randomise<<<2048, 256>>>(static_cast<uint32_t *>(buffer->address), bytes / 4, seed);
    MUST(cudaDeviceSynchronize());
    return buffer;
}

void time_cuda_kernels(bool timed) { is_timed() = timed; }

std::map<std::string, std::pair<uint64_t, double>> cuda_kernel_times() { return times(); }

void launch_only(const std::string &prefix) { launched_prefix() = prefix; }

int live_cuda_objects() { return live; }

std::vector<std::string> cuda_kernels_never_run() {
    std::vector<std::string> names;
    for (const auto &[name, kernel] : table()) {
        if (!used_kernels().contains(name)) names.push_back(name);
    }
    return names;
}

double copy_bandwidth() {
    constexpr size_t bytes = size_t{2} << 30;
    void *from, *to;
    MUST(cudaMalloc(&from, bytes));
    MUST(cudaMalloc(&to, bytes));
    MUST(cudaMemset(from, 1, bytes));
    cudaEvent_t start, end;
    MUST(cudaEventCreate(&start));
    MUST(cudaEventCreate(&end));
    float best = 1e9f;
    for (int i = 0; i < 8; i++) {
        MUST(cudaEventRecord(start));
        MUST(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice));
        MUST(cudaEventRecord(end));
        MUST(cudaEventSynchronize(end));
        float milliseconds = 0;
        MUST(cudaEventElapsedTime(&milliseconds, start, end));
        if (i > 0 && milliseconds < best) best = milliseconds;
    }
    MUST(cudaFree(from));
    MUST(cudaFree(to));
    return 2.0 * bytes / (best / 1000);
}
