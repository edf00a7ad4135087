/* The prefork parent process and the worker's side of it; see prefork.h. The prefork parent is
 * single-threaded and sleeps in recvmsg(2) unless it forks; it never runs a task itself, never touches Redis.
 * The worker's side: loop thread. */
#include "tasks/runner/slots/prefork.h"

#include "hub/base/backoff.h"
#include "hub/base/list.h"
#include "hub/base/log.h"
#include "tasks/runner/slots/child.h"
#include "tasks/runner/slots/proto.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFORK_SOCKET 3 /* its end of a SOCK_SEQPACKET pair */

/* Messages to a prefork parent: the first is PREFORK_BEGIN, then one PREFORK_FORK per slot, with two
 * descriptors: the slot's end of its socketpair and its gate. */
enum prefork_message {
    PREFORK_BEGIN = 1, /* pid of the worker (u32), name of the FRESH type (span, or none), options (span) */
    PREFORK_FORK,      /* number of the request (u32) */
    /* back to the worker */
    PREFORK_READY,  /* preload() is done */
    PREFORK_FORKED, /* number of the request, pid (u32 each); pid 0 = it could not */
};
#define PREFORK_MESSAGE_MAX 65536

/* ---- the options on their way ---- */

/* What stays with the parent. */
static bool is_private(const char *key)
{
    static const char *const keys[] = {"redis.url", "celery.broker_url", "celery.result_backend",
                                       "jwt.key_file"};
    for (size_t i = 0; i < NELEMS(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static void pack_text(struct buf *to, const char *key, const char *text)
{
    slot_put_span(to, is_private(key) ? SPAN("") : span_of(text));
}

static char *unpack_text(struct slot_fields *from)
{
    struct span text = slot_get_span(from);
    return text.p ? xstrndup(text.p, text.n) : NULL;
}

static void options_pack(const struct options *options, struct buf *to)
{
#define OPTION_STRING(key, member, default_, flags, alias, help) pack_text(to, key, options->member);
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)                                      \
    slot_put_u64(to, (uint64_t)options->member);
#define OPTION_BOOL(key, member, default_, flags, alias, help) slot_put_u32(to, options->member);
#include "hub/config/options.def"
#undef OPTION_STRING
#undef OPTION_INT
#undef OPTION_BOOL
}

static bool options_unpack(struct span packed, struct options *ret)
{
    struct slot_fields from = {packed, false};
    struct options options;
    memset(&options, 0, sizeof options);
#define OPTION_STRING(key, member, default_, flags, alias, help) options.member = unpack_text(&from);
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)                                      \
    options.member = (int64_t)slot_get_u64(&from);
#define OPTION_BOOL(key, member, default_, flags, alias, help) options.member = slot_get_u32(&from) != 0;
#include "hub/config/options.def"
#undef OPTION_STRING
#undef OPTION_INT
#undef OPTION_BOOL
    if (!slot_fields_end(&from)) {
        options_free(&options);
        return false;
    }
    *ret = options;
    return true;
}

/* ---- the prefork parent ---- */

struct prefork_parent {
    pid_t worker;
    const struct task_type *type; /* NULL: of ordinary slots */
    struct options options;
};

/* Receives one message and up to two descriptors (-1 where there is none). Its size, 0 when the worker is
 * gone. */
static size_t receive(char *data, int fds[2])
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec iov = {data, PREFORK_MESSAGE_MAX};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(PREFORK_SOCKET, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    fds[0] = fds[1] = -1;
    struct cmsghdr *found = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (found && found->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(found), found->cmsg_len - CMSG_LEN(0));
    return n > 0 ? (size_t)n : 0;
}

static void answer(enum prefork_message message, uint32_t number, pid_t pid)
{
    struct buf to = BUF_INIT;
    slot_put_u32(&to, message);
    slot_put_u32(&to, number);
    slot_put_u32(&to, (uint32_t)pid);
    ssize_t n = send(PREFORK_SOCKET, to.data, to.len, MSG_NOSIGNAL);
    (void)n; /* the worker is gone: the next receive tells */
    buf_free(&to);
}

static _Noreturn void become_slot(const struct prefork_parent *parent, const int fds[2])
{
    /* The slot's socket takes the place of ours. */
    if (dup2(fds[0], PREFORK_SOCKET) < 0)
        _exit(1);
    close(fds[0]);
    fcntl(PREFORK_SOCKET, F_SETFD, FD_CLOEXEC);
    slot_main(PREFORK_SOCKET, fds[1], parent->type, &parent->options);
}

/* Forks a slot by way of a process in between; 0 if that fails. The slot is the worker's child when this
 * returns, and waits for the worker's word. */
static pid_t fork_slot(const struct prefork_parent *parent, const int fds[2])
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
            become_slot(parent, fds);
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

/* Takes the first message; false if it is not what it must be. */
static bool begin(struct prefork_parent *parent, struct span message)
{
    struct slot_fields from = {message, false};
    bool first = slot_get_u32(&from) == PREFORK_BEGIN;
    parent->worker = (pid_t)slot_get_u32(&from);
    struct span name = slot_get_span(&from), packed = slot_get_span(&from);
    if (!first || !slot_fields_end(&from) || !options_unpack(packed, &parent->options))
        return false;
    if (name.p == NULL)
        return true;
    char *text = xstrndup(name.p, name.n);
    parent->type = task_type_find(text);
    free(text);
    return parent->type != NULL;
}

static int set_up(struct prefork_parent *parent, char *data)
{
    int fds[2];
    size_t n = receive(data, fds);
    if (n == 0 || !begin(parent, (struct span){data, n}))
        return 1;
    log_setup_words("taskhub-slot", parent->options.log_level, parent->options.log_format);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent->worker)
        return 0; /* the worker ended in between */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
        log_warn("a prefork parent could not give up privileges");
    if (parent->type && parent->type->preload && parent->type->preload(&parent->options) != 0) {
        log_error("preloading a task type failed", "task", parent->type->name);
        return 1;
    }
    answer(PREFORK_READY, 0, 0);
    return -1;
}

