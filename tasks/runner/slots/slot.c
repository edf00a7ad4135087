/* A slot process: its socket and the order of its tasks; see slot.h. Single-threaded, forked by a zygote.
 * Never touches Redis; ends with the worker (parent-death signal, end of the socket).
 *
 * Reports of a quick task are held back until it ends, so that a burst of short tasks costs one write and
 * one wake-up of the parent. The end of a task may be held back while the next one runs only as long as
 * its start is held back too: the parent then knows from the shared page which task was the last to begin,
 * and that the ones before it left no trace. When that takes longer than expected the parent sends
 * SLOT_SPEAK_SIGNAL, and its handler writes what is held back while the task goes on. */
#include "tasks/runner/slots/slot_child.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 65536
#define HOLD_BYTES 16384 /* reports held back: at most so many, for so long */
#define HOLD_US 1000
#define NOFILE 256
#define EXIT_PROTOCOL 3

static _Noreturn void leave(int code)
{
    _exit(code); /* what the zygote registered for its own exit is not ours to run */
}

void slot_flush(struct slot_child *slot)
{
    size_t at = 0;
    while (at < slot->out.len) {
        ssize_t n = send(slot->socket, slot->out.data + at, slot->out.len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            leave(0);
        at += n > 0 ? (size_t)n : 0;
    }
    buf_clear(&slot->out);
    slot->flushed_us = clock_mono_us();
}

/* Of this process, for the signal handler. */
static struct slot_child *this_slot;

/* Calls only what a handler may call. What the socket does not take at once stays. */
static void on_speak(int number)
{
    struct slot_child *slot = this_slot;
    int error = errno;
    (void)number;
    if (slot->silent && slot->out.len) {
        ssize_t n = send(slot->socket, slot->out.data, slot->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        buf_consume(&slot->out, n > 0 ? (size_t)n : 0);
        slot->flushed_us = clock_mono_us();
    }
    errno = error;
}

static void hear_parent(struct slot_child *slot)
{
    struct sigaction action = {.sa_handler = on_speak, .sa_flags = SA_RESTART};
    sigset_t set;
    this_slot = slot;
    sigemptyset(&set);
    sigaddset(&set, SLOT_SPEAK_SIGNAL);
    sigaction(SLOT_SPEAK_SIGNAL, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void slot_reported(struct slot_child *slot)
{
    if (!slot->work->quick || slot->out.len >= HOLD_BYTES || clock_mono_us() - slot->flushed_us >= HOLD_US)
        slot_flush(slot);
}

/* ---- what comes in -------------------------------------------------------------------------------- */

static void free_work(struct slot_work *work)
{
    free(work->frame);
    free(work->id);
    free(work->owner);
    free(work);
}

static bool take_task(struct slot_child *slot, const struct slot_frame *frame)
{
    struct slot_work *work = xcalloc(1, sizeof *work);
    work->frame = xmalloc(frame->payload.n);
    memcpy(work->frame, frame->payload.p, frame->payload.n);
    struct slot_task task;
    if (!slot_get_task((struct span){work->frame, frame->payload.n}, &task) || !task.id.p || !task.owner.p ||
        !task.type.p) {
        free_work(work);
        return false;
    }
    work->seq = frame->seq;
    work->quick = task.quick;
    work->attempt = task.attempt;
    work->id = xstrndup(task.id.p, task.id.n);
    work->owner = xstrndup(task.owner.p, task.owner.n);
    work->args = task.args;
    char *name = xstrndup(task.type.p, task.type.n);
    work->type = task_type_find(name);
    free(name);
    list_append(&slot->works, &work->node);
    return work->type != NULL;
}

static bool take_answer(struct slot_child *slot, const struct slot_frame *frame)
{
    struct slot_answer answer;
    if (!slot_get_answer(frame->payload, &answer))
        return false;
    if (slot->work == NULL || answer.call != slot->call || slot->answered)
        return true; /* nobody waits for it any more */
    slot->answered = true;
    if (answer.json.p)
        slot->answer = json_loadb(answer.json.p, answer.json.n, JSON_DECODE_ANY, NULL);
    return true;
}

static bool take_frame(struct slot_child *slot, const struct slot_frame *frame)
{
    switch (frame->type) {
    case SLOT_TASK:
        return take_task(slot, frame);
    case SLOT_WAKE: /* the reason stands in the page; the bytes only ended a poll */
        return true;
    case SLOT_AUDIO:
        if (slot->work && slot->work->seq == frame->seq)
            buf_append_span(&slot->audio, frame->payload);
        return true;
    case SLOT_AUDIO_END:
        slot->audio_ended |= slot->work && slot->work->seq == frame->seq;
        return true;
    case SLOT_ANSWER:
        return take_answer(slot, frame);
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
        rc = slot_frame_next(rest, UINT32_MAX, &frame, &used);
        if (rc == 0)
            break;
        if (rc < 0 || !take_frame(slot, &frame)) {
            log_error("a slot was sent something it does not understand");
            leave(EXIT_PROTOCOL);
        }
        at += used;
    }
    buf_consume(&slot->in, at);
}

void slot_pump(struct slot_child *slot, int timeout_ms)
{
    struct pollfd pfd = {slot->socket, POLLIN, 0};
    if (timeout_ms > 0 && poll(&pfd, 1, timeout_ms) == 0)
        return;
    int flags = timeout_ms < 0 ? 0 : MSG_DONTWAIT;
    ssize_t n = recv(slot->socket, buf_reserve(&slot->in, READ_SIZE), READ_SIZE, flags);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        leave(0);
    if (n > 0)
        slot->in.len += (size_t)n;
    take_frames(slot);
}

/* ---- tasks ---------------------------------------------------------------------------------------- */

static void begin_ctx(struct slot_child *slot)
{
    const struct slot_work *work = slot->work;
    slot->ctx = (struct task_ctx){
        .ops = &slot_ops,
        .options = slot->options,
        .id = work->id,
        .owner = work->owner,
        .type = work->type->name,
        .attempt = work->attempt,
        .args_text = work->args,
    };
    slot->shown.seq = work->seq;
    slot->shown.percent = slot->shown.meta_version = slot->shown.meta_size = 0;
    slot->shown.stage[0] = slot->shown.message[0] = '\0';
    int coalesce = work->type->coalesce_ms;
    slot->coalesce_ms = coalesce < 0    ? 0
                        : coalesce == 0 ? (uint64_t)slot->options->progress_coalesce_ms
                                        : (uint64_t)coalesce;
    slot->progress_ms = 0;
    slot->shown_version = slot->sent_version = slot->sent_meta = 0;
    slot->audio_at = 0;
    slot->audio_read = slot->audio_told = 0;
    slot->audio_ended = false;
    buf_clear(&slot->audio);
}

static void report_end(struct slot_child *slot, uint64_t took_us)
{
    struct task_ctx *ctx = &slot->ctx;
    slot_send_progress(slot);
    struct slot_ended ended = {.took_us = took_us, .failed = ctx->failed, .retry = ctx->retry};
    if (ctx->failed) {
        ended.code = span_of(ctx->error_code);
        ended.error = span_of(ctx->error);
    } else {
        ended.result = span_of(ctx->result);
    }
    slot_put_ended(&slot->out, slot->work->seq, &ended);
}

/* Runs the task and reports; its reports may be held back, see the head of this file. */
static void run_work(struct slot_child *slot, struct slot_work *work)
{
    slot->work = work;
    begin_ctx(slot);
    uint64_t start_us = clock_mono_us();
    slot_frame_empty(&slot->out, SLOT_STARTED, work->seq);
    if (!work->quick)
        slot_flush(slot);
    slot->silent = 1;
    task_ctx_run(&slot->ctx, work->type->run);
    slot->silent = 0;
    bool start_held = work->quick && slot->flushed_us < start_us;
    uint64_t now_us = clock_mono_us();
    report_end(slot, now_us - start_us);
    task_ctx_clear(&slot->ctx);
    json_decref(slot->answer);
    slot->answer = NULL;
    slot->work = NULL;
    free_work(work);
    if (slot->audio.cap > READ_SIZE)
        buf_free(&slot->audio);
    if (!start_held || list_empty(&slot->works) || slot->out.len >= HOLD_BYTES ||
        now_us - slot->flushed_us >= HOLD_US)
        slot_flush(slot);
}

/* ---- the process ---------------------------------------------------------------------------------- */

/* Waits for the word of the worker, which it gives when it knows our pid and we are its child. */
static void await_hello(struct slot_child *slot)
{
    struct slot_frame frame;
    size_t used;
    int rc;
    while ((rc = slot_frame_next(buf_span(&slot->in), READ_SIZE, &frame, &used)) == 0) {
        ssize_t n = recv(slot->socket, buf_reserve(&slot->in, READ_SIZE), READ_SIZE, 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            leave(0);
        slot->in.len += n > 0 ? (size_t)n : 0;
    }
    struct slot_fields fields = {frame.payload, false};
    if (rc < 0 || frame.type != SLOT_HELLO)
        leave(EXIT_PROTOCOL);
    pid_t worker = (pid_t)slot_get_u32(&fields);
    buf_consume(&slot->in, used);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != worker)
        leave(0); /* the worker ended in between */
}

static void set_limits(const struct task_type *only)
{
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
        log_warn("core dumps of a slot cannot be switched off");
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > NOFILE) {
        files.rlim_cur = NOFILE;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (only == NULL)
        return;
    /* The parent kills by the clock on the wall; this ends a child that burns several cores. */
    rlim_t seconds = slot_hard_limit_s(only);
    setrlimit(RLIMIT_CPU, &(struct rlimit){seconds, seconds + 5});
}

_Noreturn void slot_main(int socket, int page_fd, const struct task_type *only, const struct options *options)
{
    static struct slot_child slot;
    prctl(PR_SET_NAME, only ? "taskhub-fresh" : "taskhub-slot");
    setpgid(0, 0); /* a kill takes the programs along that a task started */
    slot.socket = socket;
    slot.options = options;
    slot.only = only;
    list_init(&slot.works);
    slot.page = slot_page_map(page_fd);
    close(page_fd);
    if (slot.page == NULL)
        leave(1);
    hear_parent(&slot);
    await_hello(&slot);
    set_limits(only);
    slot_frame_empty(&slot.out, SLOT_READY, 0);
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
        if (!slot_page_begin(slot.page, work->seq)) {
            free_work(work); /* taken back in time */
            continue;
        }
        run_work(&slot, work);
        if (only) {
            slot_flush(&slot);
            leave(0);
        }
    }
}
