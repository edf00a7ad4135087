/* SPDX-License-Identifier: MIT */
/* Preloaded into programs that were built with -finstrument-functions: notes which functions are entered, and
 * what copies, reads and writes a marked payload, between a read that brings the mark (WAY_MARK) and a write
 * that holds the text WAY_END. Each such stretch becomes a file WAY_OUT/<program>.<pid>.<number>, a line per
 * note:
 *
 *     E <thread> <function> 0        entered
 *     X <thread> <function> 0        left
 *     C|R|W <thread> <caller> <bytes>  copied, read, written, by whom
 *
 * A place is +OFFSET in the program itself or the name of a library. Any thread; notes are in order of time.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define NOTES (1u << 20)
#define EXPORT __attribute__((visibility("default")))
#define HERE __builtin_return_address(0)
#define REAL(name)                                                                                           \
    static __typeof__(name) *real;                                                                           \
    if (real == NULL)                                                                                        \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

static struct note {
    char kind;
    int thread;
    void *place;
    size_t n;
} notes[NOTES];
static atomic_uint count;
static atomic_bool on;
static unsigned files;
static const char *mark, *end, *folder;
static size_t mark_n, end_n;

__attribute__((constructor)) static void way_start(void)
{
    mark = getenv("WAY_MARK");
    end = getenv("WAY_END");
    folder = getenv("WAY_OUT");
    mark_n = mark && end && folder ? strlen(mark) : 0;
    end_n = mark_n ? strlen(end) : 0;
}

static __thread int thread; /* of the caller, 0 = not asked for yet */

static void note(char kind, void *place, size_t n)
{
    unsigned at = atomic_fetch_add(&count, 1);
    if (thread == 0)
        thread = gettid();
    if (at < NOTES)
        notes[at] = (struct note){kind, thread, place, n};
}

static bool holds(const void *data, size_t n, const char *what, size_t what_n)
{
    return what_n && n >= what_n && memmem(data, n, what, what_n) != NULL;
}

static void write_notes(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%d.%u", folder, program_invocation_short_name, (int)getpid(), files++);
    FILE *out = fopen(path, "we");
    unsigned n = atomic_load(&count);
    for (unsigned i = 0; out && i < n && i < NOTES; i++) {
        Dl_info info = {0};
        dladdr(notes[i].place, &info);
        const char *name = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
        fprintf(out, "%c %d ", notes[i].kind, notes[i].thread);
        if (name && strncmp(name, "/lib", 4) == 0)
            fprintf(out, "%s", name + 1);
        else
            fprintf(out, "+%#lx", (unsigned long)((char *)notes[i].place - (char *)info.dli_fbase));
        fprintf(out, " %zu\n", notes[i].n);
    }
    if (out)
        fclose(out);
}

static void has_read(const void *data, ssize_t n, void *caller)
{
    if (n <= 0 || !holds(data, (size_t)n, mark, mark_n))
        return;
    if (!atomic_exchange(&on, true))
        atomic_store(&count, 0);
    note('R', caller, (size_t)n);
}

static void writes(const void *data, size_t n, void *caller)
{
    if (!atomic_load(&on))
        return;
    if (holds(data, n, mark, mark_n))
        note('W', caller, n);
    if (holds(data, n, end, end_n) && atomic_exchange(&on, false))
        write_notes();
}

static void copies(const void *data, size_t n, void *caller)
{
    if (atomic_load(&on) && holds(data, n, mark, mark_n))
        note('C', caller, n);
}

/* ---- what the compiler calls ---- */

EXPORT void __cyg_profile_func_enter(void *function, void *site);
EXPORT void __cyg_profile_func_exit(void *function, void *site);

void __cyg_profile_func_enter(void *function, void *site)
{
    (void)site;
    if (atomic_load_explicit(&on, memory_order_relaxed))
        note('E', function, 0);
}

void __cyg_profile_func_exit(void *function, void *site)
{
    (void)site;
    if (atomic_load_explicit(&on, memory_order_relaxed))
        note('X', function, 0);
}

/* ---- copies; the loops stay loops (see meson.build) ---- */

EXPORT void *__memcpy_chk(void *to, const void *from, size_t n, size_t size);
EXPORT void *__memmove_chk(void *to, const void *from, size_t n, size_t size);

static void *move(void *to, const void *from, size_t n)
{
    char *a = to;
    const char *b = from;
    if (a <= b || a >= b + n)
        for (size_t i = 0; i < n; i++)
            a[i] = b[i];
    else
        for (size_t i = n; i > 0; i--)
            a[i - 1] = b[i - 1];
    return to;
}

EXPORT void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    copies(from, n, HERE);
    return move(to, from, n);
}

EXPORT void *memmove(void *to, const void *from, size_t n)
{
    copies(from, n, HERE);
    return move(to, from, n);
}

void *__memcpy_chk(void *to, const void *from, size_t n, size_t size)
{
    (void)size;
    copies(from, n, HERE);
    return move(to, from, n);
}

void *__memmove_chk(void *to, const void *from, size_t n, size_t size)
{
    (void)size;
    copies(from, n, HERE);
    return move(to, from, n);
}

/* ---- what comes and goes ---- */

static void vector_writes(const struct iovec *parts, size_t n, void *caller)
{
    for (size_t i = 0; i < n; i++)
        writes(parts[i].iov_base, parts[i].iov_len, caller);
}

static void vector_read(const struct iovec *parts, size_t n, ssize_t left, void *caller)
{
    for (size_t i = 0; i < n && left > 0; i++) {
        ssize_t part = left < (ssize_t)parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;
        has_read(parts[i].iov_base, part, caller);
        left -= part;
    }
}

EXPORT ssize_t read(int fd, void *data, size_t n)
{
    REAL(read);
    ssize_t got = real(fd, data, n);
    has_read(data, got, HERE);
    return got;
}

EXPORT ssize_t recv(int fd, void *data, size_t n, int flags)
{
    REAL(recv);
    ssize_t got = real(fd, data, n, flags);
    has_read(data, got, HERE);
    return got;
}

EXPORT ssize_t readv(int fd, const struct iovec *parts, int n)
{
    REAL(readv);
    ssize_t got = real(fd, parts, n);
    vector_read(parts, (size_t)n, got, HERE);
    return got;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    REAL(recvmsg);
    ssize_t got = real(fd, message, flags);
    vector_read(message->msg_iov, message->msg_iovlen, got, HERE);
    return got;
}

EXPORT ssize_t write(int fd, const void *data, size_t n)
{
    REAL(write);
    writes(data, n, HERE);
    return real(fd, data, n);
}

EXPORT ssize_t send(int fd, const void *data, size_t n, int flags)
{
    REAL(send);
    writes(data, n, HERE);
    return real(fd, data, n, flags);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int n)
{
    REAL(writev);
    vector_writes(parts, (size_t)n, HERE);
    return real(fd, parts, n);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg);
    vector_writes(message->msg_iov, message->msg_iovlen, HERE);
    return real(fd, message, flags);
}
