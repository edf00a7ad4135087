/* SPDX-License-Identifier: MIT */
/* Child processes: restarted when they die, stopped in order, clean environment. */
#include "hub/base/child.h"
#include "hub/base/clock.h"
#include "tests/lib/tap.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

struct watch {
    struct loop loop;
    struct child *child;
    unsigned starts, exits;
    bool stopped;
    uint64_t died_ms, back_ms, before_ms;
    unsigned until; /* number of the start that ends the loop, 0 = none */
    unsigned kills; /* how often to kill it */
};

static void on_start(void *ctx, pid_t pid, int socket)
{
    struct watch *watch = ctx;
    (void)socket;
    watch->starts++;
    watch->before_ms = watch->back_ms;
    watch->back_ms = clock_mono_ms();
    if (watch->starts == watch->until)
        uv_stop(&watch->loop.uv);
    if (watch->kills) {
        watch->kills--;
        watch->died_ms = clock_mono_ms();
        kill(pid, SIGKILL);
    } else if (watch->died_ms) {
        uv_stop(&watch->loop.uv);
    }
}

static void on_exit_(void *ctx)
{
    struct watch *watch = ctx;
    watch->exits++;
}

static void on_stopped(void *ctx)
{
    struct watch *watch = ctx;
    watch->stopped = true;
    uv_stop(&watch->loop.uv);
}

static void begin(struct watch *watch, const char *const *argv, struct child_env environment)
{
    const struct child_config config = {
        .name = "test",
        .argv = argv,
        .environment = environment,
        .directory = "/",
        .death_signal = SIGKILL,
        .on_start = on_start,
        .on_exit = on_exit_,
        .ctx = watch,
    };
    if (loop_init(&watch->loop) != 0)
        abort();
    watch->child = child_new(&watch->loop, &config);
    if (watch->died_ms)
        uv_run(&watch->loop.uv, UV_RUN_DEFAULT);
}

static void end(struct watch *watch)
{
    child_free(&watch->child);
    is_int(loop_deinit(&watch->loop), 0, "no handle is left");
}

static void test_restart(void)
{
    static const char *const argv[] = {"/bin/sleep", "60", NULL};
    struct watch watch = {.kills = 4};
    begin(&watch, argv, (struct child_env){0});
    is_int(watch.starts, 5, "started again after every death");
    ok(watch.back_ms - watch.died_ms < 500, "within half a second");
    child_stop(watch.child, 5000, on_stopped, &watch);
    uv_run(&watch.loop.uv, UV_RUN_DEFAULT);
    ok(watch.stopped && child_pid(watch.child) == 0, "stopped by SIGTERM");
    is_int(watch.starts, 5, "and not started again");
    end(&watch);
}

/* Five deaths before the child is ready are followed by a restart at once; later ones by a wait of a second
 * and more. */
static void test_backoff(void)
{
    static const char *const argv[] = {"/bin/false", NULL};
    struct watch watch = {.until = 7};
    begin(&watch, argv, (struct child_env){0});
    uv_run(&watch.loop.uv, UV_RUN_DEFAULT);
    is_int(watch.starts, 7, "one that cannot run is started again and again");
    uint64_t pause = watch.back_ms - watch.before_ms;
    ok(pause >= 900 && pause < 5000, "after six deaths with a pause: %d ms", (int)pause);
    end(&watch);
}

static void test_stubborn(void)
{
    static const char *const argv[] = {"/bin/sh", "-c",
                                       "trap '' TERM; echo > \"$FIFO\"; while :; do sleep 0.2; done", NULL};
    char fifo[] = "/tmp/test-child-XXXXXX";
    int fd = mkstemp(fifo);
    unlink(fifo);
    close(fd);
    if (fd < 0 || mkfifo(fifo, 0600) != 0)
        abort();
    struct child_env environment = {0};
    child_env_add(&environment, "FIFO", fifo);
    struct watch watch = {0};
    begin(&watch, argv, environment);
    free(environment.lines);
    FILE *ready = fopen(fifo, "r"); /* opens when the child has set its trap */
    ok(ready && fgetc(ready) == '\n', "got its environment");
    if (ready)
        fclose(ready);
    is_int(getsid(child_pid(watch.child)), child_pid(watch.child), "runs in a session of its own");
    child_stop(watch.child, 50, on_stopped, &watch);
    uv_run(&watch.loop.uv, UV_RUN_DEFAULT);
    ok(watch.stopped, "one that ignores SIGTERM is killed after its grace");
    unlink(fifo);
    end(&watch);
}

static void test_free(void)
{
    static const char *const argv[] = {"/bin/sleep", "60", NULL};
    struct watch watch = {0};
    begin(&watch, argv, (struct child_env){0});
    pid_t pid = child_pid(watch.child);
    end(&watch);
    ok(kill(pid, 0) != 0 && errno == ESRCH, "freeing kills");
    struct child *none = NULL;
    child_free(&none);
}

static void on_paired(void *ctx, pid_t pid, int socket)
{
    int *ours = ctx;
    (void)pid;
    *ours = socket;
}

/* The child reports what it finds through its end of the pair. */
static void test_socket(void)
{
    static const char *const argv[] = {"somebody", "-c",
                                       "echo $(env | grep -v -e PWD= -e SHLVL= -e _=) $0 >&7", NULL};
    int ours = -1;
    struct child_env environment = {0};
    struct loop loop;
    char text[200] = "";
    child_env_add(&environment, "A", "1");
    const struct child_config config = {.name = "test",
                                        .program = "/bin/sh",
                                        .argv = argv,
                                        .environment = environment,
                                        .bare = true,
                                        .socket = 7,
                                        .on_start = on_paired,
                                        .ctx = &ours};
    if (loop_init(&loop) != 0)
        abort();
    struct child *child = child_new(&loop, &config);
    free(environment.lines);
    struct pollfd readable = {ours, POLLIN, 0};
    ok(poll(&readable, 1, 60000) == 1 && read(ours, text, sizeof text - 1) > 0,
       "a child has its end of a pair");
    is_text(text, "A=1 somebody\n", "a bare environment, and its own first word");
    ok(poll(&readable, 1, 60000) == 1 && read(ours, text, sizeof text) == 0, "which ends with it");
    close(ours);
    child_free(&child);
    is_int(loop_deinit(&loop), 0, "no handle is left");
}

static void test_find(void)
{
    char *found = child_find_program("sh");
    ok(found && strstr(found, "/sh"), "found %s", found ? found : "nothing");
    free(found);
    ok(child_find_program("no-such-program") == NULL, "a missing program");
}

int main(void)
{
    test_restart();
    test_backoff();
    test_stubborn();
    test_free();
    test_socket();
    test_find();
    return done_testing();
}
