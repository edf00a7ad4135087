/* SPDX-License-Identifier: MIT */
/* The fence around child programs: pipes, limits, deadline, clean environment, descriptors, and that
 * nothing of the child survives. */
#include "hub/base/buf.h"
#include "hub/base/clock.h"
#include "tasks/speech/fence.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define WAIT_MS 20000

static struct fence *start(const char *script, unsigned cpu_s, unsigned wall_s)
{
    static const char *argv[] = {"sh", "-c", NULL, NULL};
    char *reason = NULL;
    argv[2] = script;
    struct fence_spec spec = {.argv = argv, .file = -1, .cpu_s = cpu_s, .wall_s = wall_s};
    struct fence *fence = fence_start(&spec, &reason);
    if (fence == NULL)
        diag("%s", reason);
    free(reason);
    return fence;
}

/* Reads until the child has ended; its output as text. */
static char *output_of(struct fence *fence)
{
    struct buf text = BUF_INIT;
    char bytes[512];
    uint64_t limit = clock_mono_ms() + WAIT_MS;
    bool open = true;
    while ((open || !fence_ended(fence)) && clock_mono_ms() < limit) {
        ssize_t n = fence_read(fence, bytes, sizeof(bytes));
        if (n > 0)
            buf_append(&text, bytes, (size_t)n);
        else if (n == 0)
            open = false;
        fence_wait(fence, 10);
        fence_ended(fence);
    }
    return buf_take_string(&text);
}

static void check(const char *script, const char *want, int want_status, const char *what)
{
    struct fence *fence = start(script, 10, 20);
    fence_close_input(fence);
    char *text = output_of(fence);
    is_text(text, want, "%s", what);
    is_int(fence_status(fence), want_status, "its exit code");
    free(text);
    fence_close(&fence);
    ok(fence == NULL, "closed");
}

static void test_pipes(void)
{
    struct fence *fence = start("cat; echo done", 10, 20);
    is_int(fence_write(fence, "hello ", 6), 6, "input is taken");
    fence_close_input(fence);
    char *text = output_of(fence);
    is_text(text, "hello done\n", "and comes out");
    is_int(fence_status(fence), 0, "exit code");
    free(text);
    fence_close(&fence);
}

static void test_environment(void)
{
    setenv("SECRET_OF_OURS", "x", 1);
    int leak = open("/dev/null", O_RDONLY); /* without close-on-exec */
    check("env | cut -d= -f1 | grep -v -e '^_$' -e PWD -e SHLVL | sort | tr '\\n' ' '", "LC_ALL PATH ", 0,
          "the environment is ours to choose");
    check("set -- /proc/self/fd/*; echo $#", "4\n", 0,
          "no descriptor of ours, but that of the listing itself");
    check("set -- *; echo \"$#\" \"$1\"", "1 *\n", 0, "an empty directory");
    check("while read k v; do [ $k = NoNewPrivs: ] && echo $v; done </proc/self/status; :", "1\n", 0,
          "no new privileges");
    check("cat /etc/passwd 2>/dev/null", "", 1, "what others may read it may not");
    check("kill -PIPE $$; echo alive", "", 128 + SIGPIPE, "signals are as they come");
    close(leak);
}

static void test_file(void)
{
    static const char *const argv[] = {"sh", "-c", "cat /dev/fd/3", NULL};
    char *reason = NULL;
    int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    ok(write(file, "content", 7) == 7 && lseek(file, 0, SEEK_SET) == 0, "a file");
    struct fence *fence =
        fence_start(&(struct fence_spec){.argv = argv, .file = file, .cpu_s = 5, .wall_s = 10}, &reason);
    char *text = output_of(fence);
    is_text(text, "content", "is the child's number 3");
    free(text);
    fence_close(&fence);
    close(file);
}

static void test_limits(void)
{
    check("echo x > file", "", 128 + SIGXFSZ, "it may not write files");
    check("echo x > /tmp/taskhub-fence-test", "", 2, "nor make them elsewhere");
    struct fence *fence = start("while :; do :; done", 1, 20);
    free(output_of(fence));
    ok(fence_status(fence) == 128 + SIGXCPU || fence_status(fence) == 128 + SIGKILL,
       "its CPU time is limited (%d)", fence_status(fence));
    fence_close(&fence);
    fence = start("exec sleep 100", 10, 0);
    uint64_t before = clock_mono_ms();
    free(output_of(fence));
    is_int(fence_status(fence), 128 + SIGKILL, "and its time on the clock");
    ok(clock_mono_ms() - before < 10000, "at once");
    fence_close(&fence);
}

static void test_group(void)
{
    struct fence *fence = start("sleep 100 & echo $!; wait", 10, 20);
    char bytes[32] = "";
    while (fence_read(fence, bytes, sizeof(bytes) - 1) <= 0)
        fence_wait(fence, 100);
    pid_t grandchild = (pid_t)strtol(bytes, NULL, 10);
    ok(grandchild > 0 && kill(grandchild, 0) == 0, "a grandchild runs");
    fence_close(&fence);
    uint64_t limit = clock_mono_ms() + WAIT_MS;
    char path[64], state = 'R';
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)grandchild);
    while (clock_mono_ms() < limit && state != 'Z' && state != 0) {
        FILE *file = fopen(path, "re");
        state = 0;
        if (file && fscanf(file, "%*d %*s %c", &state) != 1)
            state = 0;
        if (file)
            fclose(file);
    }
    ok(state == 0 || state == 'Z', "and is killed with the child");
}

static void test_complaint(void)
{
    static const char *const ignored[] = {"harmless", NULL};
    struct fence *fence =
        start("echo '/etc/passwd: no such thing as\t/srv/x' >&2; echo harmless >&2; exit 3", 5, 10);
    free(output_of(fence));
    is_text(fence_complaint(fence, ignored), "… no such thing as …", "paths are taken out of complaints");
    is_text(fence_complaint(fence, NULL), "harmless", "the last line is told");
    ok(fence_said(fence, "no such thing"), "what it said can be asked for");
    is_int(fence_status(fence), 3, "exit code");
    fence_close(&fence);
    fence = start("head -c 100000 /dev/zero | tr '\\0' 'x' >&2; printf '\\n\\033[31mred\\n' >&2", 5, 10);
    free(output_of(fence));
    is_text(fence_complaint(fence, NULL), "?[31mred", "a flood of complaints keeps its end");
    fence_close(&fence);

    static const char *const argv[] = {"no-such-program-anywhere", NULL};
    char *reason = NULL;
    fence = fence_start(&(struct fence_spec){.argv = argv, .file = -1, .cpu_s = 1, .wall_s = 5}, &reason);
    free(output_of(fence));
    is_int(fence_status(fence), 127, "a program that does not exist");
    fence_close(&fence);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    test_pipes();
    test_environment();
    test_file();
    test_limits();
    test_group();
    test_complaint();
    return done_testing();
}
