// The thin device API over Metal. No planning, no caching, no layout: what can be decided elsewhere is.
// Manual retain and release and no blocks, so that the same file also compiles where the runtime has neither ARC nor
// blocks: it is tested that way.
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include <mutex>

#include "backend/metal/device.h"

// What macOS 15 added: declared by its SDK and newer ones, there at run time where the system is new enough.
#if !defined(__APPLE__) || (defined(__MAC_15_0) && __MAC_OS_X_VERSION_MAX_ALLOWED >= __MAC_15_0)
#define FM_DECLARES_MACOS_15 1
#else
#define FM_DECLARES_MACOS_15 0
#endif
#ifdef __APPLE__
#define FM_RUNS_MACOS_15 __builtin_available(macOS 15.0, *)
#else
#define FM_RUNS_MACOS_15 [[NSProcessInfo processInfo] runsMacOS15]
#endif

namespace flashmoe::gpu {
namespace {

/// Every call into Metal may leave autoreleased objects behind; a thread of ours has no pool of its own.
class Pool {
  public:
    Pool() : pool_([[NSAutoreleasePool alloc] init]) {}
    ~Pool() { [pool_ drain]; }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

  private:
    NSAutoreleasePool* pool_;
};

std::string text_of(NSError* error, const char* otherwise) {
    if (error == nil || [error localizedDescription] == nil) return otherwise;
    return [[error localizedDescription] UTF8String];
}

MTLSize size_of(Size3 size) { return MTLSizeMake(size.x, size.y, size.z); }

/// Tells the system which buffers the GPU is about to use, once for all of them instead of with every command buffer.
/// Before macOS 15 there is no such thing, and Metal makes each buffer resident when a command buffer names it.
class Residency {
  public:
    Residency(id<MTLDevice> device, id<MTLCommandQueue> queue) {
#if FM_DECLARES_MACOS_15
        if (FM_RUNS_MACOS_15) {
            MTLResidencySetDescriptor* descriptor = [[[MTLResidencySetDescriptor alloc] init] autorelease];
            NSError* error = nil;
            id<MTLResidencySet> set = [device newResidencySetWithDescriptor:descriptor error:&error];
            if (set != nil) [queue addResidencySet:set];
            set_ = set;
        }
#endif
        (void)device, (void)queue;
    }
    ~Residency() { [set_ release]; }
    Residency(const Residency&) = delete;
    Residency& operator=(const Residency&) = delete;

    void add(id<MTLBuffer> buffer) { change(buffer, true); }
    void remove(id<MTLBuffer> buffer) { change(buffer, false); }

  private:
    void change(id<MTLBuffer> buffer, bool resident) {
#if FM_DECLARES_MACOS_15
        if (set_ == nil) return;
        if (FM_RUNS_MACOS_15) {
            // Sessions come and go on threads of their own, and a set may be changed by one at a time.
            const std::lock_guard lock(changing_);
            const Pool pool;
            id<MTLResidencySet> set = set_;
            if (resident) {
                [set addAllocation:buffer];
            } else {
                [set removeAllocation:buffer];
            }
            [set commit];
        }
#endif
        (void)buffer, (void)resident;
    }

    /// id and not id<MTLResidencySet>: older SDKs have no such protocol.
    id set_ = nil;
    std::mutex changing_;
};

class MetalBuffer final : public Buffer {
  public:
    MetalBuffer(id<MTLBuffer> owned, std::shared_ptr<Residency> residency) : buffer(owned), residency_(std::move(residency)) {
        residency_->add(buffer);
    }
    ~MetalBuffer() override {
        residency_->remove(buffer);
        [buffer release];
    }
    std::byte* contents() override { return static_cast<std::byte*>([buffer contents]); }
    size_t size() const override { return [buffer length]; }

    const id<MTLBuffer> buffer;

  private:
    /// Shared: a buffer may outlive its device.
    const std::shared_ptr<Residency> residency_;
};

class MetalPipeline final : public Pipeline {
  public:
    explicit MetalPipeline(id<MTLComputePipelineState> owned) : state(owned) {}
    ~MetalPipeline() override { [state release]; }
    uint32_t max_threads() const override { return static_cast<uint32_t>([state maxTotalThreadsPerThreadgroup]); }
    uint32_t simd_width() const override { return static_cast<uint32_t>([state threadExecutionWidth]); }

    const id<MTLComputePipelineState> state;
};

class MetalCommand final : public Command {
  public:
    explicit MetalCommand(id<MTLCommandQueue> queue) {
        const Pool pool;
        buffer_ = [[queue commandBuffer] retain];
        encoder_ = [[buffer_ computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent] retain];
    }
    ~MetalCommand() override {
        // An encoder may not be released while it is open.
        if (!committed_) [encoder_ endEncoding];
        [encoder_ release];
        [buffer_ release];
    }
    bool is_open() const { return buffer_ != nil && encoder_ != nil; }

    void use(const Pipeline& pipeline) override {
        [encoder_ setComputePipelineState:static_cast<const MetalPipeline&>(pipeline).state];
    }
    void bind(uint32_t index, Buffer& buffer, size_t offset) override {
        [encoder_ setBuffer:static_cast<MetalBuffer&>(buffer).buffer offset:offset atIndex:index];
    }
    void bind_bytes(uint32_t index, const void* bytes, size_t size) override {
        [encoder_ setBytes:bytes length:size atIndex:index];
    }
    void dispatch(Size3 threadgroups, Size3 threads) override {
        [encoder_ dispatchThreadgroups:size_of(threadgroups) threadsPerThreadgroup:size_of(threads)];
    }
    void barrier() override { [encoder_ memoryBarrierWithScope:MTLBarrierScopeBuffers]; }
    void commit() override {
        const Pool pool;
        [encoder_ endEncoding];
        [buffer_ commit];
        committed_ = true;
    }
    std::string wait() override {
        const Pool pool;
        [buffer_ waitUntilCompleted];
        if ([buffer_ status] == MTLCommandBufferStatusCompleted) return "";
        return text_of([buffer_ error], "the command buffer did not complete, and Metal says not why");
    }
    double seconds() const override { return [buffer_ GPUEndTime] - [buffer_ GPUStartTime]; }

