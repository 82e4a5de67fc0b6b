/* Counts the write calls that a process and its children make below one folder, and at the n-th of
 * them kills the process group or lets the disk be full, broken or read-only from then on.
 *
 * Loaded with LD_PRELOAD. The page that tells what to do is shared by file (MUARA_WRITES), so that
 * it can be armed after the process has started; `tests/writes/__init__.py` has the same layout.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { OFF, COUNT, KILL_BEFORE, KILL_AFTER, KILL_HALFWAY, FULL, FULL_HALFWAY, BROKEN, READ_ONLY };

struct page {
    _Atomic unsigned long count; /* write calls so far */
    unsigned long fatal;         /* the call that is struck */
    int mode;
    char folder[512];            /* only what lies below counts */
    char struck[512];            /* name and path of the struck call */
};

enum need { SPACE, NO_SPACE }; /* does the call need room on the disk */
enum fate { PASS, HALF, REFUSED, DIE_AFTER };

static struct page *page;

__attribute__((constructor)) static void open_page(void)
{
    const char *path = getenv("MUARA_WRITES");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped != MAP_FAILED)
        page = mapped;
}

static void of_descriptor(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static void of_name(int folder, const char *name, char *path)
{
    if (!name || name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name ? name : "");
        return;
    }
    char base[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base))
            base[0] = 0;
    } else {
        of_descriptor(folder, base);
    }
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX)
        path[0] = 0;
}

static void die(void)
{
    kill(0, SIGKILL);
    for (;;)
        pause();
}

