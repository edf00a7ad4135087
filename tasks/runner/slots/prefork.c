/* The prefork parent process and the worker's side of it; see prefork.h. The prefork parent is
 * single-threaded and sleeps in recvmsg(2) unless it forks; it never runs a task itself, never touches Redis.
 * The worker's side: loop thread. */
#include "tasks/runner/slots/prefork.h"

#include "hub/base/child.h"
#include "hub/base/list.h"
#include "hub/base/log.h"
#include "tasks/runner/slots/child.h"
#include "tasks/runner/slots/proto.h"

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

#define PREFORK_SOCKET 3 /* its end of a SOCK_SEQPACKET pair */

/* Messages to a prefork parent: the first is PREFORK_BEGIN, then one PREFORK_FORK per slot, with two
 * descriptors: the slot's end of its socketpair and its gate. */
enum prefork_message {
    PREFORK_BEGIN = 1, /* name of the FRESH type (span, or none), options (span) */
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
    struct child *child;
    int socket;
    bool ready;
    uv_poll_t *poll; /* of the socket; closes with it */
    struct list requests;
    uint32_t numbers;
};

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

static void send_begin(struct prefork *prefork)
{
    struct buf message = BUF_INIT, packed = BUF_INIT;
    options_pack(prefork->config.options, &packed);
    slot_put_u32(&message, PREFORK_BEGIN);
    slot_put_span(&message, prefork->config.type ? span_of(prefork->config.type->name) : SPAN_NONE);
    slot_put_span(&message, buf_span(&packed));
    if (send(prefork->socket, message.data, message.len, MSG_NOSIGNAL) < 0)
        log_error("a prefork parent takes no message", "reason", strerror(errno));
    buf_free(&packed);
    buf_free(&message);
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
    send_begin(prefork);
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
        child_ready(prefork->child);
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
    if (child_pid(prefork->child))
        kill(child_pid(prefork->child), SIGKILL); /* not reaped yet, so the number is its own */
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

/* ---- life ---- */

static void on_exit_of_parent(void *ctx)
{
    disconnect(ctx);
}

struct prefork *prefork_new(const struct prefork_config *config)
{
    struct prefork *prefork = xcalloc(1, sizeof *prefork);
    char *environment[NELEMS(kept_names) + 1], name[80];
    prefork->config = *config;
    prefork->socket = -1;
    list_init(&prefork->requests);
    snprintf(name, sizeof name, "prefork %s", config->type ? config->type->name : "slots");
    make_environment(environment);
    prefork->child =
        child_new(config->loop,
                  &(struct child_config){.name = name,
                                         /* Not by name: the file may have been replaced by a newer one. */
                                         .program = "/proc/self/exe",
                                         .argv = (const char *[]){"taskhub-worker", PREFORK_WORD, NULL},
                                         .environment = (const char *const *)environment,
                                         .bare = true,
                                         .socket = PREFORK_SOCKET,
                                         .death_signal = SIGKILL,
                                         .on_start = on_start,
                                         .on_exit = on_exit_of_parent,
                                         .ctx = prefork});
    for (size_t i = 0; environment[i]; i++)
        free(environment[i]);
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
