/* Preloaded into a server: reads of layer files fail as the file $FLASHMOE_FAULT says, which may change at any time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*read_at)(int, void *, size_t, off_t);

static int is_layer(int descriptor) {
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = '\0';
    return strstr(path, "/layer_") != NULL;
}

static char fault(void) {
    char kind = '-';
    const int descriptor = open(getenv("FLASHMOE_FAULT"), O_RDONLY);
    if (descriptor < 0) return kind;
    if (read(descriptor, &kind, 1) != 1) kind = '-';
    close(descriptor);
    return kind;
}

static ssize_t faulty(read_at real, int descriptor, void *target, size_t bytes, off_t offset) {
    static __thread int calls;
    if (!is_layer(descriptor)) return real(descriptor, target, bytes, offset);
    switch (fault()) {
    case 'e': errno = EIO; return -1;
    case 'g': errno = ENXIO; return -1; /* as of a disk that was pulled out */
    case 'z': return 0;
    case 's': return real(descriptor, target, bytes > 100 ? bytes / 2 : bytes, offset);
    case 'i':
        if (++calls % 2 == 0) return real(descriptor, target, bytes, offset);
        errno = EINTR;
        return -1;
    }
    return real(descriptor, target, bytes, offset);
}

ssize_t pread(int descriptor, void *target, size_t bytes, off_t offset) {
    return faulty((read_at)dlsym(RTLD_NEXT, "pread"), descriptor, target, bytes, offset);
}

ssize_t pread64(int descriptor, void *target, size_t bytes, off_t offset) {
    return faulty((read_at)dlsym(RTLD_NEXT, "pread64"), descriptor, target, bytes, offset);
}
