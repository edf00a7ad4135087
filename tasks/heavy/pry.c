/* SPDX-License-Identifier: MIT */
/* Type pry: tries what no task may do, so that tests can see that it cannot: from its own process, or from
 * a fenced child like ffmpeg's. The result names the error of each try, or `done`. Exists only with
 * diagnostics. */
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"
#include "tasks/speech/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Linked only into the worker. */
#pragma weak fence_start
#pragma weak fence_read
#pragma weak fence_wait
#pragma weak fence_ended
#pragma weak fence_close

static const json_t *targets; /* the arguments */

static const struct json_field args[] = {
    {.name = "file", .kinds = KIND_STRING, .required = true, .min = 1, .max = 512}, /* to read */
    {.name = "directory",
     .kinds = KIND_STRING,
     .required = true,
     .min = 1,
     .max = 512}, /* to list and to write into */
    {.name = "socket", .kinds = KIND_STRING, .required = true, .min = 1, .max = 107},  /* to connect to */
    {.name = "port", .kinds = KIND_INTEGER, .required = true, .min = 1, .max = 65535}, /* on this machine */
    {.name = "pid", .kinds = KIND_INTEGER, .required = true, .min = 1, .max = INT32_MAX}, /* to signal */
    {.name = "fenced", .kinds = KIND_TRUE | KIND_FALSE},
};

static const char *target(const char *name)
{
    return json_string_value(json_object_get(targets, name));
}

static int target_number(const char *name)
{
    return (int)json_integer_value(json_object_get(targets, name));
}

static bool read_file(void)
{
    char byte;
    int fd = open(target("file"), O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, &byte, 1) == 1;
}

static bool list_directory(void)
{
    return open(target("directory"), O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0;
}

static bool write_there(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/pry", target("directory"));
    return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
}

static bool connect_to(const struct sockaddr *at, size_t size)
{
    int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, at, (socklen_t)size) == 0;
}

static bool connect_unix(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", target("socket"));
    return connect_to((const struct sockaddr *)&at, sizeof at);
}

static bool connect_tcp(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)target_number("port")),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    return connect_to((const struct sockaddr *)&at, sizeof at);
}

static bool send_datagram(void)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && sendto(fd, "x", 1, 0, (const struct sockaddr *)&at, sizeof at) == 1;
}

static bool signal_other(void)
{
    return kill((pid_t)target_number("pid"), 0) == 0;
}

static bool become_root(void)
{
    return setuid(0) == 0;
}

static const struct {
    const char *name;
    bool (*may)(void);
} tries[] = {{"read", read_file},  {"list", list_directory}, {"write", write_there},   {"unix", connect_unix},
             {"tcp", connect_tcp}, {"udp", send_datagram},   {"signal", signal_other}, {"root", become_root}};

static json_t *try_all(void)
{
    json_t *found = json_object();
    for (size_t i = 0; i < NELEMS(tries); i++) {
        const char *word = tries[i].may() ? "done" : strerrorname_np(errno);
        json_object_set_new(found, tries[i].name, json_string(word ? word : "?"));
    }
    json_object_set_new(found, "uid", json_integer((json_int_t)geteuid()));
    return found;
}

/* Body of the fenced child. */
static void pry_and_print(void)
{
    char *text = json_dumps(try_all(), JSON_COMPACT);
    if (text)
        dprintf(STDOUT_FILENO, "%s", text);
}

/* Returns NULL if the child cannot be started. */
static json_t *pry_in_fence(void)
{
    /* No memory limit: sanitizers reserve more address space than it allows. */
    const struct fence_spec spec = {.run = pry_and_print, .file = -1, .cpu_s = 10, .wall_s = 10};
    char text[1024] = "", *reason = NULL;
    size_t have = 0;
    struct fence *fence = fence_start ? fence_start(&spec, &reason) : NULL;
    free(reason);
    while (fence && have < sizeof text - 1) {
        ssize_t n = fence_read(fence, text + have, sizeof text - 1 - have);
        if (n == 0)
            break;
        have += n > 0 ? (size_t)n : 0;
        fence_wait(fence, 100);
        fence_ended(fence);
    }
    if (fence)
        fence_close(&fence);
    return json_loads(text, 0, NULL);
}

static void run(struct task_ctx *ctx)
{
    targets = task_args(ctx);
    json_t *found = json_is_true(json_object_get(targets, "fenced")) ? pry_in_fence() : try_all();
    if (found)
        task_finish(ctx, found);
    else
        task_fail(ctx, (struct task_error){"no_child", false}, "There is no fenced child here");
}

const struct task_type task_type_pry = {
    .name = "pry",
    .title = "Tries what no task may (for testing)",
    .kind = TASK_HEAVY,
    .queue = "default",
    .isolation = TASK_IN_SLOT,
    .diagnostics = true,
    .args = args,
    .arg_count = NELEMS(args),
    .max_attempts = 1,
    .soft_limit_s = 20,
    .run = run,
};
