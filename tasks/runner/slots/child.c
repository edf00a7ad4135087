/* SPDX-License-Identifier: MIT */
/* A slot process: its socket, the order of its tasks, and what a running task may do (task_ctx_ops over the
 * socketpair); see child.h. One thread, besides that of its writer; forked by a prefork parent. Never touches
 * Redis; ends with the worker (parent-death signal, end of the socket). A task that usually ends within 2 ms
 * costs one frame in: its reports are held back until it ends, 1 ms has passed or they are many. Its end is
 * held back until the quick tasks behind it have ended, for 1 ms, or 2 ms if one of them turns out to be long
 * (writer.h; this saves 5 % of a heavy task's CPU). When a slot dies, reports it held back cost only tasks of
 * that time: the last one is taken as the victim, the others run again. */
#include "tasks/runner/slots/child.h"

#include "hub/base/clock.h"
#include "hub/base/confine.h"
#include "hub/base/file.h"
#include "hub/base/list.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tasks/runner/slots/gate.h"
#include "tasks/runner/slots/proto.h"
#include "tasks/runner/slots/writer.h"
#include "tasks/store/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_SIZE 65536
#define HOLD_BYTES 16384 /* most bytes of reports of a running task held back, and for how long */
#define HOLD_US 1000
#define NOFILE 256
#define FILE_BYTES (1ULL << 30) /* the largest file a task may write */
#define EXIT_PROTOCOL 3
#define AUDIO_REPORT_BYTES 32768 /* bytes read between two reports to the parent */
#define CALL_TIMEOUT_MS 10000

struct slot_work { /* one task received from the socket */
    struct list node;
    const struct task_type *type;
    struct slot_frame frame; /* points into `bytes` */
    char bytes[];
};

struct slot_child {
    int socket;
    struct slot_gate *gate;
    const struct options *options;
    const struct task_type *only;
    struct buf in, out;
    struct slot_writer writer;
    struct list works; /* struct slot_work: received, not begun */
    uint64_t flushed_us;

    /* the running task */
    struct slot_work *work;
    struct task_ctx ctx;
    uint64_t coalesce_ms, progress_ms; /* shortest time between two; when the newest was sent, 0 = none was */
    bool progress_waits, meta_waits;   /* something newer than the last sent is waiting */
    struct buf meta;                   /* the newest meta object */
    struct buf audio;                  /* bytes of the stream, pushed by the parent */
    size_t audio_at;                   /* how many of them the task has read */
    uint64_t audio_read, audio_reported;
    bool audio_ended;
    uint32_t call; /* number of the newest call */
    bool answered;
    char *answer;

    unsigned reach;        /* TASK_REACH_… */
    struct db *db;         /* NULL without that reach, or if it cannot be opened */
    char directory[4096];  /* path of the slot's own directory */
    struct timespec clean; /* modification time of the directory when it was last empty */
};

/* Stages a frame about the running task. */
#define SAY(slot, type_, ...)                                                                                \
    SLOT_PUT(&(slot)->out, .type = (type_), .seq = (slot)->work->frame.seq, __VA_ARGS__)

static _Noreturn void end_process(int code)
{
    _exit(code); /* without the exit handlers of the prefork parent */
}

static void slot_flush(struct slot_child *slot)
{
    slot_write(&slot->writer, &slot->out);
    slot->flushed_us = clock_mono_us();
}

/* Called after each report of the running task: writes at once, unless the task is a quick one. */
static void slot_reported(struct slot_child *slot)
{
    if (!slot->work->frame.number[TASK_QUICK] || slot->out.len >= HOLD_BYTES ||
        clock_mono_us() - slot->flushed_us >= HOLD_US)
        slot_flush(slot);
}

/* ---- what comes in ---- */

/* `bytes`: the whole frame, which is copied. */
static bool take_task(struct slot_child *slot, struct span bytes)
{
    size_t used;
    struct slot_work *work = xmalloc(sizeof *work + bytes.n);
    memcpy(work->bytes, bytes.p, bytes.n);
    int rc = slot_next((struct span){work->bytes, bytes.n}, bytes.n, &work->frame, &used);
    work->type = rc > 0 ? task_type_find(work->frame.text[TASK_TYPE].p) : NULL;
    list_append(&slot->works, &work->node);
    return work->type != NULL;
}

