/* The zygote process; see zygote.h. Single-threaded; it sleeps in recvmsg(2) unless it forks. Never runs
 * a task itself, never touches Redis. */
#include "tasks/runner/slots/zygote.h"

#include "hub/base/log.h"
#include "tasks/runner/slots/proto.h"
#include "tasks/runner/slots/slot_options.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct zygote {
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
    struct iovec iov = {data, ZYGOTE_MESSAGE_MAX};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(ZYGOTE_SOCKET, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    fds[0] = fds[1] = -1;
    struct cmsghdr *found = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (found && found->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(found), found->cmsg_len - CMSG_LEN(0));
    return n > 0 ? (size_t)n : 0;
}

static void answer(enum zygote_message message, uint32_t number, pid_t pid)
{
    struct buf to = BUF_INIT;
    slot_put_u32(&to, message);
    slot_put_u32(&to, number);
    slot_put_u32(&to, (uint32_t)pid);
    ssize_t n = send(ZYGOTE_SOCKET, to.data, to.len, MSG_NOSIGNAL);
    (void)n; /* the worker is gone: the next receive tells */
    buf_free(&to);
}

static _Noreturn void become_slot(const struct zygote *zygote, const int fds[2])
{
    /* The slot's socket takes the place of ours. */
    if (dup2(fds[0], ZYGOTE_SOCKET) < 0)
        _exit(1);
    close(fds[0]);
    fcntl(ZYGOTE_SOCKET, F_SETFD, FD_CLOEXEC);
    slot_main(ZYGOTE_SOCKET, fds[1], zygote->type, &zygote->options);
}

/* Forks a slot by way of a process in between; 0 if that fails. The slot is the worker's child when this
 * returns, and waits for the worker's word. */
static pid_t fork_slot(const struct zygote *zygote, const int fds[2])
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
            become_slot(zygote, fds);
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
static bool begin(struct zygote *zygote, struct span message)
{
    struct slot_fields from = {message, false};
    bool first = slot_get_u32(&from) == ZYGOTE_BEGIN;
    zygote->worker = (pid_t)slot_get_u32(&from);
    struct span name = slot_get_span(&from), packed = slot_get_span(&from);
    if (!first || !slot_fields_end(&from) || !options_unpack(packed, &zygote->options))
        return false;
    if (name.p == NULL)
        return true;
    char *text = xstrndup(name.p, name.n);
    zygote->type = task_type_find(text);
    free(text);
    return zygote->type != NULL;
}

static int set_up(struct zygote *zygote, char *data)
{
    int fds[2];
    size_t n = receive(data, fds);
    if (n == 0 || !begin(zygote, (struct span){data, n}))
        return 1;
    log_setup_words("taskhub-slot", zygote->options.log_level, zygote->options.log_format);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != zygote->worker)
        return 0; /* the worker ended in between */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
        log_warn("a zygote could not give up privileges");
    if (zygote->type && zygote->type->preload && zygote->type->preload(&zygote->options) != 0) {
        log_error("preloading a task type failed", "task", zygote->type->name);
        return 1;
    }
    answer(ZYGOTE_READY, 0, 0);
    return -1;
}

int zygote_main(void)
{
    static struct zygote zygote;
    static char data[ZYGOTE_MESSAGE_MAX];
    prctl(PR_SET_NAME, "taskhub-zygote");
    close_range(ZYGOTE_SOCKET + 1, ~0U, 0);
    signal(SIGPIPE, SIG_IGN);
    if (fcntl(ZYGOTE_SOCKET, F_SETFD, FD_CLOEXEC) < 0 || sodium_init() < 0)
        return 1;
    int rc = set_up(&zygote, data);
    if (rc >= 0)
        return rc;
    for (int fds[2];;) {
        size_t n = receive(data, fds);
        if (n == 0)
            _exit(0); /* the worker is gone; nothing here is worth tidying up */
        struct slot_fields from = {{data, n}, false};
        uint32_t message = slot_get_u32(&from), number = slot_get_u32(&from);
        if (message != ZYGOTE_FORK || !slot_fields_end(&from) || fds[0] < 0 || fds[1] < 0)
            return 1;
        pid_t slot = fork_slot(&zygote, fds);
        close(fds[0]);
        close(fds[1]);
        answer(ZYGOTE_FORKED, number, slot);
    }
}
