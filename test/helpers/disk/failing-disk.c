// A disk for tests, preloaded into a process: it fails on command, and it remembers what a power cut would leave.
//
// FM_DISK_ROOT     the folder that is watched; every other path is left alone
// FM_DISK_FAULT    "EIO,EROFS": each operation (open, write, truncate, sync, rename, mkdir, remove) fails the first time
//                  that it is done to a path, with the next of these errors. Read anew at each call, so that a
//                  process can set it between two runs. What has failed is said on stderr: "operation path error".
// FM_DISK_DURABLE  a folder that holds what has been synced: F<id> is the content of a file, D<id> the names in a
//                  folder (1 is the root), `ids` says which inode had which id. Content is there after fsync of the
//                  file, a name after fsync of its folder, as POSIX promises and no more.
// FM_DISK_BOOT     stands in for the boot id of the system
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))
#define PAGE 4096L
#define MOST_FDS 65536
#define MOST_FILES 65536

typedef struct {
    ino_t inode;
    unsigned char *dirty; // one byte a page
    long pages;
} Node;

static Node nodes[MOST_FILES]; // by id; 0 is none
static int node_count = 1;
static struct {
    char *path;
    ino_t inode;
} opened[MOST_FDS]; // descriptors below the root; some are closed by system calls that pass us by
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *durable, *boot;
static int ids = -1;
static char *failed[MOST_FILES]; // what has failed
static int failed_count;

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static int watched(const char *path) {
    if (!root || !path) return 0;
    size_t length = strlen(root);
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/// NULL unless it is below the root, and still what was opened there.
static const char *path_of(int fd) {
    struct stat status;
    if (fd < 0 || fd >= MOST_FDS || !opened[fd].path || fstat(fd, &status) != 0) return NULL;
    int is_it = status.st_ino == opened[fd].inode && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
    return is_it ? opened[fd].path : NULL;
}

static int number_of(const char *name, size_t length) {
    if (!strncmp(name, "EIO", length)) return EIO;
    if (!strncmp(name, "EROFS", length)) return EROFS;
    if (!strncmp(name, "EACCES", length)) return EACCES;
    if (!strncmp(name, "ENOSPC", length)) return ENOSPC;
    abort();
}

/// The `index`th of the names, around and around.
static int error_at(const char *names, int index) {
    for (const char *name = names;;) {
        size_t length = strcspn(name, ",");
        if (index-- == 0) return number_of(name, length);
        name = name[length] ? name + length + 1 : names;
    }
}

/// Whether this call fails; errno is set then.
static int fails(const char *operation, const char *path) {
    const char *names = getenv("FM_DISK_FAULT");
    if (!names || !*names) return 0;
    char key[4096];
    snprintf(key, sizeof key, "%s %s", operation, path + strlen(root));
    // What is made beside a file has another name each time, and of many layers one will do: numbers are all alike.
    char *end = key;
    for (const char *from = key; *from;) {
        size_t digits = strspn(from, "0123456789abcdef");
        size_t decimals = strspn(from, "0123456789");
        if (digits >= 8) *end++ = '*', from += digits;
        else if (decimals >= 2) *end++ = '*', from += decimals;
        else for (digits += digits == 0; digits > 0; --digits) *end++ = *from++;
    }
    *end = 0;
    pthread_mutex_lock(&mutex);
    int error = 0, index = 0;
    while (index < failed_count && strcmp(failed[index], key)) ++index;
    if (index == failed_count && failed_count < MOST_FILES) {
        failed[failed_count++] = strdup(key);
        error = error_at(names, index);
        dprintf(2, "%s %s\n", key, strerrorname_np(error));
    }
    pthread_mutex_unlock(&mutex);
    if (error) errno = error;
    return error;
}

// What is durable.

static int image(const char *kind, int id, const char *suffix, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%d%s", durable, kind, id, suffix);
    return REAL(open)(path, flags | O_CLOEXEC, 0644);
}

static int new_node(ino_t inode) {
    if (node_count == MOST_FILES) abort();
    nodes[node_count] = (Node){inode, NULL, 0};
    dprintf(ids, "%lu %d\n", (unsigned long)inode, node_count);
    return node_count++;
}

/// The newest node with that inode: numbers are used again.
static int node_of(ino_t inode) {
    for (int id = node_count - 1; id > 0; --id) {
        if (nodes[id].inode == inode) return id;
    }
    return new_node(inode);
}

static void mark_dirty(int id, long from, long to) {
    Node *node = &nodes[id];
    long pages = (to + PAGE - 1) / PAGE;
    if (pages > node->pages) {
        node->dirty = realloc(node->dirty, pages);
        memset(node->dirty + node->pages, 0, pages - node->pages);
        node->pages = pages;
    }
    for (long page = from / PAGE; page < pages; ++page) node->dirty[page] = 1;
}

static void keep_content(int fd, int id, long size) {
    int to = image("F", id, "", O_CREAT | O_RDWR);
    char page[PAGE];
    // Its own descriptor may be for writing alone.
    snprintf(page, sizeof page, "/proc/self/fd/%d", fd);
    int from = REAL(open)(page, O_RDONLY | O_CLOEXEC);
    if (to < 0 || from < 0) abort();
    for (long i = 0; i < nodes[id].pages; ++i) {
        if (!nodes[id].dirty[i]) continue;
        nodes[id].dirty[i] = 0;
        ssize_t got = pread(from, page, PAGE, i * PAGE);
        if (got > 0 && REAL(pwrite)(to, page, got, i * PAGE) != got) abort();
    }
    if (REAL(ftruncate)(to, size) != 0) abort();
    close(from);
    close(to);
}

/// The names as they are now, at once.
static void keep_names(const char *folder, int id) {
    char from[4096], to[4096], path[4096];
    FILE *list = fdopen(image("D", id, ".new", O_CREAT | O_TRUNC | O_WRONLY), "w");
    DIR *entries = opendir(folder);
    if (!list || !entries) abort();
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (lstat(path, &status) != 0) continue;
        char kind = S_ISDIR(status.st_mode) ? 'D' : S_ISREG(status.st_mode) ? 'F' : 0;
        if (kind) fprintf(list, "%c %d %s\n", kind, node_of(status.st_ino), entry->d_name);
    }
    closedir(entries);
    fclose(list);
    snprintf(from, sizeof from, "%s/D%d.new", durable, id);
    snprintf(to, sizeof to, "%s/D%d", durable, id);
    if (REAL(rename)(from, to) != 0) abort();
}