static void take_answer(struct slot_child *slot, const struct slot_frame *frame)
{
    if (slot->work == NULL || frame->number[0] != slot->call || slot->answered)
        return; /* its call has timed out */
    slot->answered = true;
    if (frame->text[0].p)
        slot->answer = xstrndup(frame->text[0].p, frame->text[0].n);
}

static bool take_frame(struct slot_child *slot, const struct slot_frame *frame, struct span bytes)
{
    bool ours = slot->work && slot->work->frame.seq == frame->seq;
    switch (frame->type) {
    case SLOT_TASK:
        return take_task(slot, bytes);
    case SLOT_WAKE: /* the reason is in the gate; the bytes only end a poll */
        return true;
    case SLOT_AUDIO:
        if (ours)
            buf_append_span(&slot->audio, frame->text[0]);
        return true;
    case SLOT_AUDIO_END:
        slot->audio_ended |= ours;
        return true;
    case SLOT_ANSWER:
        take_answer(slot, frame);
        return true;
    default:
        return false;
    }
}

static void take_frames(struct slot_child *slot)
{
    size_t at = 0, used;
    struct slot_frame frame;
    for (int rc;;) {
        struct span rest = {slot->in.data + at, slot->in.len - at};
        rc = slot_next(rest, UINT32_MAX, &frame, &used);
        if (rc == 0)
            break;
        if (rc < 0 || !take_frame(slot, &frame, (struct span){rest.p, used})) {
            log_error("a slot was sent something it does not understand");
            end_process(EXIT_PROTOCOL);
        }
        at += used;
    }
    buf_consume(&slot->in, at);
}

static void slot_pump(struct slot_child *slot, int timeout_ms)
{
    struct pollfd pfd = {slot->socket, POLLIN, 0};
    if (timeout_ms > 0 && poll(&pfd, 1, timeout_ms) == 0)
        return;
    int flags = timeout_ms < 0 ? 0 : MSG_DONTWAIT;
    ssize_t n = recv(slot->socket, buf_reserve(&slot->in, READ_SIZE), READ_SIZE, flags);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        end_process(0);
    if (n > 0)
        slot->in.len += (size_t)n;
    take_frames(slot);
}

static struct slot_child *slot_of(struct task_ctx *ctx)
{
    return container_of(ctx, struct slot_child, ctx);
}

/* ---- progress ---- */

/* Sends the newest progress if it has not been sent. */
static void send_progress(struct slot_child *slot)
{
    if (!slot->progress_waits)
        return;
    SAY(slot, SLOT_PROGRESS, .number = {[PROGRESS_PERCENT] = (uint64_t)slot->ctx.percent},
        .text = {[PROGRESS_STAGE] = span_of(slot->ctx.stage),
                 [PROGRESS_MESSAGE] = span_of(slot->ctx.message),
                 [PROGRESS_META] = slot->meta_waits ? buf_span(&slot->meta) : SPAN_NONE});
    slot->progress_waits = slot->meta_waits = false;
}

/* Sends progress that waits, if the newest report is old enough. */
static void send_due_progress(struct slot_child *slot)
{
    uint64_t now_ms = slot->coalesce_ms && slot->progress_waits ? clock_mono_ms() : 0;
    if (!slot->progress_waits || (slot->progress_ms && now_ms < slot->progress_ms + slot->coalesce_ms))
        return;
    slot->progress_ms = now_ms;
    send_progress(slot);
    slot_reported(slot);
}

static void op_progress(struct task_ctx *ctx)
{
    struct slot_child *slot = slot_of(ctx);
    slot->progress_waits = true;
    send_due_progress(slot);
}

static void op_meta(struct task_ctx *ctx, struct span json)
{
    struct slot_child *slot = slot_of(ctx);
    buf_clear(&slot->meta);
    buf_append_span(&slot->meta, json);
    slot->progress_waits = slot->meta_waits = true;
    send_due_progress(slot);
}

static void op_partial(struct task_ctx *ctx, struct span json, bool final)
{
    struct slot_child *slot = slot_of(ctx);
    send_progress(slot); /* keeps the order of the calls */
    SAY(slot, final ? SLOT_FINAL : SLOT_PARTIAL, .text = {json});
    slot_reported(slot);
}

