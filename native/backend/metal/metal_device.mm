// The thin device API over Metal. No planning, no caching, no layout: what can be decided elsewhere is.
// Manual retain and release and no blocks, so that the same file also compiles where the runtime has neither ARC nor
// blocks: it is tested that way.
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include "backend/metal/device.h"

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

class MetalBuffer final : public Buffer {
  public:
    explicit MetalBuffer(id<MTLBuffer> owned) : buffer(owned) {}
    ~MetalBuffer() override { [buffer release]; }
    std::byte* contents() override { return static_cast<std::byte*>([buffer contents]); }
    size_t size() const override { return [buffer length]; }

    const id<MTLBuffer> buffer;
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
    explicit MetalDevice(id<MTLDevice> owned) : device_(owned), queue_([owned newCommandQueue]) {}
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
        [options setFastMathEnabled:NO];
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
    static std::unique_ptr<Buffer> owned(id<MTLBuffer> buffer) {
        return buffer == nil ? nullptr : std::make_unique<MetalBuffer>(buffer);
    }

    const id<MTLDevice> device_;
    const id<MTLCommandQueue> queue_;
    id<MTLLibrary> library_ = nil;
};

} // namespace

std::unique_ptr<Device> open_device(std::string& reason) {
    const Pool pool;
    id<MTLDevice> device = MTLCreateSystemDefaultDevice();
    if (device == nil) {
        reason = "this machine shows no Metal device";
        return nullptr;
    }
    auto opened = std::make_unique<MetalDevice>(device);
    if (opened->is_open()) return opened;
    reason = "the Metal device gives no command queue";
    return nullptr;
}

} // namespace flashmoe::gpu