int prefork_main(void)
{
    static struct prefork_parent parent;
    static char data[PREFORK_MESSAGE_MAX];
    prctl(PR_SET_NAME, "taskhub-prefork");
    close_range(PREFORK_SOCKET + 1, ~0U, 0);
    signal(SIGPIPE, SIG_IGN);
    if (fcntl(PREFORK_SOCKET, F_SETFD, FD_CLOEXEC) < 0 || sodium_init() < 0)
        return 1;
    int rc = set_up(&parent, data);
    if (rc >= 0)
        return rc;
    for (int fds[2];;) {
        size_t n = receive(data, fds);
        if (n == 0)
            _exit(0); /* the worker is gone; nothing here is worth tidying up */
        struct slot_fields from = {{data, n}, false};
        uint32_t message = slot_get_u32(&from), number = slot_get_u32(&from);
        if (message != PREFORK_FORK || !slot_fields_end(&from) || fds[0] < 0 || fds[1] < 0)
            return 1;
        pid_t slot = fork_slot(&parent, fds);
        close(fds[0]);
        close(fds[1]);
        answer(PREFORK_FORKED, number, slot);
    }
}

/* ---- the worker's side ---- */

struct request {
    struct list node;
    uint32_t number;
    prefork_fork_fn *fn;
    void *ctx;
};

struct prefork {
    struct prefork_config config;
    pid_t pid; /* 0 = none */
    int socket;
    bool ready;
    struct backoff backoff;
    uv_poll_t *poll;   /* of the socket; closes with it */
    uv_timer_t *timer; /* until the next start */
    struct list requests;
    uint32_t numbers;
};