  private:
    id<MTLCommandBuffer> buffer_ = nil;
    id<MTLComputeCommandEncoder> encoder_ = nil;
    bool committed_ = false;
};

class MetalDevice final : public Device {
  public:
    explicit MetalDevice(id<MTLDevice> owned)
        : device_(owned), queue_([owned newCommandQueue]), residency_(std::make_shared<Residency>(device_, queue_)) {}
    ~MetalDevice() override {
        [library_ release];
        [queue_ release];
        [device_ release];
    }
    bool is_open() const { return queue_ != nil; }

    DeviceFacts facts() const override {
        const Pool pool;
        return {.name = [[device_ name] UTF8String],
                .recommended_working_set = [device_ recommendedMaxWorkingSetSize],
                .max_buffer_bytes = [device_ maxBufferLength],
                .low_power = static_cast<bool>([[NSProcessInfo processInfo] isLowPowerModeEnabled])};
    }
    std::unique_ptr<Buffer> allocate(size_t bytes) override {
        return owned([device_ newBufferWithLength:bytes options:MTLResourceStorageModeShared]);
    }
    std::unique_ptr<Buffer> wrap(void* memory, size_t bytes) override {
        return owned([device_ newBufferWithBytesNoCopy:memory
                                                length:bytes
                                               options:MTLResourceStorageModeShared
                                           deallocator:nil]);
    }
    std::string compile(const std::string& source) override {
        const Pool pool;
        MTLCompileOptions* options = [[[MTLCompileOptions alloc] init] autorelease];
        // 3.1 has bfloat. Fast math would change results: exponentials, infinities, the order of sums.
        [options setLanguageVersion:MTLLanguageVersion3_1];
        disable_fast_math(options);
        NSError* error = nil;
        NSString* text = [NSString stringWithUTF8String:source.c_str()];
        [library_ release];
        library_ = [device_ newLibraryWithSource:text options:options error:&error];
        // A library together with an error means warnings.
        return library_ != nil ? "" : text_of(error, "no library, and Metal says not why");
    }
    std::unique_ptr<Pipeline> pipeline(const std::string& name, std::string& problem) override {
        const Pool pool;
        id<MTLFunction> function = [library_ newFunctionWithName:[NSString stringWithUTF8String:name.c_str()]];
        if (function == nil) {
            problem = "no kernel of that name";
            return nullptr;
        }
        NSError* error = nil;
        id<MTLComputePipelineState> state = [device_ newComputePipelineStateWithFunction:function error:&error];
        [function release];
        if (state == nil) {
            problem = text_of(error, "no pipeline, and Metal says not why");
            return nullptr;
        }
        return std::make_unique<MetalPipeline>(state);
    }
    std::unique_ptr<Command> command() override {
        auto command = std::make_unique<MetalCommand>(queue_);
        return command->is_open() ? std::move(command) : nullptr;
    }

  private:
    std::unique_ptr<Buffer> owned(id<MTLBuffer> buffer) {
        return buffer == nil ? nullptr : std::make_unique<MetalBuffer>(buffer, residency_);
    }
    static void disable_fast_math(MTLCompileOptions* options) {
#if FM_DECLARES_MACOS_15
        if (FM_RUNS_MACOS_15) {
            [options setMathMode:MTLMathModeSafe];
            return;
        }
#endif
        // Deprecated by what macOS 15 has instead; gcc, which compiles this file for tests, knows no such pragma.
#ifdef __clang__
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
#endif
        [options setFastMathEnabled:NO];
#ifdef __clang__
#pragma clang diagnostic pop
#endif
    }

    const id<MTLDevice> device_;
    const id<MTLCommandQueue> queue_;
    const std::shared_ptr<Residency> residency_;
    id<MTLLibrary> library_ = nil;
};

/// The first GPU of the list, retained, or nil. MTLCreateSystemDefaultDevice alone is not enough: it answers nil in
/// programs that do not link CoreGraphics and in sessions without a display, where the list still names the GPU.
id<MTLDevice> first_device() {
    NSArray* devices = MTLCopyAllDevices();
    id<MTLDevice> device = [devices count] == 0 ? nil : [[devices objectAtIndex:0] retain];
    [devices release];
    return device != nil ? device : MTLCreateSystemDefaultDevice();
}

} // namespace

std::unique_ptr<Device> open_device(std::string& reason) {
    const Pool pool;
    id<MTLDevice> device = first_device();
    if (device == nil) {
        reason = "this machine shows no Metal device";
        return nullptr;
    }
    auto opened = std::make_unique<MetalDevice>(device);
    // Kernels add over the threads of a simdgroup, which the GPU of a virtual machine reports not to do.
    if (![device supportsFamily:MTLGPUFamilyApple7]) {
        reason = opened->facts().name + " is of no GPU family from Apple 7 (M1) on: it has no SIMD-group reductions";
        return nullptr;
    }
    if (opened->is_open()) return opened;
    reason = "the Metal device gives no command queue";
    return nullptr;
}

} // namespace flashmoe::gpu