static void keep(int fd, const char *path) {
    struct stat status;
    if (fstat(fd, &status) != 0) return;
    int id = node_of(status.st_ino);
    if (S_ISDIR(status.st_mode)) keep_names(path, id);
    else keep_content(fd, id, status.st_size);
}

/// What is there at the start has long been durable.
static void keep_all(const char *folder) {
    int fd = REAL(open)(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    keep(fd, folder);
    DIR *entries = fdopendir(fd);
    for (struct dirent *entry; (entry = readdir(entries));) {
        char path[4096];
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' && (!entry->d_name[1] || !strcmp(entry->d_name, ".."))) continue;
        if (lstat(path, &status) != 0) continue;
        if (S_ISDIR(status.st_mode)) keep_all(path);
        if (!S_ISREG(status.st_mode)) continue;
        int file = REAL(open)(path, O_RDONLY | O_CLOEXEC);
        int id = node_of(status.st_ino);
        mark_dirty(id, 0, status.st_size);
        keep_content(file, id, status.st_size);
        close(file);
    }
    closedir(entries);
}

/// The value, for this process and none that it starts: there is one image.
static const char *taken(const char *name) {
    const char *value = getenv(name);
    if (value) value = strdup(value);
    unsetenv(name);
    return value;
}

__attribute__((constructor)) static void begin(void) {
    taken("LD_PRELOAD");
    root = taken("FM_DISK_ROOT");
    durable = taken("FM_DISK_DURABLE");
    boot = taken("FM_DISK_BOOT");
    if (!root || !durable) return;
    char path[4096];
    snprintf(path, sizeof path, "%s/ids", durable);
    ids = REAL(open)(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    keep_all(root);
}

static void wrote(int fd, long from, long size) {
    struct stat status;
    if (!durable || size <= 0 || fstat(fd, &status) != 0) return;
    pthread_mutex_lock(&mutex);
    mark_dirty(node_of(status.st_ino), from, from + size);
    pthread_mutex_unlock(&mutex);
}

// The calls.

static int open_it(const char *name, const char *path, int flags, mode_t mode) {
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))real(name);
    if (!watched(path)) return next(path, flags, mode);
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    if (writes && fails("open", path)) return -1;
    struct stat status;
    int was_there = lstat(path, &status) == 0;
    int fd = next(path, flags, mode);
    if (fd < 0 || fd >= MOST_FDS) return fd;
    long before = was_there ? status.st_size : 0;
    if (fstat(fd, &status) != 0) abort();
    pthread_mutex_lock(&mutex);
    // Paths are few and stay: another thread may be looking at one.
    opened[fd].path = strdup(path);
    opened[fd].inode = status.st_ino;
    if (durable && !was_there) new_node(status.st_ino);
    pthread_mutex_unlock(&mutex);
    if (flags & O_TRUNC) wrote(fd, 0, before);
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                      \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                      \
        va_end(rest);                                                                                                  \
        return open_it(#name, path, flags, mode);                                                                      \
    }
OPEN(open)
OPEN(open64)

/// Where the next plain write goes.
static long end_of(int fd) {
    struct stat status;
    if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &status) == 0) return status.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