static void op_log(struct task_ctx *ctx, struct span text)
{
    struct slot_child *slot = slot_of(ctx);
    SAY(slot, SLOT_LOG, .text = {text});
    slot_reported(slot);
}

/* ---- waiting ---- */

static bool op_cancelled(struct task_ctx *ctx)
{
    struct slot_child *slot = slot_of(ctx);
    send_due_progress(slot);
    return slot_gate_stopped(slot->gate, slot->work->frame.seq) != STOP_NONE;
}

/* Milliseconds left until `end`, at most INT_MAX, 0 when it has passed. */
static int left_ms(uint64_t end)
{
    uint64_t now = clock_mono_ms();
    return now >= end ? 0 : end - now > INT32_MAX ? INT32_MAX : (int)(end - now);
}

/* Reads what the parent sends within this time, and sends progress that becomes due meanwhile. */
static void wait_for_parent(struct slot_child *slot, int timeout_ms)
{
    int due_ms = slot->progress_waits ? left_ms(slot->progress_ms + slot->coalesce_ms) : timeout_ms;
    slot_pump(slot, due_ms < timeout_ms ? due_ms : timeout_ms);
    send_due_progress(slot);
    if (slot->out.len)
        slot_flush(slot);
}

static bool op_sleep(struct task_ctx *ctx, unsigned ms)
{
    struct slot_child *slot = slot_of(ctx);
    uint64_t end = clock_mono_ms() + ms;
    if (ms)
        slot_flush(slot);
    for (int left; !op_cancelled(ctx) && (left = left_ms(end)) > 0;)
        wait_for_parent(slot, left);
    return !op_cancelled(ctx);
}

static ssize_t read_audio(struct slot_child *slot, void *to, size_t size, int timeout_ms)
{
    struct task_ctx *ctx = &slot->ctx;
    uint64_t end = clock_mono_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
    slot_flush(slot);
    slot_pump(slot, 0);
    for (int left; slot->audio.len == slot->audio_at && !slot->audio_ended && !op_cancelled(ctx);) {
        left = timeout_ms < 0 ? INT32_MAX : left_ms(end);
        if (left == 0)
            break;
        wait_for_parent(slot, left);
    }
    size_t there = slot->audio.len - slot->audio_at;
    if (op_cancelled(ctx) || (there == 0 && !slot->audio_ended)) {
        errno = op_cancelled(ctx) ? ECANCELED : EAGAIN;
        return -1;
    }
    size_t n = there < size ? there : size;
    if (n)
        memcpy(to, slot->audio.data + slot->audio_at, n);
    slot->audio_at += n;
    slot->audio_read += n;
    if (slot->audio_at == slot->audio.len) {
        buf_clear(&slot->audio);
        slot->audio_at = 0;
    }
    if (slot->audio_read - slot->audio_reported >= AUDIO_REPORT_BYTES) {
        SAY(slot, SLOT_TAKEN, .number = {slot->audio_read});
        slot->audio_reported = slot->audio_read;
        slot_flush(slot);
    }
    return (ssize_t)n;
}

static ssize_t op_audio_read(struct task_ctx *ctx, void *to, size_t size, int timeout_ms)
{
    struct slot_child *slot = slot_of(ctx);
    ssize_t n = read_audio(slot, to, size, timeout_ms);
    return n;
}

/* ---- asking the parent ---- */

static char *op_call(struct task_ctx *ctx, const char *service, struct span args)
{
    struct slot_child *slot = slot_of(ctx);
    SAY(slot, SLOT_CALL, .number = {++slot->call},
        .text = {[CALL_SERVICE] = span_of(service), [CALL_ARGS] = args});
    slot->answered = false;
    slot_flush(slot);
    uint64_t end = clock_mono_ms() + CALL_TIMEOUT_MS;
    for (int left; !slot->answered && !op_cancelled(ctx) && (left = left_ms(end)) > 0;)
        wait_for_parent(slot, left);
    char *answer = slot->answer;
    slot->answer = NULL;
    slot->call++; /* an answer that comes later is dropped */
    return answer;
}

