/* SPDX-License-Identifier: MIT */
/* Runs the speech task on files, as a worker does: the recogniser is loaded once and every file gets a
 * child of its own. For tests and measurements; knows no Redis.
 *
 *     speech_cli [OPTION…] [--speech-engine …] FILE…
 *
 * Options of its own, before those of the configuration:
 *     args=JSON        the task's arguments (default: {"resource_id": "r"})
 *     pace=1           gives 16 kHz PCM at the pace of speech (100 ms pieces), else at once
 *     chunk=BYTES      most bytes given per read
 *     cancel_ms=MS     cancels after so long
 * Prints JSON lines: {"at_ms", "fed_ms", "event": progress|partial|final|log, …} with the milliseconds
 * since the start and of audio given by then; the last one of a file is {"event": completed|failed,
 * result|error, "cpu_ms", "rss_kb", "private_kb"}. */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tasks/speech/speech.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PACE_BYTES 3200 /* 100 ms */

struct vehicle {
    struct task_ctx ctx;
    const char *args;
    bool pace;
    size_t chunk;
    uint64_t cancel_ms;
    FILE *file;
    uint64_t started, fed_bytes;
};

static struct vehicle *vehicle_of(struct task_ctx *ctx)
{
    return container_of(ctx, struct vehicle, ctx);
}

/* ---- the context's operations ---------------------------------------------------------------------- */

