#include "pack/failure.h"

#include <cerrno>
#include <cstring>

namespace flashmoe::pack {

namespace {

const char* errno_name(int error) {
    switch (error) {
    case ENOSPC: return "ENOSPC";
    case EDQUOT: return "EDQUOT";
    case EFBIG: return "EFBIG";
    case EIO: return "EIO";
    case EROFS: return "EROFS";
    case EACCES: return "EACCES";
    case EPERM: return "EPERM";
    case ENOENT: return "ENOENT";
    case ENOTDIR: return "ENOTDIR";
    case EISDIR: return "EISDIR";
    case ELOOP: return "ELOOP";
    case EMFILE: return "EMFILE";
    case ENFILE: return "ENFILE";
    case ENOMEM: return "ENOMEM";
    case ENXIO: return "ENXIO";
    case ESTALE: return "ESTALE";
    default: return "ERR_IO";
    }
}

} // namespace

void fail_errno(const std::string& path, const char* action, int error) {
    throw Failure(errno_name(error), path + ": " + action + " failed: " + std::strerror(error));
}

void fail_plan(const std::string& message) { throw Failure("ERR_PLAN", message); }

} // namespace flashmoe::pack