static const char *type_name(const struct prefork *prefork)
{
    return prefork->config.type ? prefork->config.type->name : "";
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

/* ---- the environment of a prefork parent ---- */

/* Only what programs need to find their files and to be debugged: nothing that could hold a secret of ours.
 */
static const char *const kept_names[] = {
    "PATH",         "HOME",          "LANG",          "LC_ALL",
    "TZ",           "TMPDIR",        "no_proxy",      "https_proxy",
    "http_proxy",   "SSL_CERT_DIR",  "SSL_CERT_FILE", "ASAN_OPTIONS",
    "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",  "MALLOC_ARENA_MAX",
};

static void make_environment(char *env[static NELEMS(kept_names) + 1])
{
    size_t count = 0;
    for (size_t i = 0; i < NELEMS(kept_names); i++) {
        const char *value = getenv(kept_names[i]);
        if (value == NULL)
            continue;
        struct buf pair = BUF_INIT;
        buf_printf(&pair, "%s=%s", kept_names[i], value);
        env[count++] = buf_take_string(&pair);
    }
    env[count] = NULL;
}

/* ---- starting ---- */

/* Starts this program again as a prefork parent with `socket` as its descriptor 3. 0 or an errno. */
static int spawn_prefork(int socket, pid_t *ret)
{
    char program[] = "taskhub-worker", word[] = PREFORK_WORD;
    char *argv[] = {program, word, NULL}, *env[NELEMS(kept_names) + 1];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    make_environment(env);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, socket, PREFORK_SOCKET);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0);
    /* Not by name: the file may have been replaced by a newer version meanwhile. */
    int rc = posix_spawn(ret, "/proc/self/exe", &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; env[i]; i++)
        free(env[i]);
    return rc;
}

static void send_begin(struct prefork *prefork)
{
    struct buf message = BUF_INIT, packed = BUF_INIT;
    options_pack(prefork->config.options, &packed);
    slot_put_u32(&message, PREFORK_BEGIN);
    slot_put_u32(&message, (uint32_t)getpid());
    slot_put_span(&message, prefork->config.type ? span_of(prefork->config.type->name) : SPAN_NONE);
    slot_put_span(&message, buf_span(&packed));
    if (send(prefork->socket, message.data, message.len, MSG_NOSIGNAL) < 0)
        log_error("a prefork parent takes no message", "reason", strerror(errno));
    buf_free(&packed);
    buf_free(&message);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void start_later(struct prefork *prefork);

static void start(struct prefork *prefork)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        log_error("no socket for a prefork parent", "reason", strerror(errno));
        start_later(prefork);
        return;
    }
    int rc = spawn_prefork(pair[1], &prefork->pid);
    close(pair[1]);
    if (rc != 0) {
        log_error("a prefork parent cannot be started", "reason", strerror(rc));
        prefork->pid = 0;
        close(pair[0]);
        start_later(prefork);
        return;
    }
    prefork->socket = pair[0];
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    prefork->poll = xcalloc(1, sizeof *prefork->poll);
    uv_poll_init(&prefork->config.loop->uv, prefork->poll, pair[0]);
    prefork->poll->data = prefork;
    uv_poll_start(prefork->poll, UV_READABLE, on_readable);
    send_begin(prefork);
}

static void on_restart(uv_timer_t *timer)
{
    start(timer->data);
}

/* ---- requests ---- */

static void answer_all(struct prefork *prefork)
{
    struct list failed;
    list_init(&failed);
    list_splice(&failed, &prefork->requests);
    for (struct list *node; (node = list_pop(&failed)) != NULL;) {
        struct request *request = container_of(node, struct request, node);
        request->fn(request->ctx, 0);
        free(request);
    }
}

/* Gives the connection to the prefork parent up. */
static void disconnect(struct prefork *prefork)
{
    if (prefork->poll == NULL)
        return;
    uv_poll_stop(prefork->poll);
    uv_close((uv_handle_t *)prefork->poll, free_handle);
    prefork->poll = NULL;
    close(prefork->socket);
    prefork->socket = -1;
    prefork->ready = false;
    answer_all(prefork);
}