static void print_event(struct task_ctx *ctx, const char *event, const char *key, json_t *value)
{
    struct vehicle *it = vehicle_of(ctx);
    json_t *line =
        json_pack("{s:I, s:I, s:s, s:i, s:s, s:o}", "at_ms", (json_int_t)(clock_mono_ms() - it->started),
                  "fed_ms", (json_int_t)(it->fed_bytes / 32), "event", event, "progress", ctx->percent,
                  "stage", ctx->stage, key, value);
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static void on_progress(struct task_ctx *ctx)
{
    print_event(ctx, "progress", "message", json_string(ctx->message));
}

static void on_meta(struct task_ctx *ctx, struct span json)
{
    print_event(ctx, "meta", "meta", json_loadb(json.p, json.n, 0, NULL));
}

static void on_partial(struct task_ctx *ctx, struct span json, bool final)
{
    print_event(ctx, final ? "final" : "partial", "meta", json_loadb(json.p, json.n, 0, NULL));
}

static void on_log(struct task_ctx *ctx, struct span text)
{
    print_event(ctx, "log", "text", json_stringn(text.p, text.n));
}

static bool is_cancelled(struct task_ctx *ctx)
{
    struct vehicle *it = vehicle_of(ctx);
    return it->cancel_ms && clock_mono_ms() - it->started >= it->cancel_ms;
}

static bool sleep_ms(struct task_ctx *ctx, unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
    return !is_cancelled(ctx);
}

static ssize_t read_audio(struct task_ctx *ctx, void *to, size_t size, int timeout_ms)
{
    struct vehicle *it = vehicle_of(ctx);
    if (is_cancelled(ctx)) {
        errno = ECANCELED;
        return -1;
    }
    if (it->chunk && size > it->chunk)
        size = it->chunk;
    if (it->pace) {
        /* A piece is there when its last sample has been spoken. */
        uint64_t due = it->started + (it->fed_bytes + PACE_BYTES) / 32, now = clock_mono_ms();
        if (due > now + (uint64_t)timeout_ms) {
            sleep_ms(ctx, (unsigned)timeout_ms);
            errno = EAGAIN;
            return -1;
        }
        if (due > now)
            sleep_ms(ctx, (unsigned)(due - now));
        size = size < PACE_BYTES ? size : PACE_BYTES;
    }
    size_t n = fread(to, 1, size, it->file);
    it->fed_bytes += n;
    return (ssize_t)n;
}

static char *call_nothing(struct task_ctx *ctx, const char *service, struct span args)
{
    (void)ctx;
    (void)service;
    (void)args;
    return NULL;
}

static struct db *no_db(struct task_ctx *ctx)
{
    (void)ctx;
    return NULL;
}

static const struct task_ctx_ops ops = {
    .progress = on_progress,
    .meta = on_meta,
    .partial = on_partial,
    .log = on_log,
    .cancelled = is_cancelled,
    .sleep = sleep_ms,
    .audio_read = read_audio,
    .call = call_nothing,
    .db = no_db,
};

/* ---- one file -------------------------------------------------------------------------------------- */

/* A figure of this process's memory in KiB. */
static int memory_kb(const char *name)
{
    char line[256];
    int value = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, name, strlen(name)) == 0)
            value += (int)strtol(line + strlen(name), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static void print_end(struct vehicle *it)
{
    struct task_ctx *ctx = &it->ctx;
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    struct timeval all[] = {self.ru_utime, self.ru_stime, children.ru_utime, children.ru_stime};
    json_int_t cpu_ms = 0;
    for (size_t i = 0; i < NELEMS(all); i++)
        cpu_ms += all[i].tv_sec * 1000 + all[i].tv_usec / 1000;
    json_t *line = json_pack("{s:s, s:I, s:I, s:I, s:i, s:i}", "event", ctx->failed ? "failed" : "completed",
                             "at_ms", (json_int_t)(clock_mono_ms() - it->started), "fed_ms",
                             (json_int_t)(it->fed_bytes / 32), "cpu_ms", cpu_ms, "rss_kb", memory_kb("Rss:"),
                             "private_kb", memory_kb("Private_Dirty:") + memory_kb("Private_Clean:"));
    if (ctx->failed)
        json_object_set_new(line, "error",
                            json_pack("{s:s, s:s, s:b}", "code", ctx->error_code, "message", ctx->error,
                                      "retry", ctx->retry));
    else
        json_object_set_new(line, "result", ctx->result ? json_loads(ctx->result, 0, NULL) : json_object());
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static int run_file(struct vehicle *it, const char *path, const struct options *options)
{
    it->file = fopen(path, "re");
    if (it->file == NULL) {
        perror(path);
        return 1;
    }
    it->started = clock_mono_ms();
    it->ctx = (struct task_ctx){.ops = &ops,
                                .options = options,
                                .id = "task",
                                .owner = "user",
                                .type = "process_speak_audio",
                                .attempt = 1,
                                .args_text = span_of(it->args)};
    speech_run(&it->ctx);
    task_ctx_returned(&it->ctx);
    print_end(it);
    task_ctx_clear(&it->ctx);
    fclose(it->file);
    return 0;
}

/* ---- the command line ------------------------------------------------------------------------------ */

/* Takes one of our own options; false if it is none. */
static bool own_option(struct vehicle *it, const char *word)
{
    const char *value = strchr(word, '=');
    if (value == NULL || word[0] == '-')
        return false;
    if (strncmp(word, "args=", 5) == 0)
        it->args = value + 1;
    else if (strncmp(word, "pace=", 5) == 0)
        it->pace = value[1] == '1';
    else if (strncmp(word, "chunk=", 6) == 0)
        it->chunk = (size_t)strtoul(value + 1, NULL, 10);
    else if (strncmp(word, "cancel_ms=", 10) == 0)
        it->cancel_ms = strtoul(value + 1, NULL, 10);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct vehicle it = {.args = "{\"resource_id\":\"r\"}"};
    struct options options;
    char *reason = NULL;
    int rest, failed = 0;
    log_setup("speech_cli", "warn", "logfmt");
    while (argc > 1 && own_option(&it, argv[1])) {
        argv[1] = argv[0];
        argc--;
        argv++;
    }
    if (!options_load(&options, argc, argv, NULL, &rest, &reason)) {
        fprintf(stderr, "speech_cli: %s\n", reason);
        free(reason);
        return 2;
    }
    if (speech_preload(&options) != 0)
        return 1;
    for (int i = rest; i < argc; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            int code = run_file(&it, argv[i], &options);
            options_free(&options);
            exit(code);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (status)
            printf("{\"event\":\"died\",\"status\":%d}\n", status);
        failed |= status;
    }
    options_free(&options);
    return failed ? 1 : 0;
}