static struct db *op_db(struct task_ctx *ctx)
{
    return slot_of(ctx)->db;
}

static const struct task_ctx_ops slot_ops = {
    .progress = op_progress,
    .meta = op_meta,
    .partial = op_partial,
    .log = op_log,
    .cancelled = op_cancelled,
    .sleep = op_sleep,
    .audio_read = op_audio_read,
    .call = op_call,
    .db = op_db,
};

/* ---- tasks ---- */

static void begin_ctx(struct slot_child *slot)
{
    const struct slot_work *work = slot->work;
    task_ctx_init(&slot->ctx, &slot_ops, slot->options, work->type);
    slot->ctx.id = work->frame.text[TASK_ID].p;
    slot->ctx.effect_id = work->frame.text[TASK_EFFECT].p;
    slot->ctx.owner = work->frame.text[TASK_OWNER].p;
    slot->ctx.attempt = (unsigned)work->frame.number[TASK_ATTEMPT];
    slot->ctx.args_text = work->frame.text[TASK_ARGS];
    int coalesce = work->type->coalesce_ms;
    slot->coalesce_ms = coalesce < 0    ? 0
                        : coalesce == 0 ? (uint64_t)slot->options->progress_coalesce_ms
                                        : (uint64_t)coalesce;
    slot->progress_ms = 0;
    slot->progress_waits = slot->meta_waits = false;
    slot->audio_at = 0;
    slot->audio_read = slot->audio_reported = 0;
    slot->audio_ended = false;
    buf_clear(&slot->audio);
}

static void report_end(struct slot_child *slot, uint64_t took_us)
{
    struct task_ctx *ctx = &slot->ctx;
    send_progress(slot);
    SAY(slot, SLOT_ENDED,
        .number = {[ENDED_TOOK_US] = took_us, [ENDED_FAILED] = ctx->failed, [ENDED_RETRY] = ctx->retry},
        .text = {[ENDED_RESULT] = ctx->failed ? SPAN_NONE : span_of(ctx->result),
                 [ENDED_CODE] = ctx->failed ? span_of(ctx->error_code) : SPAN_NONE,
                 [ENDED_ERROR] = ctx->failed ? span_of(ctx->error) : SPAN_NONE});
}

static bool is_quick(const struct slot_work *work)
{
    return work->frame.number[TASK_QUICK];
}

/* Whether the end of this task may wait for the end of the next one. */
static bool may_hold(const struct slot_child *slot)
{
    return is_quick(slot->work) && !list_empty(&slot->works) &&
           is_quick(container_of(slot->works.next, struct slot_work, node));
}

/* Whether a process that the task started is still alive: as a subreaper, the slot inherits its orphans.
 * Reaps those that have ended. */
static bool has_children(const struct slot_child *slot, const struct slot_work *work)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
        continue;
    if (pid == 0 && slot->only == NULL)
        log_warn("a task left processes behind; its slot ends with them", "task", work->type->name, "task_id",
                 work->frame.text[TASK_ID].p);
    return pid == 0;
}

/* Runs the task and reports its end. False if no other task may run in this process. */
static bool run_work(struct slot_child *slot, struct slot_work *work)
{
    slot->work = work;
    begin_ctx(slot);
    uint64_t start_us = clock_mono_us();
    if (!is_quick(work)) {
        SLOT_PUT(&slot->out, .type = SLOT_STARTED, .seq = work->frame.seq);
        slot_flush(slot);
    }
    work->type->run(&slot->ctx);
    task_ctx_returned(&slot->ctx);
    uint64_t end_us = clock_mono_us();
    report_end(slot, end_us - start_us);
    if (!may_hold(slot) || !slot_hold(&slot->writer, &slot->out, end_us))
        slot_flush(slot);
    task_ctx_clear(&slot->ctx);
    slot->work = NULL;
    bool clean = !has_children(slot, work);
    free(work);
    if (slot->audio.cap > READ_SIZE)
        buf_free(&slot->audio);
    return clean;
}

/* ---- its directory ---- */

/* When anything in it changed last. Asked once per task, by a way shorter than its path: no task leaves it.
 */
static struct timespec changed(void)
{
    struct stat about = {0};
    stat(".", &about);
    return about.st_mtim;
}