static bool take_answer(struct prefork *prefork, struct span message)
{
    struct slot_fields from = {message, false};
    uint32_t kind = slot_get_u32(&from), number = slot_get_u32(&from), pid = slot_get_u32(&from);
    if (!slot_fields_end(&from))
        return false;
    if (kind == PREFORK_READY) {
        prefork->ready = true;
        backoff_succeeded(&prefork->backoff);
        prefork->config.on_ready(prefork->config.ctx);
        return true;
    }
    list_for_each_safe (node, after, &prefork->requests) {
        struct request *request = container_of(node, struct request, node);
        if (request->number != number)
            continue;
        list_remove(node);
        request->fn(request->ctx, (pid_t)pid);
        free(request);
        return true;
    }
    return false;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct prefork *prefork = poll->data;
    (void)events;
    for (char data[64]; status == 0 && prefork->poll == poll;) {
        ssize_t n = recv(prefork->socket, data, sizeof data, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0 || !take_answer(prefork, (struct span){data, (size_t)n}))
            break;
    }
    if (prefork->poll != poll)
        return;
    disconnect(prefork);
    if (prefork->pid > 0)
        kill(prefork->pid, SIGKILL); /* not reaped yet, so the number is its own */
}

static bool send_fork(struct prefork *prefork, uint32_t number, int socket, int gate_fd)
{
    int fds[2] = {socket, gate_fd};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof fds)];
    } control = {0};
    struct buf message = BUF_INIT;
    slot_put_u32(&message, PREFORK_FORK);
    slot_put_u32(&message, number);
    struct iovec iov = {message.data, message.len};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&msg);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(rights), fds, sizeof fds);
    ssize_t n = sendmsg(prefork->socket, &msg, MSG_NOSIGNAL);
    buf_free(&message);
    return n > 0;
}

bool prefork_fork(struct prefork *prefork, int socket, int gate_fd, prefork_fork_fn *fn, void *ctx)
{
    uint32_t number = ++prefork->numbers;
    bool sent = prefork->ready && send_fork(prefork, number, socket, gate_fd);
    close(socket);
    close(gate_fd);
    if (!sent)
        return false;
    struct request *request = xcalloc(1, sizeof *request);
    request->number = number;
    request->fn = fn;
    request->ctx = ctx;
    list_append(&prefork->requests, &request->node);
    return true;
}

bool prefork_forking(const struct prefork *prefork)
{
    return !list_empty(&prefork->requests);
}

/* Starts the prefork parent again, after a pause if it keeps dying before it was ready. */
static void start_later(struct prefork *prefork)
{
    uv_timer_start(prefork->timer, on_restart, backoff_failed(&prefork->backoff, &backoff_process), 0);
}

void prefork_reap(struct prefork *prefork)
{
    int status = 0;
    if (prefork->pid == 0 || waitpid(prefork->pid, &status, WNOHANG) != prefork->pid)
        return;
    log_warn("a prefork parent ended and is started again", "task", type_name(prefork), "pid",
             LOG_NUM(prefork->pid), "signal", LOG_NUM(WIFSIGNALED(status) ? WTERMSIG(status) : 0), "code",
             LOG_NUM(WIFEXITED(status) ? WEXITSTATUS(status) : 0));
    prefork->pid = 0;
    if (prefork->ready)
        backoff_succeeded(&prefork->backoff);
    disconnect(prefork);
    start_later(prefork);
}

/* ---- life ---- */

struct prefork *prefork_new(const struct prefork_config *config)
{
    struct prefork *prefork = xcalloc(1, sizeof *prefork);
    prefork->config = *config;
    prefork->socket = -1;
    list_init(&prefork->requests);
    prefork->timer = xcalloc(1, sizeof *prefork->timer);
    uv_timer_init(&config->loop->uv, prefork->timer);
    prefork->timer->data = prefork;
    start(prefork);
    return prefork;
}

void prefork_stop(struct prefork *prefork)
{
    disconnect(prefork); /* the prefork parent ends when its socket does */
}

void prefork_free(struct prefork **prefork)
{
    struct prefork *old = *prefork;
    if (old == NULL)
        return;
    *prefork = NULL;
    uv_close((uv_handle_t *)old->timer, free_handle);
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
    return prefork->pid;
}
