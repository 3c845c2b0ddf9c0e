#include "experts/read_experts.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <sys/uio.h>
#include <unistd.h>

namespace flashmoe {
namespace {

/// What is still to come of bytes [done, end), counted from the first expert's start: expert i's stride goes to targets[i].
uint32_t rest_of(uint64_t done, uint64_t end, uint64_t stride, std::byte* const* targets, iovec* parts) {
    uint32_t count = 0;
    for (uint64_t at = done; at < end; ++count) {
        const uint64_t within = at % stride, size = std::min(stride - within, end - at);
        parts[count] = {targets[at / stride] + within, static_cast<size_t>(size)};
        at += size;
    }
    return count;
}

} // namespace

uint32_t read_experts(const ExpertLayer& layer, uint32_t first, uint32_t count, std::byte* const* targets, std::string& failure) {
    const ExpertShape& shape = layer.shape(first);
    const uint64_t stride = shape.expert_stride, start = layer.offset(first);
    // What lies between two experts is read over; behind the last one nothing needs to be.
    const uint64_t needed = (count - 1) * stride + shape.expert_size, end = (count - 1) * stride + shape.read_size;
    uint64_t done = 0;
    while (done < needed) {
        iovec parts[kMaxRun];
        const uint32_t some = rest_of(done, end, stride, targets, parts);
        const auto at = static_cast<off_t>(start + done);
        const ssize_t got = some == 1 ? pread(layer.file.descriptor(), parts[0].iov_base, parts[0].iov_len, at)
                                      : preadv(layer.file.descriptor(), parts, static_cast<int>(some), at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            const int reason = errno;
            const uint64_t expert = done / stride;
            std::ostringstream text;
            text << layer.file.path() << ": expert " << first + expert << ": read of " << expert * stride + shape.expert_size - done
                 << " bytes at offset " << start + done << (got == 0 ? " fell short: the file ends there" : " failed: ")
                 << (got == 0 ? "" : std::strerror(reason));
            failure = text.str();
            return static_cast<uint32_t>(expert);
        }
        done += static_cast<uint64_t>(got);
    }
    return count;
}

} // namespace flashmoe
