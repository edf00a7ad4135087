/* SPDX-License-Identifier: MIT */
/* The private redis-server; see private_redis.h. Loop thread. The lock is a flock(2) on DATA/lock whose
 * descriptor the server inherits, so that it is free only after both the hub and its server have ended. */
#include "hub/redis/private_redis.h"

#include "hub/base/clock.h"
#include "hub/base/file.h"
#include "hub/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_WAIT_MS 10000
#define LOCK_POLL_MS 50
#define STOP_GRACE_MS 5000
#define SOCKET_PATH_MAX 107 /* sun_path without its NUL */

struct private_redis {
    struct loop *loop;
    struct private_redis_hooks hooks;
    const struct options *options;
    char *program;   /* path of redis-server */
    char *directory; /* DATA/redis, absolute */
    int lock_fd;
    int directory_fd; /* O_PATH, -1 unless the socket's path is too long */
    uint64_t deadline_ms;
    uv_timer_t *timer; /* polls the lock */
    struct child *child;
    char max_bytes[24]; /* its maxmemory */
    char state[160];
    bool stopping; /* its end is expected */
};

/* ---- the lock ------------------------------------------------------------------------------------ */

/* "hub PID\nredis PID\n" */
static void write_pids(int fd, pid_t hub, pid_t redis)
{
    char text[64];
    int n = snprintf(text, sizeof text, "hub %ld\nredis %ld\n", (long)hub, (long)redis);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        log_warn("cannot write the lock file", "reason", strerror(errno));
}

/* Describes the holder of the lock: the hub if it is alive, else its server. */
static void describe_holder(int fd, char *text, size_t size)
{
    char content[64] = "";
    long hub = 0, redis = 0;
    ssize_t n = pread(fd, content, sizeof content - 1, 0);
    if (n <= 0 || sscanf(content, "hub %ld redis %ld", &hub, &redis) != 2 || hub <= 0)
        snprintf(text, size, "another process");
    else if (kill((pid_t)hub, 0) == 0 || errno == EPERM)
        snprintf(text, size, "the hub with pid %ld", hub);
    else
        snprintf(text, size, "the redis-server with pid %ld", redis);
}

