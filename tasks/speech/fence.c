/* SPDX-License-Identifier: MIT */
/* The fence. Owns one child process and three pipes. Runs in the child of one task; never knows what the
 * program does. */
#include "tasks/speech/fence.h"

#include "hub/base/clock.h"
#include "hub/base/confine.h"
#include "hub/base/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STDERR_KEPT 4096
#define FILES_MAX 64 /* descriptors */
#define COMPLAINT_MAX 200
#define PIPE_BYTES (256 * 1024)

struct fence {
    pid_t pid;
    int input, output, errors; /* this side's ends; -1 = closed */
    uint64_t deadline;         /* clock_mono_ms */
    bool ended;
    int status;
    char *directory; /* the child's own, removed with it */
    struct buf stderr_tail;
    char complaint[COMPLAINT_MAX + 1];
};

/* ---- the child ---- */

/* Enters the child's directory and drops access to everything else. The file, if any, is descriptor 3. */
static bool enter(const struct fence_spec *spec, const char *directory)
{
    const struct confine_need need = {
        .reach = spec->command ? CONFINE_COMMAND : CONFINE_ALONE,
        .directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC),
        .file = spec->file >= 0 ? 3 : -1,
        .user = spec->user,
        .cpu_s = spec->cpu_s,
        .memory_bytes = spec->memory_bytes,
        .file_bytes = spec->file_bytes,
        .files = FILES_MAX,
    };
    if (need.directory < 0 || fchdir(need.directory) != 0)
        return false;
    confine(&need);
    close(need.directory);
    return true;
}

static void reset_signals(void)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGPIPE, SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < NELEMS(signals); i++)
        signal(signals[i], SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Moves the pipes to 0, 1, 2 and the file to 3; closes everything else. False if that fails. */
static bool arrange_descriptors(const int ends[3], int file)
{
    int safe[4];
    for (int i = 0; i < 4; i++) {
        int from = i < 3 ? ends[i] : file;
        safe[i] = from < 0 ? -1 : fcntl(from, F_DUPFD, 10);
        if (from >= 0 && safe[i] < 0)
            return false;
    }
    for (int i = 0; i < 4; i++)
        if (safe[i] >= 0 && dup2(safe[i], i) < 0)
            return false;
    return close_range(safe[3] >= 0 ? 4 : 3, ~0U, 0) == 0;
}

static void __attribute__((noreturn))
run_child(const struct fence_spec *spec, const char *directory, const int ends[3], pid_t parent)
{
    static const char *const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", NULL};
    setpgid(0, 0);
    reset_signals();
    bool ready = arrange_descriptors(ends, spec->file) && enter(spec, directory);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* set after the change of user, which would clear it */
    if (ready && getppid() == parent) {
        if (spec->run) {
            spec->run();
            _exit(0);
        }
        environ = (char **)(uintptr_t)environment;
        execvp(spec->argv[0], (char *const *)(uintptr_t)spec->argv);
        dprintf(STDERR_FILENO, "%s cannot be started: %s\n", spec->argv[0], strerror(errno));
    }
    _exit(127);
}

/* ---- starting ---- */

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool make_pipes(int ours[3], int theirs[3], size_t bytes)
{
    for (int i = 0; i < 3; i++)
        ours[i] = theirs[i] = -1;
    for (int i = 0; i < 3; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0)
            return false;
        ours[i] = i == 0 ? ends[1] : ends[0];
        theirs[i] = i == 0 ? ends[0] : ends[1];
        fcntl(ours[i], F_SETFL, O_NONBLOCK);
        fcntl(ours[i], F_SETPIPE_SZ, (int)bytes);
    }
    return true;
}

void fence_words(char *command, const char *ret_argv[static FENCE_WORDS_MAX + 1])
{
    size_t count = 0;
    for (char *word; count < FENCE_WORDS_MAX && (word = strsep(&command, " \t"));)
        if (*word)
            ret_argv[count++] = word;
    ret_argv[count] = NULL;
}

struct fence *fence_start(const struct fence_spec *spec, char **ret_reason)
{
    int ours[3], theirs[3];
    pid_t parent = getpid(), pid = -1;
    char *directory = confine_directory(NULL);
    confine_prepare();
    if (make_pipes(ours, theirs, spec->pipe_bytes ? spec->pipe_bytes : PIPE_BYTES) && directory)
        pid = fork();
    if (pid == 0)
        run_child(spec, directory, theirs, parent);
    int error = errno;
    for (int i = 0; i < 3; i++)
        close_if_open(&theirs[i]);
    if (pid < 0) {
        directory_drop(&directory);
        for (int i = 0; i < 3; i++)
            close_if_open(&ours[i]);
        *ret_reason =
            xasprintf("%s cannot be started: %s", spec->run ? "a child" : spec->argv[0], strerror(error));
        return NULL;
    }
    setpgid(pid, pid); /* both sides do it: the group must exist before anybody kills it */
    struct fence *fence = xcalloc(1, sizeof(*fence));
    *fence = (struct fence){.pid = pid,
                            .input = ours[0],
                            .output = ours[1],
                            .errors = ours[2],
                            .directory = directory,
                            .deadline = clock_mono_ms() + 1000 * (uint64_t)spec->wall_s};
    return fence;
}