/* Empties the directory for the next task, if anything in it has changed. */
static void clean_directory(struct slot_child *slot)
{
    struct timespec now = changed();
    if (now.tv_sec == slot->clean.tv_sec && now.tv_nsec == slot->clean.tv_nsec)
        return;
    directory_clear(slot->directory);
    slot->clean = changed();
}

static bool enter_directory(struct slot_child *slot, int fd)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, slot->directory, sizeof slot->directory - 1);
    slot->directory[n > 0 ? n : 0] = '\0';
    if (n <= 0 || setenv("TMPDIR", slot->directory, 1) != 0 || fchdir(fd) != 0)
        return false;
    slot->clean = changed();
    return true;
}

/* ---- the process ---- */

/* Waits for the greeting that the worker sends when it knows the slot's pid and is its parent. */
static void await_hello(struct slot_child *slot)
{
    struct slot_frame frame;
    size_t used;
    int rc;
    while ((rc = slot_next(buf_span(&slot->in), READ_SIZE, &frame, &used)) == 0) {
        ssize_t n = recv(slot->socket, buf_reserve(&slot->in, READ_SIZE), READ_SIZE, 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            end_process(0);
        slot->in.len += n > 0 ? (size_t)n : 0;
    }
    if (rc < 0 || frame.type != SLOT_HELLO)
        end_process(EXIT_PROTOCOL);
    buf_consume(&slot->in, used);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != (pid_t)frame.number[0])
        end_process(0); /* the worker ended in between */
}

/* Confines the process to what its tasks may reach. The database is opened earlier, since tasks may not open
 * its files. */
static void give_up(const struct slot_child *slot, int directory)
{
    const struct confine_need need = {
        .reach = slot->reach & TASK_REACH_COMMAND ? CONFINE_COMMAND
                 : slot->reach & TASK_REACH_NET   ? CONFINE_NET
                                                  : CONFINE_ALONE,
        .directory = directory,
        .file = -1,
        .readable = slot->options->speech_http_token_file,
        .user = slot->reach & TASK_REACH_COMMAND ? slot->options->speech_exec_user : NULL,
        /* The parent limits elapsed time; this limits a child that uses several cores. */
        .cpu_s = slot->only ? slot_hard_limit_s(slot->only) : 0,
        .file_bytes = slot->reach & TASK_REACH_DB ? UINT64_MAX : FILE_BYTES,
        .files = NOFILE,
    };
    confine(&need);
    close(directory);
}

_Noreturn void slot_main(int socket, int gate_fd, int directory, unsigned reach, const struct task_type *only,
                         const struct options *options)
{
    static struct slot_child slot;
    prctl(PR_SET_NAME, only ? "taskhub-fresh" : "taskhub-slot");
    setpgid(0, 0); /* a kill of the group also ends the programs that a task started */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    slot.socket = socket;
    slot.options = options;
    slot.only = only;
    slot.reach = reach;
    list_init(&slot.works);
    slot.gate = slot_gate_map(gate_fd);
    close(gate_fd);
    if (slot.gate == NULL)
        end_process(1);
    slot_writer_init(&slot.writer, socket, slot.gate);
    if (slot.reach & TASK_REACH_DB)
        slot.db = store_open(options);
    if (!enter_directory(&slot, directory))
        end_process(1);
    give_up(&slot, directory);
    await_hello(&slot); /* after the change of user, which would reset the death signal */
    SLOT_PUT(&slot.out, .type = SLOT_READY);
    slot_flush(&slot);
    take_frames(&slot);
    for (;;) {
        struct list *node = list_pop(&slot.works);
        if (node == NULL) {
            slot_flush(&slot);
            slot_pump(&slot, -1);
            continue;
        }
        struct slot_work *work = container_of(node, struct slot_work, node);
        if (!slot_gate_begin(slot.gate, work->frame.seq)) {
            free(work); /* the parent took it back in time */
            continue;
        }
        bool clean = run_work(&slot, work);
        clean_directory(&slot);
        if (only || !clean ||
            (slot.reach & TASK_REACH_DB && slot.db == NULL)) { /* the next process may be able to open it */
            slot_flush(&slot);
            end_process(0);
        }
    }
}
