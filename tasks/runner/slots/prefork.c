/* SPDX-License-Identifier: MIT */
/* The prefork parent process and the worker's side of it; see prefork.h. The prefork parent is
 * single-threaded and sleeps in recvmsg(2) unless it forks; it never runs a task itself, never touches Redis.
 * The worker's side: loop thread. */
#include "tasks/runner/slots/prefork.h"

#include "hub/base/child.h"
#include "hub/base/confine.h"
#include "hub/base/list.h"
#include "hub/base/log.h"
#include "tasks/runner/slots/child.h"
#include "tasks/runner/slots/remains.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFORK_SOCKET 3 /* descriptor of its end of a SOCK_SEQPACKET pair */

/* Messages to a prefork parent: first the options, then one message per slot: a byte with its reach, and its
 * PREFORK_FDS descriptors. Each is answered, in order, by a pid_t: PREFORK_READY when preload() is done; then
 * the slot's pid, or 0 if it could not be forked. */
#define PREFORK_READY ((pid_t)-1)
#define PREFORK_MESSAGE_MAX 65536

/* ---- the options on their way ---- */

/* Options that the worker keeps to itself. */
static bool is_private(const char *key)
{
    static const char *const keys[] = {"redis.url", "celery.broker_url", "celery.result_backend",
                                       "jwt.key_file"};
    for (size_t i = 0; i < NELEMS(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* Writes the struct as it is in memory, then its texts, each with its NUL. */
static void options_pack(const struct options *options, struct buf *to)
{
    buf_append(to, options, sizeof *options);
#define OPTION_STRING(key, member, default_, flags, alias, help)                                             \
    buf_append_text(to, options->member && !is_private(key) ? options->member : "");                         \
    buf_append_char(to, '\0');
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)
#define OPTION_BOOL(key, member, default_, flags, alias, help)
#include "hub/config/options.def"
#undef OPTION_STRING
#undef OPTION_INT
#undef OPTION_BOOL
}

/* Reads what options_pack() of the same program wrote; a NUL must follow it. */
static void options_unpack(const char *at, struct options *ret)
{
    memcpy(ret, at, sizeof *ret);
    at += sizeof *ret;
    ret->routes = ret->config_path = NULL;
#define OPTION_STRING(key, member, default_, flags, alias, help)                                             \
    ret->member = xstrdup(at);                                                                               \
    at += strlen(at) + 1;
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)
#define OPTION_BOOL(key, member, default_, flags, alias, help)
#include "hub/config/options.def"
#undef OPTION_STRING
#undef OPTION_INT
#undef OPTION_BOOL
}

static void close_all(const int fds[PREFORK_FDS])
{
    for (size_t i = 0; i < PREFORK_FDS; i++)
        close(fds[i]);
}

/* ---- the prefork parent ---- */

struct prefork_parent {
    const struct task_type *type; /* NULL: for ordinary slots */
    struct options options;
};

/* Receives one message and its descriptors (-1 where there is none). Returns its size, 0 if the worker is
 * gone. */
static size_t receive(char *data, int fds[PREFORK_FDS])
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(PREFORK_FDS * sizeof(int))];
    } control;
    struct iovec iov = {data, PREFORK_MESSAGE_MAX};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(PREFORK_SOCKET, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    for (size_t i = 0; i < PREFORK_FDS; i++)
        fds[i] = -1;
    struct cmsghdr *found = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (found && found->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(found), found->cmsg_len - CMSG_LEN(0));
    return n > 0 ? (size_t)n : 0;
}

static void answer(pid_t pid)
{
    ssize_t n = send(PREFORK_SOCKET, &pid, sizeof pid, MSG_NOSIGNAL);
    (void)n; /* on an error the worker is gone, and the next receive() returns 0 */
}

static _Noreturn void become_slot(const struct prefork_parent *parent, const int fds[PREFORK_FDS],
                                  unsigned reach)
{
    /* The slot's socket replaces the one of the prefork parent. */
    if (dup2(fds[0], PREFORK_SOCKET) < 0)
        _exit(1);
    close(fds[0]);
    fcntl(PREFORK_SOCKET, F_SETFD, FD_CLOEXEC);
    slot_main(PREFORK_SOCKET, fds[1], fds[2], reach, parent->type, &parent->options);
}

/* Forks a slot through a process in between; returns 0 if that fails. When this returns the slot is the
 * worker's child and waits for the worker's greeting. */
