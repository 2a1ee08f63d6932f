/* A disk that fails on request, below one folder: loaded into a process and all that it starts by LD_PRELOAD.
 *
 * SICK_DISK names a file of `struct control`, which the test has mapped, too. Each call on a path below `control.root`
 * is counted by what it does and to what; the one that is asked for fails, or each from there on. Nothing else changes.
 * tests/support/sick_disk.py holds the same tables, and says what they mean.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum act { OPEN, CREATE, READ, WRITE, SYNC, CLOSE, CUT, RENAME, MKDIR, UNLINK, ACTS };
enum thing { LEDGER, WAL, SHM, JOURNAL, LOCK, STAGED, INDEX, PRIVATE, TREE, THINGS };

struct control {
    char root[512];
    int32_t act;    /* -1: any that takes room */
    int32_t thing;  /* -1: any */
    int64_t nth;    /* from 1; 0: never */
    int32_t error;  /* errno; 0: a write takes only half of what it is given */
    int32_t lasting;
    int64_t struck;
    int64_t met;  /* calls that `act` and `thing` mean */
    int64_t counts[ACTS][THINGS];
};

static struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SICK_DISK");
    if (path == NULL) return;
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int (*real_close)(int) = dlsym(RTLD_NEXT, "close");
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    real_close(fd);
    if (mapped != MAP_FAILED) control = mapped;
}

static int ends_with(const char *text, const char *end) {
    size_t have = strlen(text), want = strlen(end);
    return have >= want && strcmp(text + have - want, end) == 0;
}

static int thing_of(const char *path) {
    const char *name = strrchr(path, '/');
    if (strncmp(name ? name + 1 : path, ".index.parquet", 14) == 0 || ends_with(path, "/index.parquet")) return INDEX;
    if (strstr(path, "/.dicomhaul") == NULL) return TREE;
    if (ends_with(path, "/ledger.sqlite3")) return LEDGER;
    if (ends_with(path, "-wal")) return WAL;
    if (ends_with(path, "-shm")) return SHM;
    if (ends_with(path, "-journal")) return JOURNAL;
    if (ends_with(path, "/lock")) return LOCK;
    if (strstr(path, "/staging/") != NULL) return STAGED;
    return PRIVATE;
}

/* Returns whether the call is to fail, with errno set; 2 for a write that is to be short. */
static int strikes(int act, const char *path) {
    size_t length;
    if (control == NULL || path == NULL || (length = strlen(control->root)) == 0) return 0;
    if (strncmp(path, control->root, length) != 0 || (path[length] != '/' && path[length] != '\0')) return 0;
    int thing = thing_of(path);
    __atomic_add_fetch(&control->counts[act][thing], 1, __ATOMIC_SEQ_CST);
    int takes_room = act == CREATE || act == WRITE || act == MKDIR;
    if (control->nth == 0 || (control->act == -1 ? !takes_room : control->act != act)) return 0;
    if (control->thing != -1 && control->thing != thing) return 0;
    int64_t met = __atomic_add_fetch(&control->met, 1, __ATOMIC_SEQ_CST);
    if (met < control->nth || (met > control->nth && !control->lasting)) return 0;
    __atomic_add_fetch(&control->struck, 1, __ATOMIC_SEQ_CST);
    if (control->error == 0) return 2;
    errno = control->error;
    return 1;
}

static int strikes_fd(int act, int fd) {
    char link[64], path[4096];
    if (control == NULL || control->root[0] == '\0') return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || path[0] != '/') return 0;
    path[length] = '\0';
    return strikes(act, path);
}

static int strikes_at(int act, int folder, const char *path) {
    if (path != NULL && path[0] != '/' && folder != AT_FDCWD) {
        char link[64], whole[8192];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, whole, 4095);
        if (length <= 0) return 0;
        snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
        return strikes(act, whole);
    }
    return strikes(act, path);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int opens(int flags) { return flags & O_CREAT ? CREATE : OPEN; }

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) {
    REAL(open); MODE(flags)
    return strikes(opens(flags), path) ? -1 : real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    REAL(open64); MODE(flags)
    return strikes(opens(flags), path) ? -1 : real(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    REAL(openat); MODE(flags)
    return strikes_at(opens(flags), folder, path) ? -1 : real(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    REAL(openat64); MODE(flags)
    return strikes_at(opens(flags), folder, path) ? -1 : real(folder, path, flags, mode);
}

static size_t taken(int how, size_t count) { return how == 2 && count > 1 ? count / 2 : count; }

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write); int how = strikes_fd(WRITE, fd);
    return how == 1 ? -1 : real(fd, bytes, taken(how, count));
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(pwrite); int how = strikes_fd(WRITE, fd);
    return how == 1 ? -1 : real(fd, bytes, taken(how, count), at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64); int how = strikes_fd(WRITE, fd);
    return how == 1 ? -1 : real(fd, bytes, taken(how, count), at);
}
ssize_t writev(int fd, const struct iovec *views, int count) {
    REAL(writev); int how = strikes_fd(WRITE, fd);
    if (how == 2 && count > 0) {
        struct iovec first = {views[0].iov_base, taken(how, views[0].iov_len)};
        return real(fd, &first, 1);
    }
    return how == 1 ? -1 : real(fd, views, count);
}
ssize_t read(int fd, void *bytes, size_t count) {
    REAL(read);
    return strikes_fd(READ, fd) ? -1 : real(fd, bytes, count);
}
ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    REAL(pread);
    return strikes_fd(READ, fd) ? -1 : real(fd, bytes, count, at);
}
ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    REAL(pread64);
    return strikes_fd(READ, fd) ? -1 : real(fd, bytes, count, at);
}
int fsync(int fd) {
    REAL(fsync);
    return strikes_fd(SYNC, fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return strikes_fd(SYNC, fd) ? -1 : real(fd);
}
int close(int fd) {
    REAL(close);
    int error = strikes_fd(CLOSE, fd) ? errno : 0, result = real(fd); /* as Linux does: the number is free in any case */
    if (error == 0) return result;
    errno = error;
    return -1;
}
int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    return strikes_fd(CUT, fd) ? -1 : real(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return strikes_fd(CUT, fd) ? -1 : real(fd, size);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    return strikes(RENAME, to) ? -1 : real(from, to);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return strikes(MKDIR, path) ? -1 : real(path, mode);
}
int unlink(const char *path) {
    REAL(unlink);
    return strikes(UNLINK, path) ? -1 : real(path);
}
int renameat(int from_folder, const char *from, int folder, const char *to) {
    REAL(renameat);
    return strikes_at(RENAME, folder, to) ? -1 : real(from_folder, from, folder, to);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat);
    return strikes_at(MKDIR, folder, path) ? -1 : real(folder, path, mode);
}
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    return strikes_at(UNLINK, folder, path) ? -1 : real(folder, path, flags);
}