static int open_lock(const char *data_dir, char **ret_reason)
{
    char *path CLEANUP(free_char) = xasprintf("%s/lock", data_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        *ret_reason = xasprintf("data_dir: cannot open %s: %s", path, strerror(errno));
    return fd;
}

/* ---- the server ---------------------------------------------------------------------------------- */

static void on_child_start(void *ctx, pid_t pid, int socket)
{
    struct private_redis *redis = ctx;
    (void)socket;
    write_pids(redis->lock_fd, getpid(), pid);
    redis->state[0] = '\0';
}

static void on_child_exit(void *ctx)
{
    struct private_redis *redis = ctx;
    snprintf(redis->state, sizeof redis->state, "redis-server ended; see %.100s/redis.log", redis->directory);
    if (!redis->stopping)
        log_warn("redis-server ended; its log says why", "log",
                 redis->state + strlen("redis-server ended; see "));
}

/* The socket's path is relative to the server's directory, since sun_path is short. lazyfree: many records
 * expire at the same time. */
static const char *const settings[][2] = {{"--port", "0"},
                                          {"--unixsocket", "redis.sock"},
                                          {"--unixsocketperm", "700"},
                                          {"--dir", "."},
                                          {"--appendonly", "yes"},
                                          {"--save", ""},
                                          {"--maxmemory-policy", "noeviction"},
                                          {"--daemonize", "no"},
                                          {"--logfile", "redis.log"},
                                          {"--loglevel", "warning"},
                                          {"--set-proc-title", "no"},
                                          {"--lazyfree-lazy-expire", "yes"}};

/* Memory in bytes above which Redis refuses new tasks; the ends of tasks may use the rest of the machine. */
static uint64_t max_bytes(const struct options *options)
{
    uint64_t all = uv_get_total_memory(), ours = uv_get_constrained_memory();
    if (options->redis_max_bytes)
        return (uint64_t)options->redis_max_bytes;
    return (ours && ours < all ? ours : all) / 2;
}

static void start_server(struct private_redis *redis)
{
    const char *argv[2 * NELEMS(settings) + 6] = {
        redis->program, "--appendfsync", redis->options->redis_fsync, "--maxmemory", redis->max_bytes};
    memcpy(argv + 5, settings, sizeof settings);
    const struct child_config config = {
        .name = "redis-server",
        .argv = argv,
        .directory = redis->directory,
        .inherit = {redis->lock_fd},
        .inherit_count = 1,
        .death_signal = SIGTERM,
        .on_start = on_child_start,
        .on_exit = on_child_exit,
        .ctx = redis,
    };
    redis->child = child_new(redis->loop, &config);
}

/* Appends the path with the escapes of a URL. */
static void append_escaped(struct buf *to, const char *path)
{
    for (const char *p = path; *p; p++) {
        if (*p == '%' || *p == '?')
            buf_printf(to, "%%%02x", (unsigned)(unsigned char)*p);
        else
            buf_append_char(to, *p);
    }
}

/* Appends "unix:…/redis.sock". If the path is too long for a socket, it goes through a descriptor of the
 * directory, *ret_descriptor, which the caller closes; else that is -1. */
static void append_url(struct buf *to, const char *directory, int *ret_descriptor)
{
    char through[64];
    *ret_descriptor = -1;
    if (strlen(directory) + strlen("/redis.sock") > SOCKET_PATH_MAX) {
        *ret_descriptor = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        snprintf(through, sizeof through, "/proc/self/fd/%d", *ret_descriptor);
        directory = through;
    }
    buf_append_text(to, "unix:");
    append_escaped(to, directory);
    buf_append_text(to, "/redis.sock");
}

static void on_locked(struct private_redis *redis)
{
    struct buf url CLEANUP(buf_free) = BUF_INIT;
    append_url(&url, redis->directory, &redis->directory_fd);
    buf_append_char(&url, '\0');
    if (redis->hooks.on_locked(redis->hooks.ctx, url.data))
        start_server(redis);
}

static void on_poll(uv_timer_t *timer)
{
    struct private_redis *redis = timer->data;
    char holder[64], reason[200];
    if (flock(redis->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        uv_timer_stop(timer);
        on_locked(redis);
        return;
    }
    describe_holder(redis->lock_fd, holder, sizeof holder);
    snprintf(redis->state, sizeof redis->state, "waiting for the data directory, which %s uses", holder);
    if (clock_mono_ms() < redis->deadline_ms)
        return;
    uv_timer_stop(timer);
    snprintf(reason, sizeof reason, "data_dir: the directory is in use by %s; stop it or choose another one",
             holder);
    redis->hooks.on_failed(redis->hooks.ctx, reason);
}

/* ---- the object ----------------------------------------------------------------------------------- */

/* Makes DATA and DATA/redis with mode 0700 and returns the absolute path of the latter. */
static char *make_directory(const struct options *options, char **ret_reason)
{
    char *path CLEANUP(free_char) = xasprintf("%s/redis", options->data_dir);
    if (!data_dir_make(options->data_dir, ret_reason) || !data_dir_make(path, ret_reason))
        return NULL;
    char *absolute = realpath(path, NULL);
    if (absolute == NULL || chmod(absolute, 0700) != 0)
        *ret_reason = xasprintf("data_dir: %s: %s", path, strerror(errno));
    return absolute;
}

struct private_redis *private_redis_new(struct loop *loop, const struct options *options,
                                        struct private_redis_hooks hooks, char **ret_reason)
{
    char *program = child_find_program("redis-server");
    if (program == NULL) {
        *ret_reason =
            xstrdup("redis-server was not found; install it (apt-get install redis-server), or name a "
                    "Redis by redis.url or REDIS_URL");
        return NULL;
    }
    char *directory = make_directory(options, ret_reason);
    int lock_fd = directory ? open_lock(options->data_dir, ret_reason) : -1;
    if (lock_fd < 0) {
        free(program);
        free(directory);
        return NULL;
    }
    struct private_redis *redis = xcalloc(1, sizeof *redis);
    *redis = (struct private_redis){.loop = loop,
                                    .hooks = hooks,
                                    .options = options,
                                    .program = program,
                                    .directory = directory,
                                    .lock_fd = lock_fd,
                                    .directory_fd = -1,
                                    .deadline_ms = clock_mono_ms() + LOCK_WAIT_MS,
                                    .timer = loop_timer(loop, redis),
                                    .state = "starting"};
    snprintf(redis->max_bytes, sizeof redis->max_bytes, "%llu", (unsigned long long)max_bytes(options));
    uv_timer_start(redis->timer, on_poll, 0, LOCK_POLL_MS);
    return redis;
}

void private_redis_ready(struct private_redis *redis)
{
    if (redis->child)
        child_ready(redis->child);
}

const char *private_redis_state(const struct private_redis *redis)
{
    return redis->state[0] ? redis->state : NULL;
}

int private_redis_descriptor(const struct private_redis *redis)
{
    return redis->directory_fd;
}

void private_redis_stop(struct private_redis *redis, void (*fn)(void *ctx), void *ctx)
{
    uv_timer_stop(redis->timer);
    redis->stopping = true;
    if (redis->child)
        child_stop(redis->child, STOP_GRACE_MS, fn, ctx);
    else
        fn(ctx);
}

void private_redis_free(struct private_redis **redis)
{
    struct private_redis *gone = *redis;
    *redis = NULL;
    if (gone == NULL)
        return;
    child_free(&gone->child);
    close(gone->lock_fd);
    if (gone->directory_fd >= 0)
        close(gone->directory_fd);
    loop_close(gone->timer);
    free(gone->program);
    free(gone->directory);
    free(gone);
}

bool private_redis_address(const struct options *options, struct buf *ret_url, int *ret_descriptor)
{
    char *lock CLEANUP(free_char) = xasprintf("%s/lock", options->data_dir);
    char *path CLEANUP(free_char) = xasprintf("%s/redis", options->data_dir);
    char *directory CLEANUP(free_char) = realpath(path, NULL);
    int fd = open(lock, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool held = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
    if (!held || directory == NULL)
        return false;
    append_url(ret_url, directory, ret_descriptor);
    return true;
}