/* What becomes of a call that writes to `path`. Sets errno when it is refused. */
static enum fate fate_of(const char *call, const char *path, enum need need)
{
    if (!page || page->mode == OFF)
        return PASS;
    size_t length = strlen(page->folder);
    if (strncmp(path, page->folder, length) || (path[length] != '/' && path[length] != 0))
        return PASS;
    unsigned long number = atomic_fetch_add(&page->count, 1) + 1;
    if (page->mode == COUNT || number < page->fatal)
        return PASS;
    if (number == page->fatal)
        snprintf(page->struck, sizeof page->struck, "%s %s", call, path + length);
    switch (page->mode) {
    case KILL_BEFORE:
        die();
        return PASS;
    case KILL_AFTER:
        return DIE_AFTER;
    case KILL_HALFWAY:
        return number == page->fatal ? HALF : PASS;
    case FULL_HALFWAY:
        if (number == page->fatal && need == SPACE)
            return HALF;
        /* fall through */
    case FULL:
        errno = ENOSPC;
        return need == SPACE ? REFUSED : PASS;
    case BROKEN:
        errno = EIO;
        return REFUSED;
    case READ_ONLY:
        errno = EROFS;
        return REFUSED;
    default:
        return PASS;
    }
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* After the call itself: what it answered, unless the process was to die with it. */
#define DONE(fate, answer) \
    do { \
        __typeof__(answer) answered = (answer); \
        if (fate == DIE_AFTER || (fate == HALF && page->mode == KILL_HALFWAY)) \
            die(); \
        return answered; \
    } while (0)

#define BY_NAME(call, folder, name, need, refused, answer) \
    do { \
        char path[PATH_MAX]; \
        of_name(folder, name, path); \
        enum fate fate = fate_of(call, path, need); \
        if (fate == REFUSED) \
            return refused; \
        DONE(fate, answer); \
    } while (0)

/* Whether bytes written at `offset` (-1: where the file stands) make the file longer: a full disk
 * still takes those that do not. */
static enum need need_of(int fd, off_t offset, size_t length)
{
    struct stat known;
    if (fstat(fd, &known) || !S_ISREG(known.st_mode))
        return SPACE;
    if (offset < 0) {
        int flags = fcntl(fd, F_GETFL);
        offset = flags & O_APPEND ? known.st_size : lseek(fd, 0, SEEK_CUR);
    }
    return offset + (off_t)length > known.st_size ? SPACE : NO_SPACE;
}

#define WRITES(call, fd, offset, length, whole, half) \
    do { \
        char path[PATH_MAX]; \
        of_descriptor(fd, path); \
        enum fate fate = fate_of(call, path, need_of(fd, offset, length)); \
        if (fate == REFUSED) \
            return -1; \
        if (fate == HALF && (length) > 1) \
            DONE(fate, half); \
        DONE(fate, whole); \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t length)
{
    REAL(write);
    WRITES("write", fd, -1, length, real(fd, bytes, length), real(fd, bytes, length / 2));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    REAL(pwrite);
    WRITES("pwrite", fd, offset, length, real(fd, bytes, length, offset),
           real(fd, bytes, length / 2, offset));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    return pwrite(fd, bytes, length, offset);
}

static size_t total_of(const struct iovec *parts, int count)
{
    size_t total = 0;
    for (int one = 0; one < count; one++)
        total += parts[one].iov_len;
    return total;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    size_t total = total_of(parts, count);
    WRITES("writev", fd, -1, total, real(fd, parts, count), real(fd, parts, count > 1 ? count / 2 : 1));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    REAL(pwritev);
    size_t total = total_of(parts, count);
    WRITES("pwritev", fd, offset, total, real(fd, parts, count, offset),
           real(fd, parts, count > 1 ? count / 2 : 1, offset));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    REAL(pwritev2);
    size_t total = total_of(parts, count);
    WRITES("pwritev2", fd, offset, total, real(fd, parts, count, offset, flags),
           real(fd, parts, count > 1 ? count / 2 : 1, offset, flags));
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    return pwritev2(fd, parts, count, offset, flags);
}

ssize_t copy_file_range(int from, off64_t *at, int fd, off64_t *offset, size_t length, unsigned flags)
{
    REAL(copy_file_range);
    WRITES("copy_file_range", fd, offset ? *offset : -1, length,
           real(from, at, fd, offset, length, flags), real(from, at, fd, offset, length / 2, flags));
}

ssize_t sendfile(int fd, int from, off_t *offset, size_t length)
{
    REAL(sendfile);
    WRITES("sendfile", fd, -1, length, real(fd, from, offset, length),
           real(fd, from, offset, length / 2));
}

ssize_t sendfile64(int fd, int from, off64_t *offset, size_t length)
{
    return sendfile(fd, from, offset, length);
}

#define CHANGES(call, fd, need, answer) \
    do { \
        char path[PATH_MAX]; \
        of_descriptor(fd, path); \
        enum fate fate = fate_of(call, path, need); \
        if (fate == REFUSED) \
            return -1; \
        DONE(fate, answer); \
    } while (0)

int ftruncate(int fd, off_t length)
{
    REAL(ftruncate);
    CHANGES("ftruncate", fd, need_of(fd, 0, length), real(fd, length));
}

int ftruncate64(int fd, off64_t length)
{
    return ftruncate(fd, length);
}

int truncate(const char *name, off_t length)
{
    REAL(truncate);
    BY_NAME("truncate", AT_FDCWD, name, NO_SPACE, -1, real(name, length));
}

int truncate64(const char *name, off64_t length)
{
    return truncate(name, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    REAL(fallocate);
    CHANGES("fallocate", fd, SPACE, real(fd, mode, offset, length));
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    return fallocate(fd, mode, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
    REAL(posix_fallocate);
    char path[PATH_MAX];
    of_descriptor(fd, path);
    enum fate fate = fate_of("posix_fallocate", path, SPACE);
    if (fate == REFUSED)
        return errno;
    DONE(fate, real(fd, offset, length));
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
    return posix_fallocate(fd, offset, length);
}

/* What the system buffers may find no room only now, so a full disk refuses these as well. */
int fsync(int fd)
{
    REAL(fsync);
    CHANGES("fsync", fd, SPACE, real(fd));
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    CHANGES("fdatasync", fd, SPACE, real(fd));
}

int fchmod(int fd, mode_t mode)
{
    REAL(fchmod);
    CHANGES("fchmod", fd, NO_SPACE, real(fd, mode));
}

int chmod(const char *name, mode_t mode)
{
    REAL(chmod);
    BY_NAME("chmod", AT_FDCWD, name, NO_SPACE, -1, real(name, mode));
}

int fchmodat(int folder, const char *name, mode_t mode, int flags)
{
    REAL(fchmodat);
    BY_NAME("fchmodat", folder, name, NO_SPACE, -1, real(folder, name, mode, flags));
}

int futimens(int fd, const struct timespec times[2])
{
    REAL(futimens);
    CHANGES("futimens", fd, NO_SPACE, real(fd, times));
}

int utimensat(int folder, const char *name, const struct timespec times[2], int flags)
{
    REAL(utimensat);
    BY_NAME("utimensat", folder, name, NO_SPACE, -1, real(folder, name, times, flags));
}

int utimes(const char *name, const struct timeval times[2])
{
    REAL(utimes);
    BY_NAME("utimes", AT_FDCWD, name, NO_SPACE, -1, real(name, times));
}

int rename(const char *old, const char *name)
{
    REAL(rename);
    BY_NAME("rename", AT_FDCWD, name, SPACE, -1, real(old, name));
}

int renameat(int from, const char *old, int folder, const char *name)
{
    REAL(renameat);
    BY_NAME("renameat", folder, name, SPACE, -1, real(from, old, folder, name));
}

int renameat2(int from, const char *old, int folder, const char *name, unsigned flags)
{
    REAL(renameat2);
    BY_NAME("renameat2", folder, name, SPACE, -1, real(from, old, folder, name, flags));
}

int link(const char *old, const char *name)
{
    REAL(link);
    BY_NAME("link", AT_FDCWD, name, SPACE, -1, real(old, name));
}

int linkat(int from, const char *old, int folder, const char *name, int flags)
{
    REAL(linkat);
    BY_NAME("linkat", folder, name, SPACE, -1, real(from, old, folder, name, flags));
}

int symlink(const char *target, const char *name)
{
    REAL(symlink);
    BY_NAME("symlink", AT_FDCWD, name, SPACE, -1, real(target, name));
}

int symlinkat(const char *target, int folder, const char *name)
{
    REAL(symlinkat);
    BY_NAME("symlinkat", folder, name, SPACE, -1, real(target, folder, name));
}

int mkdir(const char *name, mode_t mode)
{
    REAL(mkdir);
    BY_NAME("mkdir", AT_FDCWD, name, SPACE, -1, real(name, mode));
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    REAL(mkdirat);
    BY_NAME("mkdirat", folder, name, SPACE, -1, real(folder, name, mode));
}

int unlink(const char *name)
{
    REAL(unlink);
    BY_NAME("unlink", AT_FDCWD, name, NO_SPACE, -1, real(name));
}

int unlinkat(int folder, const char *name, int flags)
{
    REAL(unlinkat);
    BY_NAME("unlinkat", folder, name, NO_SPACE, -1, real(folder, name, flags));
}

int rmdir(const char *name)
{
    REAL(rmdir);
    BY_NAME("rmdir", AT_FDCWD, name, NO_SPACE, -1, real(name));
}

int remove(const char *name)
{
    REAL(remove);
    BY_NAME("remove", AT_FDCWD, name, NO_SPACE, -1, real(name));
}

/* Opening writes where it makes a file or empties one. */
static enum fate fate_of_opening(const char *path, int flags)
{
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    int exists = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
    if ((flags & O_CREAT) && !exists)
        return fate_of("open", path, SPACE);
    if ((flags & O_TRUNC) && writes && exists)
        return fate_of("open", path, NO_SPACE);
    /* Nothing is written yet, but a disk that refuses every write does not open for writing. */
    if (writes && page && page->mode == READ_ONLY && page->count >= page->fatal)
        return fate_of("open", path, NO_SPACE);
    return PASS;
}

#define OPENS(symbol, folder, name, flags, ...) \
    do { \
        REAL(symbol); \
        mode_t mode = 0; \
        if ((flags) & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        char path[PATH_MAX]; \
        of_name(folder, name, path); \
        enum fate fate = fate_of_opening(path, flags); \
        if (fate == REFUSED) \
            return -1; \
        DONE(fate, real(__VA_ARGS__, flags, mode)); \
    } while (0)

int open(const char *name, int flags, ...)
{
    OPENS(open, AT_FDCWD, name, flags, name);
}

int open64(const char *name, int flags, ...)
{
    OPENS(open64, AT_FDCWD, name, flags, name);
}

int openat(int folder, const char *name, int flags, ...)
{
    OPENS(openat, folder, name, flags, folder, name);
}

int openat64(int folder, const char *name, int flags, ...)
{
    OPENS(openat64, folder, name, flags, folder, name);
}

int creat(const char *name, mode_t mode)
{
    return open(name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *name, mode_t mode)
{
    return creat(name, mode);
}

#define OPENS_STREAM(symbol) \
    FILE *symbol(const char *name, const char *how) \
    { \
        REAL(symbol); \
        char path[PATH_MAX]; \
        of_name(AT_FDCWD, name, path); \
        int flags = how[0] == 'w' ? O_WRONLY | O_CREAT | O_TRUNC \
                  : how[0] == 'a' ? O_WRONLY | O_CREAT \
                                  : O_RDONLY; \
        enum fate fate = fate_of_opening(path, flags); \
        if (fate == REFUSED) \
            return NULL; \
        DONE(fate, real(name, how)); \
    }

OPENS_STREAM(fopen)
OPENS_STREAM(fopen64)
