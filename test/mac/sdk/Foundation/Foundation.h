// The part of Foundation that metal_device.mm uses, over the Objective-C runtime's own headers, so that a compiler which
// targets macOS but has no SDK of Apple's can build the file for Apple's ABI. Names and types as Apple documents them.
#pragma once

#include <objc/NSObject.h>
#include <objc/objc.h>
#include <stdint.h>

typedef double NSTimeInterval;

@interface NSString : NSObject
+ (instancetype)stringWithUTF8String:(const char *)text;
- (const char *)UTF8String;
@end

@interface NSError : NSObject
- (NSString *)localizedDescription;
@end

@interface NSArray : NSObject
- (NSUInteger)count;
- (id)objectAtIndex:(NSUInteger)index;
@end

@interface NSAutoreleasePool : NSObject
- (void)drain;
@end

@interface NSProcessInfo : NSObject
+ (NSProcessInfo *)processInfo;
@end
