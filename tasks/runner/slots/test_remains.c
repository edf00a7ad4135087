/* SPDX-License-Identifier: MIT */
/* What dead workers leave behind is found by the next worker and by a guard; living processes and those of
 * others are left alone. */
#include "tasks/runner/slots/remains.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[] = "/tmp/taskhub-remains-XXXXXX";

struct left { /* left by a worker that was killed */
    char directory[128];
    pid_t listed, unlisted; /* leaders of groups; by then children of the test */
};

/* A process that stays, in a group of its own, with a name that looks like the rest of a line of /proc.
 * Returns when the process has closed its files, which the end of the pipe shows. */
static pid_t stay(void)
{
    char none;
    int pipes[2];
    pid_t pid = pipe(pipes) == 0 ? fork() : -1;
    if (pid == 0) {
        prctl(PR_SET_NAME, "a) Z 1 1 (b");
        setpgid(0, 0);
        close_range(3, ~0U, 0); /* as execve(2) would, so that only the worker holds the lock */
        for (;;)
            pause();
    }
    setpgid(pid, pid);
    close(pipes[1]);
    bool held = read(pipes[0], &none, 1) != 0;
    close(pipes[0]);
    return held ? -1 : pid;
}

/* Runs a worker until it kills itself. */
static _Noreturn void be_worker(int tell)
{
    struct remains *remains = remains_new();
    struct left left = {.listed = stay(), .unlisted = stay()};
    if (remains && remains_add(remains, left.listed) && remains_add(remains, left.unlisted)) {
        remains_remove(remains, left.unlisted);
        snprintf(left.directory, sizeof left.directory, "%s", remains_directory(remains));
        ssize_t n = write(tell, &left, sizeof left);
        (void)n;
    }
    for (;;)
        pause();
}

/* Starts a worker. */
static pid_t start_worker(struct left *ret)
{
    int pipes[2];
    if (pipe(pipes) != 0)
        return -1;
    pid_t worker = fork();
    if (worker == 0)
        be_worker(pipes[1]);
    close(pipes[1]);
    ok(read(pipes[0], ret, sizeof *ret) == sizeof *ret, "a worker");
    close(pipes[0]);
    return worker;
}

static void kill_worker(pid_t worker)
{
    kill(worker, SIGKILL);
    waitpid(worker, NULL, 0);
}

/* Whether the process was killed; it is a child of the test since its parent is dead. */
static bool was_killed(pid_t pid)
{
    int status = 0;
    return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void end_unlisted(const struct left *left)
{
    is_int(waitpid(left->unlisted, NULL, WNOHANG), 0, "what was taken from the list lives");
    kill(left->unlisted, SIGKILL);
    waitpid(left->unlisted, NULL, 0);
}

static void test_next_worker(void)
{
    struct left left;
    pid_t worker = start_worker(&left);
    struct remains *remains = remains_new();
    ok(remains && kill(left.listed, 0) == 0 && access(left.directory, F_OK) == 0, "what lives is left alone");
    remains_free(&remains);
    kill_worker(worker);
    remains = remains_new();
    ok(was_killed(left.listed), "the next worker kills what a dead one listed");
    ok(remains && access(left.directory, F_OK) != 0, "and removes its directory");
    end_unlisted(&left);
    remains_free(&remains);
}

static void test_guard(void)
{
    struct left left;
    pid_t worker = start_worker(&left), guard = fork();
    if (guard == 0) {
        remains_guard(left.directory);
        _exit(0);
    }
    kill_worker(worker);
    ok(was_killed(left.listed), "a guard kills what its worker listed");
    ok(waitpid(guard, NULL, 0) == guard && access(left.directory, F_OK) != 0, "and removes its directory");
    end_unlisted(&left);
}

static void test_no_room(void)
{
    setenv("TMPDIR", "/nowhere/at/all", 1);
    ok(remains_new() == NULL && errno == ENOENT, "no room is told");
    setenv("TMPDIR", top, 1);
}

int main(void)
{
    ok(mkdtemp(top) && setenv("TMPDIR", top, 1) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "a place");
    test_next_worker();
    test_guard();
    test_no_room();
    char *path = xstrdup(top);
    ok(rmdir(path) == 0, "nothing is left");
    free(path);
    return done_testing();
}
