/* SPDX-License-Identifier: MIT */
/* Type misbehave: does what no task should, so that tests can see that nobody else suffers. Exists only
 * with diagnostics. */
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"

#include <signal.h>
#include <unistd.h>

static const char *const modes[] = {"crash",     "exit",    "hang",    "spin",   "leak",   "lie", "children",
                                    "bigresult", "badtext", "patient", "escape", "litter", NULL};
static const struct json_field args[] = {
    {.name = "mode", .kinds = KIND_STRING, .required = true, .words = modes},
    {.name = "attempts",
     .kinds = KIND_INTEGER,
     .min = 1,
     .max = 100}, /* number of attempts after which it completes */
};

static _Noreturn void hang(void)
{
    for (;;)
        pause();
}

static void crash(struct task_ctx *ctx)
{
    (void)ctx;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

static void leave(struct task_ctx *ctx)
{
    (void)ctx;
    _exit(7);
}

static void hang_up(struct task_ctx *ctx)
{
    task_progress(ctx, 1, "hanging", NULL);
    hang();
}

static void spin(struct task_ctx *ctx)
{
    task_progress(ctx, 1, "spinning", NULL);
    for (volatile unsigned turn = 0;; turn++)
        continue;
}

static void leak(struct task_ctx *ctx)
{
    for (int i = 0; i < 64; i++)
        if (dup(STDERR_FILENO) < 0)
            break;
    char *lost = malloc(1 << 20);
    if (lost)
        memset(lost, 1, 1 << 20);
    task_finish(ctx, NULL);
}

/* Writes junk to every descriptor it finds, as if it were a report. */
static void lie(struct task_ctx *ctx)
{
    char noise[64];
    (void)ctx;
    memset(noise, 0xee, sizeof noise);
    for (int fd = STDERR_FILENO + 1; fd < 64; fd++) {
        ssize_t written = write(fd, noise, sizeof noise);
        (void)written;
    }
    hang();
}

static void have_children(struct task_ctx *ctx)
{
    pid_t child = fork();
    if (child == 0)
        hang();
    task_meta(ctx, json_pack("{s:i}", "child", (int)child));
    task_progress(ctx, 1, "hanging", NULL);
    hang();
}

static void big_result(struct task_ctx *ctx)
{
    size_t size = 17u << 20; /* above the largest configurable limit */
    char *text = xmalloc(size);
    memset(text, 'x', size);
    task_finish(ctx, json_pack("{s:s#}", "text", text, (int)size));
    free(text);
}

static void bad_text(struct task_ctx *ctx)
{
    task_progress(ctx, 500,
                  "st\xff"
                  "age",
                  "m\xc3(essage");
    task_progress(ctx, -3, NULL, NULL);
    task_log(ctx, "l\xed\xa0\x80ine");
    task_fail(ctx, (struct task_error){"bad_text", false}, "e\xf8rror");
}

/* Runs until it is asked to stop, as every task should. */
static void be_patient(struct task_ctx *ctx)
{
    task_progress(ctx, 1, "waiting", NULL);
    while (task_sleep_ms(ctx, 60000))
        continue;
}

/* ---- children that would outlive it ---- */

static void as_it_is(void)
{
}

/* Loses its parent, which exits. */
static void orphan(void)
{
    if (fork() != 0)
        _exit(0);
}

static void lead_session(void)
{
    setsid();
}

static void lead_group(void)
{
    setpgid(0, 0);
}

static void become_daemon(void)
{
    orphan();
    setsid();
    orphan();
}

static void ignore_signals(void)
{
    orphan();
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
}

static void become_program(void)
{
    signal(SIGHUP, SIG_IGN);
    become_daemon();
}

static void (*const escapes[])(void) = {as_it_is,      orphan,         lead_session,  lead_group,
                                        become_daemon, ignore_signals, become_program};

/* Tries this way to escape, reports its pid and stays. */
static _Noreturn void escape_by(void (*way)(void), int tell)
{
    way();
    pid_t self = getpid();
    if (write(tell, &self, sizeof self) == sizeof self && way == become_program)
        execlp("sleep", "sleep", "1000", (char *)NULL);
    hang();
}

/* Starts one child per way to escape. Returns their pids. */
static json_t *start_all(void)
{
    int pipes[2];
    json_t *pids = json_array();
    if (pipe(pipes) != 0)
        return pids;
    for (size_t i = 0; i < NELEMS(escapes); i++) {
        pid_t child;
        if (fork() == 0)
            escape_by(escapes[i], pipes[1]);
        if (read(pipes[0], &child, sizeof child) == sizeof child)
            json_array_append_new(pids, json_integer(child));
    }
    return pids;
}

static void escape(struct task_ctx *ctx)
{
    task_meta(ctx, json_pack("{s:o}", "children", start_all()));
    task_progress(ctx, 1, "hanging", NULL);
    hang();
}

/* Ends and leaves its children behind. */
static void litter(struct task_ctx *ctx)
{
    task_finish(ctx, json_pack("{s:o}", "children", start_all()));
}

static void (*const acts[])(struct task_ctx *ctx) = {
    crash, leave, hang_up, spin, leak, lie, have_children, big_result, bad_text, be_patient, escape, litter};
_Static_assert(NELEMS(acts) + 1 == NELEMS(modes), "one act per mode");

static void run(struct task_ctx *ctx)
{
    const char *mode = task_arg_text(ctx, "mode");
    if ((int64_t)task_attempt(ctx) > task_arg_int(ctx, "attempts", 100)) {
        task_finish(ctx, NULL);
        return;
    }
    for (size_t i = 0; mode && i < NELEMS(acts); i++)
        if (strcmp(mode, modes[i]) == 0)
            acts[i](ctx);
}

const struct task_type task_type_misbehave = {
    .name = "misbehave",
    .title = "Crashes, hangs or lies (for testing)",
    .kind = TASK_HEAVY,
    .queue = "default",
    .isolation = TASK_IN_SLOT,
    .diagnostics = true,
    .args = args,
    .arg_count = NELEMS(args),
    .backoff_base_ms = 100,
    .soft_limit_s = 3,
    .hard_limit_s = 5,
    .run = run,
};
