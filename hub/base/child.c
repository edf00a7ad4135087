/* SPDX-License-Identifier: MIT */
/* Starts, watches and stops one child process; see child.h. Uses fork() and execve() instead of uv_spawn(),
 * because the child must set its death signal between the two. */
#include "hub/base/child.h"

#include "hub/base/backoff.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"

#include <argz.h>
#include <envz.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_AFTER_MS 2000

extern char **environ;

struct child {
    struct child_config config; /* its texts are not valid any more; these are copies: */
    char *name, *program, *directory;
    char **argv, **environment; /* NULL-ended */
    char *words, *lines;        /* argz and envz vectors that argv and environment point into */

    pid_t pid; /* 0 = does not run */
    uint64_t started_ms;
    struct backoff deaths; /* deaths since it was last ready */
    bool stopping;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    uv_timer_t *timer; /* for the next start; while stopping, for SIGKILL */
    uv_signal_t *sigchld;
};

/* ---- the process --------------------------------------------------------------------------------- */

static void set_cloexec(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags >= 0)
        fcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC);
}

/* The parent's handlers must not run in the child: they write to the wake-up pipe of the parent's loop, which
 * is shared until exec. */
static void reset_signals(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs between fork and exec: async-signal-safe calls only. */
__attribute__((noreturn)) static void child_exec(const struct child *child, pid_t hub, int theirs)
{
    if (prctl(PR_SET_PDEATHSIG, child->config.death_signal) != 0 || getppid() != hub)
        _exit(127); /* the parent died before the death signal was set */
    setsid();
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        _exit(127);
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    if (theirs == child->config.socket)
        set_cloexec(theirs, false);
    else if (theirs >= 0 && dup2(theirs, child->config.socket) < 0)
        _exit(127);
    for (size_t i = 0; i < child->config.inherit_count; i++)
        set_cloexec(child->config.inherit[i], false);
    if (child->directory && chdir(child->directory) != 0)
        _exit(127);
    reset_signals();
    execve(child->program, child->argv, child->environment);
    _exit(127);
}

static void on_timer(uv_timer_t *timer);
static void restart_later(struct child *child);

/* Returns the pid, or -1 and errno. Signals are blocked until the child has reset its handlers. */
static pid_t fork_exec(const struct child *child, int theirs)
{
    sigset_t all, before;
    pid_t hub = getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        child_exec(child, hub, theirs);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid;
}

static void close_pair(const int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

static void child_start(struct child *child)
{
    int pair[2] = {-1, -1}; /* the parent's end, the child's end */
    pid_t pid = -1;
    child->started_ms = clock_mono_ms();
    if (child->config.socket == 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0)
        pid = fork_exec(child, pair[1]);
    if (pid < 0) {
        log_error("cannot start a process", "child", child->name, "reason", strerror(errno));
        close_pair(pair);
        restart_later(child);
        return;
    }
    child->pid = pid;
    log_info("started", "child", child->name, "pid", LOG_NUM(pid));
    if (pair[0] >= 0)
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
    close_pair((int[]){-1, pair[1]});
    if (child->config.on_start)
        child->config.on_start(child->config.ctx, pid, pair[0]);
}

static void restart_later(struct child *child)
{
    if (clock_mono_ms() - child->started_ms >= READY_AFTER_MS)
        child_ready(child);
    unsigned delay = backoff_failed(&child->deaths, &backoff_process);
    log_warn("starting it again", "child", child->name, "delay_ms", LOG_NUM(delay));
    uv_timer_start(child->timer, on_timer, delay, 0);
}

/* Restarts the child; while it is being stopped, kills it, since its grace is over. */
static void on_timer(uv_timer_t *timer)
{
    struct child *child = timer->data;
    if (!child->stopping) {
        child_start(child);
    } else if (child->pid) {
        log_warn("killed, it did not end in time", "child", child->name);
        kill(child->pid, SIGKILL);
    }
}

static void on_death(struct child *child, int status)
{
    if (!child->stopping)
        log_warn("child died", "child", child->name, "exit",
                 WIFEXITED(status) ? LOG_NUM(WEXITSTATUS(status)) : "", "signal",
                 WIFSIGNALED(status) ? LOG_NUM(WTERMSIG(status)) : "");
    child->pid = 0;
    if (child->config.on_exit)
        child->config.on_exit(child->config.ctx);
    if (child->stopping) {
        uv_timer_stop(child->timer);
        child->stopped(child->stopped_ctx);
    } else {
        restart_later(child);
    }
}

static void on_sigchld(uv_signal_t *handle, int number)
{
    struct child *child = handle->data;
    int status;
    (void)number;
    if (child->pid && waitpid(child->pid, &status, WNOHANG) == child->pid)
        on_death(child, status);
}

/* ---- the object ---------------------------------------------------------------------------------- */

void child_env_add(struct child_env *env, const char *name, const char *value)
{
    if (envz_add(&env->lines, &env->size, name, value) != 0)
        abort();
}

static char **pointers(const char *argz, size_t size)
{
    char **list = xcalloc(argz_count(argz, size) + 1, sizeof *list);
    argz_extract(argz, size, list);
    return list;
}

static void copy_words(struct child *child, const char *const *argv)
{
    size_t size = 0;
    for (; *argv; argv++)
        if (argz_add(&child->words, &size, *argv) != 0)
            abort();
    child->argv = pointers(child->words, size);
}

static void make_environment(struct child *child, const struct child_config *config)
{
    size_t size = 0;
    const struct child_env *own = &config->environment;
    if ((!config->bare && argz_create(environ, &child->lines, &size) != 0) ||
        envz_merge(&child->lines, &size, own->lines, own->size, true) != 0)
        abort();
    child->environment = pointers(child->lines, size);
}

struct child *child_new(struct loop *loop, const struct child_config *config)
{
    struct child *child = xcalloc(1, sizeof *child);
    child->config = *config;
    child->name = xstrdup(config->name);
    child->program = xstrdup(config->program ? config->program : config->argv[0]);
    child->directory = config->directory ? xstrdup(config->directory) : NULL;
    copy_words(child, config->argv);
    make_environment(child, config);
    child->timer = loop_timer(loop, child);
    child->sigchld = xcalloc(1, sizeof *child->sigchld);
    uv_signal_init(&loop->uv, child->sigchld);
    child->sigchld->data = child;
    uv_signal_start(child->sigchld, on_sigchld, SIGCHLD);
    child_start(child);
    return child;
}

void child_ready(struct child *child)
{
    backoff_succeeded(&child->deaths);
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

void child_stop(struct child *child, unsigned grace_ms, void (*fn)(void *ctx), void *ctx)
{
    child->stopping = true;
    child->stopped = fn;
    child->stopped_ctx = ctx;
    uv_timer_stop(child->timer);
    if (child->pid == 0) {
        fn(ctx);
        return;
    }
    kill(child->pid, SIGTERM);
    uv_timer_start(child->timer, on_timer, grace_ms, 0);
}

void child_free(struct child **child)
{
    struct child *gone = *child;
    *child = NULL;
    if (gone == NULL)
        return;
    if (gone->pid) {
        kill(gone->pid, SIGKILL);
        waitpid(gone->pid, NULL, 0);
    }
    loop_close(gone->timer);
    loop_close(gone->sigchld);
    char *const texts[] = {gone->name, gone->program, gone->directory, gone->words, gone->lines};
    for (size_t i = 0; i < NELEMS(texts); i++)
        free(texts[i]);
    free(gone->argv);
    free(gone->environment);
    free(gone);
}

char *child_find_program(const char *program)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/bin:/bin"; *at; at += *at == ':') {
        size_t n = strcspn(at, ":");
        char *candidate = xasprintf("%.*s/%s", (int)n, at, program);
        if (n && access(candidate, X_OK) == 0)
            return candidate;
        free(candidate);
        at += n;
    }
    return NULL;
}
