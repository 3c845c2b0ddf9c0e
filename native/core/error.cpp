#include "core/error.h"

#include <cerrno>
#include <cstring>

const char* fm_status_name(fm_status status) {
    switch (status) {
    case FM_OK: return "OK";
    case FM_MODEL_DAMAGED: return "ERR_MODEL_DAMAGED";
    case FM_MODEL_MISSING: return "ERR_MODEL_MISSING";
    case FM_UNSUPPORTED_MODEL: return "ERR_UNSUPPORTED_MODEL";
    case FM_CONTEXT: return "ERR_CONTEXT";
    case FM_IO: return "ERR_IO";
    case FM_INTERRUPTED: return "ERR_INTERRUPTED";
    case FM_ENGINE: break;
    }
    return "ERR_ENGINE";
}

namespace flashmoe {

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
    throw Error(errno_name(error), path + ": " + action + " failed: " + std::strerror(error));
}

void fail_plan(const std::string& message) { throw Error("ERR_PLAN", message); }

} // namespace flashmoe