static pid_t fork_slot(const struct prefork_parent *parent, const int fds[PREFORK_FDS], unsigned reach)
{
    int report[2];
    pid_t slot = 0;
    if (pipe2(report, O_CLOEXEC) < 0)
        return 0;
    pid_t between = fork();
    if (between == 0) {
        slot = fork();
        if (slot == 0) {
            close(report[0]);
            close(report[1]);
            become_slot(parent, fds, reach);
        }
        slot = slot < 0 ? 0 : slot;
        ssize_t written = write(report[1], &slot, sizeof slot);
        _exit(written == (ssize_t)sizeof slot ? 0 : 1);
    }
    close(report[1]);
    if (between > 0) {
        if (read(report[0], &slot, sizeof slot) != (ssize_t)sizeof slot)
            slot = 0;
        while (waitpid(between, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    close(report[0]);
    return slot;
}

/* Whether a task forked from here may use the network. `name` = NULL: any type of ordinary slots. */
static bool needs_network(const char *name, const struct options *options)
{
    for (const struct task_type *const *type = task_type_all(); *type; type++)
        if ((name ? strcmp((*type)->name, name) == 0 : (*type)->isolation == TASK_IN_SLOT) &&
            task_type_reach(*type, options) & (TASK_REACH_NET | TASK_REACH_COMMAND))
            return true;
    return false;
}

/* Reads the options and preloads the type; false if that fails. */
static bool set_up(struct prefork_parent *parent, const char *type, char *data)
{
    int fds[PREFORK_FDS];
    if (receive(data, fds) < sizeof parent->options)
        return false;
    options_unpack(data, &parent->options);
    log_setup("taskhub-slot", parent->options.log_level, parent->options.log_format);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
        log_warn("a prefork parent could not give up privileges");
    confine_prepare();
    if (!needs_network(type, &parent->options) && !confine_network())
        log_info("tasks share this machine's network namespace", "reason", strerror(errno));
    parent->type = type ? task_type_find(type) : NULL;
    if (parent->type && parent->type->preload && parent->type->preload(&parent->options) != 0) {
        log_error("preloading a task type failed", "task", type);
        return false;
    }
    return type == NULL || parent->type;
}

/* Whether the worker has closed its end. */
static bool worker_gone(void)
{
    char byte;
    return recv(PREFORK_SOCKET, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Forks slots until the worker is gone. False if it sent a malformed message. */
static bool serve(const struct prefork_parent *parent, char *data)
{
    answer(PREFORK_READY);
    for (int fds[PREFORK_FDS]; receive(data, fds);) {
        if (fds[0] < 0 || fds[1] < 0 || fds[2] < 0)
            return false;
        pid_t slot = fork_slot(parent, fds, (unsigned char)data[0]);
        close_all(fds);
        answer(slot);
    }
    return true;
}

int prefork_main(char **words)
{
    const char *directory = words[0], *type = directory ? words[1] : NULL;
    static struct prefork_parent parent;
    static char data[PREFORK_MESSAGE_MAX];
    prctl(PR_SET_NAME, "taskhub-prefork");
    signal(SIGPIPE, SIG_IGN);
    if (directory == NULL || fcntl(PREFORK_SOCKET, F_SETFD, FD_CLOEXEC) < 0 || sodium_init() < 0)
        return 1;
    bool served = set_up(&parent, type, data) && serve(&parent, data);
    if (type == NULL && worker_gone())
        remains_guard(directory);
    _exit(served ? 0 : 1); /* nothing needs to be freed */
}

/* ---- the worker's side ---- */

struct request {
    struct list node;
    prefork_fork_fn *fn;
    void *ctx;
};

struct prefork {
    struct prefork_config config;
    struct child *child;
    int socket;
    bool ready;
    uv_poll_t *poll;      /* of the socket, and closed with it */
    struct list requests; /* struct request: not answered yet, in order */
};

/* ---- the environment of a prefork parent ---- */

/* Passes on only what programs need to find their files and to be debugged: nothing that can hold a
 * secret. */
static const char *const kept_names[] = {
    "PATH",         "HOME",          "LANG",          "LC_ALL",
    "TZ",           "TMPDIR",        "no_proxy",      "https_proxy",
    "http_proxy",   "SSL_CERT_DIR",  "SSL_CERT_FILE", "ASAN_OPTIONS",
    "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",  "MALLOC_ARENA_MAX",
};

static struct child_env make_environment(void)
{
    struct child_env env = {0};
    for (size_t i = 0; i < NELEMS(kept_names); i++) {
        const char *value = getenv(kept_names[i]);
        if (value)
            child_env_add(&env, kept_names[i], value);
    }
    return env;
}

/* ---- starting ---- */

static void send_options(struct prefork *prefork)
{
    struct buf packed = BUF_INIT;
    options_pack(prefork->config.options, &packed);
    if (send(prefork->socket, packed.data, packed.len, MSG_NOSIGNAL) < 0)
        log_error("a prefork parent takes no message", "reason", strerror(errno));
    buf_free(&packed);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_start(void *ctx, pid_t pid, int socket)
{
    struct prefork *prefork = ctx;
    (void)pid;
    prefork->socket = socket;
    prefork->poll = xcalloc(1, sizeof *prefork->poll);
    uv_poll_init(&prefork->config.loop->uv, prefork->poll, socket);
    prefork->poll->data = prefork;
    uv_poll_start(prefork->poll, UV_READABLE, on_readable);
    send_options(prefork);
}

/* ---- requests ---- */

static bool answer_one(struct prefork *prefork, pid_t pid)
{
    struct list *node = list_pop(&prefork->requests);
    if (node == NULL)
        return false;
    struct request request = *container_of(node, struct request, node);
    free(container_of(node, struct request, node));
    request.fn(request.ctx, pid);
    return true;
}

/* Closes the connection to the prefork parent; open requests get 0. */
static void disconnect(struct prefork *prefork)
{
    if (prefork->poll == NULL)
        return;
    uv_poll_stop(prefork->poll);
    loop_close(prefork->poll);
    prefork->poll = NULL;
    close(prefork->socket);
    prefork->socket = -1;
    prefork->ready = false;
    while (answer_one(prefork, 0))
        continue;
}

static bool take_answer(struct prefork *prefork, pid_t pid)
{
    if (pid != PREFORK_READY)
        return answer_one(prefork, pid);
    prefork->ready = true;
    child_ready(prefork->child);
    prefork->config.on_ready(prefork->config.ctx);
    return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct prefork *prefork = poll->data;
    (void)events;
    for (pid_t pid; status == 0 && prefork->poll == poll;) {
        ssize_t n = recv(prefork->socket, &pid, sizeof pid, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n != sizeof pid || !take_answer(prefork, pid))
            break;
    }
    if (prefork->poll != poll)
        return;
    disconnect(prefork);
    if (child_pid(prefork->child))
        kill(child_pid(prefork->child), SIGKILL); /* not reaped yet, so the pid is not reused */
}

static bool send_fork(struct prefork *prefork, const int fds[PREFORK_FDS], unsigned reach)
{
    size_t size = PREFORK_FDS * sizeof *fds;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(PREFORK_FDS * sizeof *fds)];
    } control = {0};
    char byte = (char)reach;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&msg);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(rights), fds, size);
    return sendmsg(prefork->socket, &msg, MSG_NOSIGNAL) > 0;
}

bool prefork_fork(struct prefork *prefork, const int fds[PREFORK_FDS], unsigned reach, prefork_fork_fn *fn,
                  void *ctx)
{
    bool sent = prefork->ready && send_fork(prefork, fds, reach);
    close_all(fds);
    if (!sent)
        return false;
    struct request *request = xcalloc(1, sizeof *request);
    request->fn = fn;
    request->ctx = ctx;
    list_append(&prefork->requests, &request->node);
    return true;
}

bool prefork_forking(const struct prefork *prefork)
{
    return !list_empty(&prefork->requests);
}

/* ---- life ---- */

static void on_exit_of_parent(void *ctx)
{
    disconnect(ctx);
}

struct prefork *prefork_new(const struct prefork_config *config)
{
    struct prefork *prefork = xcalloc(1, sizeof *prefork);
    struct child_env environment = make_environment();
    char name[80];
    prefork->config = *config;
    prefork->socket = -1;
    list_init(&prefork->requests);
    snprintf(name, sizeof name, "prefork %s", config->type ? config->type->name : "slots");
    prefork->child = child_new(
        config->loop,
        &(struct child_config){.name = name,
                               /* Not by path: a newer program may have replaced the file. */
                               .program = "/proc/self/exe",
                               .argv = (const char *[]){"taskhub-worker", PREFORK_WORD, config->directory,
                                                        config->type ? config->type->name : NULL, NULL},
                               .environment = environment,
                               .bare = true,
                               .socket = PREFORK_SOCKET,
                               .death_signal = config->type ? SIGKILL : 0, /* the guard ends by itself */
                               .on_start = on_start,
                               .on_exit = on_exit_of_parent,
                               .ctx = prefork});
    free(environment.lines);
    return prefork;
}

void prefork_free(struct prefork **prefork)
{
    struct prefork *old = *prefork;
    if (old == NULL)
        return;
    *prefork = NULL;
    disconnect(old);
    child_free(&old->child);
    free(old);
}

const struct task_type *prefork_type(const struct prefork *prefork)
{
    return prefork->config.type;
}

bool prefork_ready(const struct prefork *prefork)
{
    return prefork->ready;
}

pid_t prefork_pid(const struct prefork *prefork)
{
    return child_pid(prefork->child);
}