#define WRITE(name, parameters, arguments, offset)                                                                     \
    ssize_t name parameters {                                                                                          \
        ssize_t (*next) parameters = (ssize_t(*) parameters)real(#name);                                               \
        const char *path = path_of(fd);                                                                                \
        if (!path) return next arguments;                                                                              \
        if (fails("write", path)) return -1;                                                                           \
        long from = offset;                                                                                            \
        ssize_t done = next arguments;                                                                                 \
        wrote(fd, from, done);                                                                                         \
        return done;                                                                                                   \
    }
WRITE(write, (int fd, const void *from_, size_t size), (fd, from_, size), end_of(fd))
WRITE(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), end_of(fd))
WRITE(pwrite, (int fd, const void *from_, size_t size, off_t at), (fd, from_, size, at), at)
WRITE(pwrite64, (int fd, const void *from_, size_t size, off64_t at), (fd, from_, size, at), at)
WRITE(pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at), at)
WRITE(pwritev64, (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at), at)

static int truncate_it(const char *name, int fd, off_t size) {
    int (*next)(int, off_t) = (int (*)(int, off_t))real(name);
    const char *path = path_of(fd);
    if (!path) return next(fd, size);
    if (fails("truncate", path)) return -1;
    struct stat status;
    long before = fstat(fd, &status) == 0 ? status.st_size : 0;
    int result = next(fd, size);
    if (size < before) wrote(fd, size, before - size);
    return result;
}
int ftruncate(int fd, off_t size) { return truncate_it("ftruncate", fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_it("ftruncate64", fd, size); }

static int sync_it(const char *name, int fd) {
    int (*next)(int) = (int (*)(int))real(name);
    const char *path = path_of(fd);
    if (!path) return next(fd);
    if (fails("sync", path)) return -1;
    // No need to trouble the real disk: the image is what counts.
    if (!durable) return 0;
    pthread_mutex_lock(&mutex);
    keep(fd, path);
    pthread_mutex_unlock(&mutex);
    return 0;
}
int fsync(int fd) { return sync_it("fsync", fd); }
int fdatasync(int fd) { return sync_it("fdatasync", fd); }

int rename(const char *from, const char *to) {
    if (watched(to) && fails("rename", to)) return -1;
    return REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    if (!watched(path)) return REAL(mkdir)(path, mode);
    if (fails("mkdir", path)) return -1;
    int result = REAL(mkdir)(path, mode);
    struct stat status;
    if (result == 0 && durable && lstat(path, &status) == 0) {
        pthread_mutex_lock(&mutex);
        new_node(status.st_ino);
        pthread_mutex_unlock(&mutex);
    }
    return result;
}

int unlink(const char *path) {
    if (watched(path) && fails("remove", path)) return -1;
    return REAL(unlink)(path);
}

int rmdir(const char *path) {
    if (watched(path) && fails("remove", path)) return -1;
    return REAL(rmdir)(path);
}

static FILE *fopen_it(const char *name, const char *path, const char *mode) {
    if (boot && !strcmp(path, "/proc/sys/kernel/random/boot_id")) path = boot;
    return ((FILE * (*)(const char *, const char *)) real(name))(path, mode);
}
FILE *fopen(const char *path, const char *mode) { return fopen_it("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return fopen_it("fopen64", path, mode); }
