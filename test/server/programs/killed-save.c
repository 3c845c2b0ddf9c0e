/* Preloaded into a server: SIGKILL in the middle of the write of a saved state that $FLASHMOE_KILL names: first, third or
 * header, which is written last. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*write_at)(int, const void *, size_t, off_t);

static int is_state(int descriptor) {
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = '\0';
    return strstr(path, ".partial") != NULL;
}

static int is_moment(off_t offset) {
    static atomic_int writes;
    const char *moment = getenv("FLASHMOE_KILL");
    const int write = ++writes;
    if (strcmp(moment, "header") == 0) return offset == 0;
    return write == (strcmp(moment, "third") == 0 ? 3 : 1);
}

static ssize_t write_or_die(write_at real, int descriptor, const void *bytes, size_t size, off_t offset) {
    if (!is_state(descriptor) || !is_moment(offset)) return real(descriptor, bytes, size, offset);
    real(descriptor, bytes, size / 2, offset);
    raise(SIGKILL);
    return -1;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset) {
    return write_or_die((write_at)dlsym(RTLD_NEXT, "pwrite"), descriptor, bytes, size, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off_t offset) {
    return write_or_die((write_at)dlsym(RTLD_NEXT, "pwrite64"), descriptor, bytes, size, offset);
}
