// Metal's classes over the executed kernels, as strict as Metal's own validation layer: misuse stops the program
// where it happens. Members are plain pointers: the GNU runtime runs no constructors of C++ members.
#import "Metal/Metal.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <unistd.h>

#include "device/executed_device.h"
#include "stand_in.h"

using namespace flashmoe;

static std::atomic<int> live{0};
static fm_msl::ExecutedOptions executed;

int fm_stand_in_live() { return live; }
void fm_stand_in_options(const fm_msl::ExecutedOptions &options) { executed = options; }

static NSError *error_of(NSString *domain, const std::string &text) {
    NSDictionary *info = [NSDictionary dictionaryWithObject:[NSString stringWithUTF8String:text.c_str()]
                                                     forKey:NSLocalizedDescriptionKey];
    return [NSError errorWithDomain:domain code:1 userInfo:info];
}

static void demand(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "Metal: %s\n", what);
    abort();
}

/// Counts itself, so that a release too few or too many is seen.
@interface Counted : NSObject
@end
@implementation Counted
- (id)init {
    live++;
    return [super init];
}
- (void)dealloc {
    live--;
    [super dealloc];
}
@end

@implementation NSProcessInfo (LowPower)
- (BOOL)isLowPowerModeEnabled {
    return executed.shortcomings.low_power;
}
- (BOOL)runsMacOS15 {
    return !executed.shortcomings.macos_14;
}
@end

@implementation MTLCompileOptions
- (id)init {
    _mathMode = MTLMathModeFast; // Metal's default
    return [super init];
}
- (void)setLanguageVersion:(MTLLanguageVersion)version {
    _version = version;
}
- (MTLLanguageVersion)languageVersion {
    return _version;
}
- (void)setFastMathEnabled:(BOOL)enabled {
    _mathMode = enabled ? MTLMathModeFast : MTLMathModeSafe;
}
- (BOOL)fastMathEnabled {
    return _mathMode == MTLMathModeFast;
}
- (void)setMathMode:(MTLMathMode)mode {
    demand(!executed.shortcomings.macos_14, "a selector of macOS 15 on macOS 14");
    _mathMode = mode;
}
- (MTLMathMode)mathMode {
    return _mathMode;
}
@end

@interface StandInBuffer : Counted <MTLBuffer> {
  @public
    gpu::Buffer *_buffer;
}
@end
@implementation StandInBuffer
- (void)dealloc {
    delete _buffer;
    [super dealloc];
}
- (void *)contents {
    return _buffer->contents();
}
- (NSUInteger)length {
    return _buffer->size();
}
@end

@implementation MTLResidencySetDescriptor
- (id)init {
    demand(!executed.shortcomings.macos_14, "a class of macOS 15 on macOS 14");
    return [super init];
}
@end

/// What was added and not removed; a commit is due after every change.
@interface StandInResidency : Counted <MTLResidencySet> {
  @public
    NSMutableArray *_members;
    bool _changed;
}
@end
@implementation StandInResidency
- (id)init {
    _members = [[NSMutableArray alloc] init];
    return [super init];
}
- (void)dealloc {
    demand([_members count] == 0, "a residency set outlived by what is in it");
    [_members release];
    [super dealloc];
}
- (void)addAllocation:(id<MTLAllocation>)allocation {
    demand(allocation != nil && ![_members containsObject:allocation], "a buffer made resident twice");
    [_members addObject:allocation];
    _changed = true;
}
- (void)removeAllocation:(id<MTLAllocation>)allocation {
    demand([_members containsObject:allocation], "a buffer removed that was never made resident");
    [_members removeObject:allocation];
    _changed = true;
}
- (void)commit {
    demand(_changed, "a residency set committed without a change");
    _changed = false;
}
@end

static id<MTLBuffer> buffer_of(std::unique_ptr<gpu::Buffer> given) {
    if (given == nullptr) return nil;
    StandInBuffer *buffer = [[StandInBuffer alloc] init];
    buffer->_buffer = given.release();
    return buffer;
}