/* ---- living with it ---- */

ssize_t fence_write(struct fence *fence, const void *bytes, size_t size)
{
    return write(fence->input, bytes, size);
}

ssize_t fence_read(struct fence *fence, void *to, size_t size)
{
    return read(fence->output, to, size);
}

size_t fence_send(struct fence *fence, struct buf *pending)
{
    size_t dropped = 0;
    while (pending->len) {
        ssize_t n = fence_write(fence, pending->data, pending->len);
        if (n > 0)
            buf_consume(pending, (size_t)n);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR) {
            dropped = pending->len;
            buf_clear(pending);
        }
    }
    return dropped;
}

size_t fence_unread(const struct fence *fence)
{
    int bytes = 0;
    return fence->input >= 0 && ioctl(fence->input, FIONREAD, &bytes) == 0 ? (size_t)bytes : 0;
}

void fence_wait(const struct fence *fence, int ms)
{
    struct pollfd fds[] = {{fence->output, POLLIN, 0}, {fence->input, POLLOUT, 0}};
    poll(fds, NELEMS(fds), ms);
}

void fence_close_input(struct fence *fence)
{
    close_if_open(&fence->input);
}

static void read_errors(struct fence *fence)
{
    char chunk[1024];
    ssize_t n;
    while (fence->errors >= 0 && (n = read(fence->errors, chunk, sizeof(chunk))) > 0) {
        buf_append(&fence->stderr_tail, chunk, (size_t)n);
        if (fence->stderr_tail.len > STDERR_KEPT)
            buf_consume(&fence->stderr_tail, fence->stderr_tail.len - STDERR_KEPT);
    }
}

/* Kills the child and what it started itself; without permission to make groups (in a slot) the latter
 * ends with the slot. */
static void kill_child(const struct fence *fence)
{
    kill(-fence->pid, SIGKILL);
    if (!fence->ended)
        kill(fence->pid, SIGKILL);
}

bool fence_ended(struct fence *fence)
{
    read_errors(fence);
    if (fence->ended)
        return true;
    if (clock_mono_ms() > fence->deadline)
        kill_child(fence);
    int status;
    if (waitpid(fence->pid, &status, WNOHANG) != fence->pid)
        return false;
    fence->ended = true;
    fence->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_errors(fence);
    return true;
}

int fence_status(const struct fence *fence)
{
    return fence->status;
}

/* Copies one line; replaces every word containing a slash by "…", so that paths do not leak. */
static void clean_line(char to[static COMPLAINT_MAX + 1], const char *line, size_t length)
{
    static const char hidden[] = "…";
    size_t out = 0;
    for (size_t i = 0; i < length && out + sizeof(hidden) < COMPLAINT_MAX;) {
        size_t end = i;
        while (end < length && !isspace((unsigned char)line[end]))
            end++;
        bool path = memchr(line + i, '/', end - i) != NULL;
        if (path) {
            memcpy(to + out, hidden, sizeof(hidden) - 1);
            out += sizeof(hidden) - 1;
        }
        for (; i < end && !path && out + 2 < COMPLAINT_MAX; i++)
            to[out++] = line[i] >= 0x20 && line[i] < 0x7f ? line[i] : '?';
        to[out++] = ' ';
        for (i = end; i < length && isspace((unsigned char)line[i]);)
            i++;
    }
    while (out && to[out - 1] == ' ')
        out--;
    to[out] = '\0';
}

static bool is_ignored(const char *line, size_t length, const char *const *ignored)
{
    for (; ignored && *ignored; ignored++)
        if (memmem(line, length, *ignored, strlen(*ignored)))
            return true;
    return false;
}

const char *fence_complaint(struct fence *fence, const char *const *ignored)
{
    const struct buf *tail = &fence->stderr_tail;
    fence->complaint[0] = '\0';
    for (size_t end = tail->len, start; end > 0; end = start ? start - 1 : 0) {
        for (start = end; start && tail->data[start - 1] != '\n';)
            start--;
        if (end == start || is_ignored(tail->data + start, end - start, ignored))
            continue;
        clean_line(fence->complaint, tail->data + start, end - start);
        if (fence->complaint[0])
            break;
    }
    return fence->complaint;
}

bool fence_said(const struct fence *fence, const char *text)
{
    return fence->stderr_tail.len &&
           memmem(fence->stderr_tail.data, fence->stderr_tail.len, text, strlen(text)) != NULL;
}

void fence_close(struct fence **fence)
{
    struct fence *it = *fence;
    if (it == NULL)
        return;
    *fence = NULL;
    kill_child(it);
    if (!it->ended)
        while (waitpid(it->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    close_if_open(&it->input);
    close_if_open(&it->output);
    close_if_open(&it->errors);
    directory_drop(&it->directory);
    buf_free(&it->stderr_tail);
    free(it);
}