@interface StandInFunction : Counted <MTLFunction> {
  @public
    NSString *_name;
}
@end
@implementation StandInFunction
- (void)dealloc {
    [_name release];
    [super dealloc];
}
@end

@interface StandInLibrary : Counted <MTLLibrary>
@end
@implementation StandInLibrary
- (id<MTLFunction>)newFunctionWithName:(NSString *)name {
    if (fm_msl::find_kernel([name UTF8String]) == nullptr) return nil;
    StandInFunction *function = [[StandInFunction alloc] init];
    function->_name = [name retain];
    return function;
}
@end

@interface StandInState : Counted <MTLComputePipelineState> {
  @public
    gpu::Pipeline *_pipeline;
}
@end
@implementation StandInState
- (void)dealloc {
    delete _pipeline;
    [super dealloc];
}
- (NSUInteger)maxTotalThreadsPerThreadgroup {
    return _pipeline->max_threads();
}
- (NSUInteger)threadExecutionWidth {
    return _pipeline->simd_width();
}
@end

@interface StandInCommands : Counted <MTLCommandBuffer> {
  @public
    gpu::Command *_command;
    bool _encoding, _committed, _completed;
    std::string *_failure;
}
@end

@interface StandInEncoder : Counted <MTLComputeCommandEncoder> {
  @public
    StandInCommands *_commands;
    bool _ended;
}
@end
@implementation StandInEncoder
- (void)dealloc {
    demand(_ended, "an encoder was released before endEncoding");
    [_commands release];
    [super dealloc];
}
- (gpu::Command &)open {
    demand(!_ended, "encoding after endEncoding");
    return *_commands->_command;
}
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state {
    demand(state != nil, "no pipeline state");
    [self open].use(*((StandInState *)state)->_pipeline);
}
- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index {
    demand(buffer != nil, "no buffer");
    [self open].bind(index, *((StandInBuffer *)buffer)->_buffer, offset);
}
- (void)setBytes:(const void *)bytes length:(NSUInteger)length atIndex:(NSUInteger)index {
    [self open].bind_bytes(index, bytes, length);
}
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads {
    const auto size = [](MTLSize s) { return gpu::Size3{uint32_t(s.width), uint32_t(s.height), uint32_t(s.depth)}; };
    [self open].dispatch(size(groups), size(threads));
}
- (void)memoryBarrierWithScope:(MTLBarrierScope)scope {
    demand(scope == MTLBarrierScopeBuffers, "a barrier for something else than buffers");
    [self open].barrier();
}
- (void)endEncoding {
    demand(!_ended, "endEncoding twice");
    _ended = true;
    _commands->_encoding = false;
}
@end

@implementation StandInCommands
- (void)dealloc {
    delete _command;
    delete _failure;
    [super dealloc];
}
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type {
    demand(type == MTLDispatchTypeConcurrent, "not the dispatch type that the barriers are made for");
    demand(!_encoding && !_committed, "a second encoder, or one after commit");
    StandInEncoder *encoder = [[[StandInEncoder alloc] init] autorelease];
    encoder->_commands = [self retain];
    _encoding = true;
    return encoder;
}
- (void)commit {
    demand(!_encoding, "commit with an open encoder");
    demand(!_committed, "commit twice");
    _committed = true;
    _command->commit();
}
- (void)waitUntilCompleted {
    demand(_committed, "wait before commit");
    delete _failure;
    _failure = new std::string(_command->wait());
    _completed = true;
}
- (MTLCommandBufferStatus)status {
    demand(_completed, "status of a command buffer that nobody waited for");
    return _failure->empty() ? MTLCommandBufferStatusCompleted : MTLCommandBufferStatusError;
}
- (NSError *)error {
    return _failure->empty() ? nil : error_of(@"MTLCommandBufferErrorDomain", *_failure);
}
- (double)GPUStartTime {
    return 1;
}
- (double)GPUEndTime {
    return 2;
}
@end

@interface StandInQueue : Counted <MTLCommandQueue> {
  @public
    gpu::Device *_device;
    StandInResidency *_residency;
}
@end
@implementation StandInQueue
- (void)dealloc {
    [_residency release];
    [super dealloc];
}
- (void)addResidencySet:(id<MTLResidencySet>)set {
    demand(set != nil && _residency == nil, "no residency set, or a second one");
    _residency = [(StandInResidency *)set retain];
}
- (id<MTLCommandBuffer>)commandBuffer {
    demand(_residency == nil || !_residency->_changed, "a residency set that was changed and not committed");
    gpu::Command *command = _device->command().release();
    if (command == nullptr) return nil;
    StandInCommands *commands = [[[StandInCommands alloc] init] autorelease];
    commands->_command = command;
    return commands;
}
@end

@interface StandInDevice : Counted <MTLDevice> {
  @public
    gpu::Device *_device;
}
@end
@implementation StandInDevice
- (void)dealloc {
    delete _device;
    [super dealloc];
}
- (NSString *)name {
    return @"stand-in for Metal";
}
- (uint64_t)recommendedMaxWorkingSetSize {
    return _device->facts().recommended_working_set;
}
- (NSUInteger)maxBufferLength {
    return _device->facts().max_buffer_bytes;
}
- (BOOL)supportsFamily:(MTLGPUFamily)family {
    demand(family == MTLGPUFamilyApple7, "another family than the one that is needed");
    return !executed.shortcomings.paravirtual;
}
- (id<MTLResidencySet>)newResidencySetWithDescriptor:(MTLResidencySetDescriptor *)descriptor error:(NSError **)error {
    demand(descriptor != nil && error != nullptr, "no descriptor, or nobody wants to know of errors");
    return [[StandInResidency alloc] init];
}
- (id<MTLCommandQueue>)newCommandQueue {
    StandInQueue *queue = [[StandInQueue alloc] init];
    queue->_device = _device;
    return queue;
}
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options {
    demand(options == MTLResourceStorageModeShared, "memory that the host cannot see");
    demand(length > 0, "a buffer of nothing");
    return buffer_of(_device->allocate(length));
}
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void *)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void *)deallocator {
    demand(options == MTLResourceStorageModeShared && deallocator == nullptr, "options of a buffer without a copy");
    // A mapped file begins on a page of the system, which is 16 KiB on Apple silicon and may be smaller here.
    demand((uintptr_t)pointer % sysconf(_SC_PAGESIZE) == 0 && length % 16384 == 0, "a buffer without a copy takes whole pages");
    return buffer_of(_device->wrap(pointer, length));
}
- (id<MTLLibrary>)newLibraryWithSource:(NSString *)source options:(MTLCompileOptions *)options error:(NSError **)error {
    demand(options != nil && ![options fastMathEnabled], "fast math is on");
    demand([options languageVersion] == MTLLanguageVersion3_1, "not the language version with bfloat");
    demand(error != nullptr, "nobody wants to know of errors");
    const std::string problem = _device->compile([source UTF8String]);
    if (problem.empty()) return [[StandInLibrary alloc] init];
    *error = error_of(@"MTLLibraryErrorDomain", problem);
    return nil;
}
- (id<MTLComputePipelineState>)newComputePipelineStateWithFunction:(id<MTLFunction>)function error:(NSError **)error {
    demand(function != nil && error != nullptr, "no function, or nobody wants to know of errors");
    std::string problem;
    gpu::Pipeline *pipeline = _device->pipeline([((StandInFunction *)function)->_name UTF8String], problem).release();
    if (pipeline == nullptr) {
        *error = error_of(@"MTLLibraryErrorDomain", problem);
        return nil;
    }
    StandInState *state = [[StandInState alloc] init];
    state->_pipeline = pipeline;
    return state;
}
@end

static id<MTLDevice> new_device() {
    StandInDevice *device = [[StandInDevice alloc] init];
    device->_device = fm_msl::open_executed_device(executed).release();
    return device;
}

id<MTLDevice> MTLCreateSystemDefaultDevice(void) { return executed.shortcomings.no_default_device ? nil : new_device(); }

NSArray *MTLCopyAllDevices(void) {
    if (executed.shortcomings.no_listed_device) return [[NSArray alloc] init];
    id<MTLDevice> device = [new_device() autorelease];
    return [[NSArray arrayWithObject:device] retain];
}
