/* SPDX-License-Identifier: MIT */
/* One slot process seen from the worker's parent; see proc.h. Loop thread. The process is a child of this one
 * (tasks/runner/slots/prefork.h), so its pid is not reused until it is reaped here. Its reports are not
 * trusted, since a task may have overwritten its memory: this file refuses frames for another task than the
 * running one, invalid UTF-8 and invalid JSON. */
#include "tasks/runner/slots/proc.h"

#include "hub/base/clock.h"
#include "hub/base/confine.h"
#include "hub/base/file.h"
#include "hub/base/log.h"
#include "hub/base/utf8.h"
#include "hub/config/options.h"
#include "hub/json/json.h"
#include "tasks/runner/slots/child.h"
#include "tasks/runner/slots/prefork.h"
#include "tasks/runner/slots/remains.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_SIZE 65536
#define QUICK_US 2000 /* jobs that usually take less hold their reports back until they end */
#define READS_PER_TURN 8
#define FRAME_SLACK 65536  /* bytes a frame may have beyond the largest result */
#define START_MS 10000     /* most time from the request to SLOT_READY */
#define TERM_AFTER_MS 1000 /* when a cancel sends its signals */
#define KILL_AFTER_MS 1500
#define PARTIAL_MAX 16384
#define META_MAX 4096
#define TEXT_MAX 512
#define WORD_MAX 32
#define LOG_LINES_MAX 100

/* Returns the text if it is valid UTF-8 of at most `max` bytes, else a corrected copy in `scratch`. */
static struct span sanitize(struct span text, size_t max, char scratch[static TEXT_MAX + 1])
{
    const unsigned char *p = (const unsigned char *)text.p;
    size_t at = 0, kept = 0;
    bool same = true;
    while (at < text.n) {
        size_t n = utf8_length(p + at, text.n - at);
        if (kept + (n ? n : 1) > max)
            break;
        if (n) {
            memcpy(scratch + kept, p + at, n);
        } else {
            scratch[kept] = '?';
            same = false;
        }
        kept += n ? n : 1;
        at += n ? n : 1;
    }
    return same ? (struct span){text.p, kept} : (struct span){scratch, kept};
}

/* Copies a word as a C string; NULL if it is empty. */
static const char *copy_word(struct span text, char to[static TEXT_MAX + 1])
{
    struct span kept = sanitize(text, WORD_MAX, to);
    if (kept.n == 0)
        return NULL;
    memmove(to, kept.p, kept.n);
    to[kept.n] = '\0';
    return to;
}

static bool is_object(struct span json, const struct slot_job *job, const char *what)
{
    const char *reason = "not an object";
    if (json_check(json, JSON_LIMITS, &reason) == KIND_OBJECT)
        return true;
    log_warn("a task's report was dropped", "what", what, "reason", reason, "task", job->run.type->name,
             "task_id", job->run.id);
    return false;
}

static const struct engine_hooks *hooks_of(const struct slot_job *job)
{
    return slots_config(job->proc->slots)->hooks;
}

/* ---- progress ---- */

void slot_report_started(struct slot_job *job)
{
    if (job->started)
        return;
    job->started = true;
    job->since_ms = clock_mono_ms();
    job->run.began_ms = (int64_t)clock_wall_ms();
    hooks_of(job)->started(&job->run);
}

static bool on_progress(struct slot_job *job, const struct slot_frame *frame)
{
    char stage[TEXT_MAX + 1], message[TEXT_MAX + 1];
    struct span meta = frame->text[PROGRESS_META];
    uint64_t percent = frame->number[PROGRESS_PERCENT];
    if (percent > job->percent)
        job->percent = percent > 100 ? 100 : (unsigned)percent;
    struct queue_update update = {
        .kind = QUEUE_PROGRESS,
        .percent = (int)job->percent,
        .stage = copy_word(frame->text[PROGRESS_STAGE], stage),
    };
    if (frame->text[PROGRESS_MESSAGE].n)
        update.message = sanitize(frame->text[PROGRESS_MESSAGE], TEXT_MAX, message);
    if (meta.n && meta.n <= META_MAX && is_object(meta, job, "meta"))
        update.meta = meta;
    hooks_of(job)->update(&job->run, &update);
    return true;
}

/* ---- the other reports ---- */

static bool on_piece(struct slot_job *job, const struct slot_frame *frame)
{
    struct queue_update update = {.kind = frame->type == SLOT_FINAL ? QUEUE_FINAL : QUEUE_PARTIAL,
                                  .meta = frame->text[0]};
    if (update.meta.n == 0 || update.meta.n > PARTIAL_MAX)
        return false;
    if (is_object(update.meta, job, "partial"))
        hooks_of(job)->update(&job->run, &update);
    return true;
}

static bool on_log(struct slot_job *job, const struct slot_frame *frame)
{
    char scratch[TEXT_MAX + 1];
    if (frame->text[0].p == NULL)
        return false;
    if (job->log_lines++ >= LOG_LINES_MAX)
        return true;
    struct queue_update update = {.kind = QUEUE_LOG, .message = sanitize(frame->text[0], TEXT_MAX, scratch)};
    hooks_of(job)->update(&job->run, &update);
    return true;
}

static bool on_call(struct slot_job *job, const struct slot_frame *frame)
{
    if (frame->text[CALL_SERVICE].p == NULL)
        return false;
    hooks_of(job)->call(&job->run, (uint32_t)frame->number[0], frame->text[CALL_SERVICE].p,
                        frame->text[CALL_ARGS]);
    return true;
}

static bool on_taken(struct slot_job *job, const struct slot_frame *frame)
{
    hooks_of(job)->audio_taken(&job->run, frame->number[0]);
    return true;
}

/* ---- the end ---- */

/* Copies the texts of an end into one allocation, to which `end` then points. NULL if there is no text to
 * copy. */
static char *keep_texts(struct queue_end *end)
{
    struct span *const spans[] = {&end->result, &end->error_code, &end->error};
    if (end->error_code.n + end->error.n == 0 && span_is(end->result, "{}")) {
        end->result = SPAN("{}");
        return NULL;
    }
    size_t size = end->result.n + end->error_code.n + end->error.n;
    char *text = size ? xmalloc(size) : NULL, *at = text;
    for (size_t i = 0; i < NELEMS(spans); i++) {
        if (spans[i]->n == 0)
            continue;
        memcpy(at, spans[i]->p, spans[i]->n);
        spans[i]->p = at;
        at += spans[i]->n;
    }
    return text;
}

/* Ends the first job of the process and reports that to the runner. */
static void slot_report_end(struct slot_proc *proc, struct slot_job *job, struct queue_end *end)
{
    const struct engine_hooks *hooks = hooks_of(job);
    list_remove(&job->run.place);
    proc->count--;
    proc->backlog_us -= job->est_us;
    job->proc = NULL;
    if (proc->count > 1)
        slots_start_hurry(proc->slots);
    if (job->stop == STOP_LOST)
        hooks->ended(&job->run, NULL, NULL);
    else
        hooks->ended(&job->run, end, keep_texts(end));
}

static void fail(struct queue_end *end, const char *code, const char *error)
{
    end->kind = QUEUE_FAILED;
    end->error_code = span_of(code);
    end->error = span_of(error);
    end->result = SPAN_NONE;
    end->retry = false;
}

static bool on_ended(struct slot_job *job, const struct slot_frame *frame)
{
    char code[TEXT_MAX + 1], text[TEXT_MAX + 1];
    struct slot_proc *proc = job->proc;
    bool failed = frame->number[ENDED_FAILED] != 0;
    struct span result = frame->text[ENDED_RESULT];
    struct queue_end end = {.kind = QUEUE_COMPLETED};
    end.result = result.p ? result : SPAN("{}");
    if (failed && job->stop == STOP_CANCEL) {
        end.kind = QUEUE_CANCELLED;
        end.result = SPAN_NONE;
    } else if (failed && job->stop == STOP_TIMEOUT) {
        fail(&end, "timeout", "The task ran longer than it may");
    } else if (failed) {
        const char *name = copy_word(frame->text[ENDED_CODE], code);
        fail(&end, name ? name : "internal", "");
        end.error = sanitize(frame->text[ENDED_ERROR], TEXT_MAX, text);
        end.retry = frame->number[ENDED_RETRY] != 0;
    } else if (end.result.n > (size_t)slots_config(proc->slots)->options->result_bytes) {
        fail(&end, "result_too_large", "The result is too large");
    } else if (result.p && !is_object(result, job, "result")) {
        fail(&end, "internal", "The result is not an object");
    }
    if (!job->started)
        job->run.began_ms = (int64_t)clock_wall_ms();
    lane_job_took(proc, job, frame->number[ENDED_TOOK_US]);
    slot_report_end(proc, job, &end);
    return true;
}

/* ---- the state ---- */

static void slot_become(struct slot_proc *proc, enum slot_state state)
{
    static const unsigned moves[] = {
        [SLOT_FORKING] = 1 << SLOT_STARTING | 1 << SLOT_UNWANTED | 1 << SLOT_FAILED,
        [SLOT_STARTING] = 1 << SLOT_SERVING | 1 << SLOT_FAILED | 1 << SLOT_ENDING,
        [SLOT_SERVING] = 1 << SLOT_ENDING,
        [SLOT_UNWANTED] = 1 << SLOT_ENDING,
        [SLOT_FAILED] = 0,
        [SLOT_ENDING] = 0,
    };
    if (!(moves[proc->state] & 1u << state))
        abort();
    proc->state = state;
}

/* Ends the supply of jobs: the process is being killed (`ours`) or ended by itself. */
static void retire(struct slot_proc *proc, bool ours)
{
    static const enum slot_state next[][2] = {
        [SLOT_FORKING] = {SLOT_UNWANTED, SLOT_UNWANTED},
        [SLOT_STARTING] = {SLOT_FAILED, SLOT_ENDING},
        [SLOT_SERVING] = {SLOT_ENDING, SLOT_ENDING},
    };
    if (slot_proc_usable(proc))
        slot_become(proc, next[proc->state][ours]);
}

static void slot_proc_ready(struct slot_proc *proc)
{
    if (proc->state != SLOT_STARTING)
        return; /* it was killed meanwhile */
    slot_become(proc, SLOT_SERVING);
    lane_proc_ready(proc);
}

/* ---- frames ---- */

static bool (*const reports[])(struct slot_job *job, const struct slot_frame *frame) = {
    [SLOT_PROGRESS] = on_progress, [SLOT_PARTIAL] = on_piece, [SLOT_FINAL] = on_piece, [SLOT_LOG] = on_log,
    [SLOT_CALL] = on_call,         [SLOT_TAKEN] = on_taken,   [SLOT_ENDED] = on_ended,
};

static bool slot_report(struct slot_proc *proc, const struct slot_frame *frame)
{
    if (frame->type == SLOT_READY) {
        slot_proc_ready(proc);
        return true;
    }
    if (list_empty(&proc->jobs))
        return false;
    struct slot_job *job = container_of(proc->jobs.next, struct slot_job, run.place);
    if (job->seq != frame->seq)
        return false;
    if (frame->type != SLOT_ENDED)
        slot_report_started(job);
    return frame->type == SLOT_STARTED || (reports[frame->type] && reports[frame->type](job, frame));
}

struct slot_job *slot_proc_running(const struct slot_proc *proc)
{
    if (list_empty(&proc->jobs))
        return NULL;
    struct slot_job *job = container_of(proc->jobs.next, struct slot_job, run.place);
    return job->started ? job : NULL;
}

struct slot_job *slot_proc_begun(const struct slot_proc *proc)
{
    uint32_t begun = slot_gate_begun(proc->gate);
    list_for_each (node, &proc->jobs) {
        struct slot_job *job = container_of(node, struct slot_job, run.place);
        if (job->seq + 1 == begun)
            return job;
    }
    return NULL;
}

/* ---- writing ---- */

static void on_socket(uv_poll_t *poll, int status, int events);

struct buf *slot_proc_out(struct slot_proc *proc)
{
    slots_want_flush(proc->slots, proc);
    return &proc->out;
}

static void watch_socket(struct slot_proc *proc, bool blocked)
{
    proc->blocked = blocked;
    if (proc->poll)
        uv_poll_start(proc->poll, UV_READABLE | (blocked ? UV_WRITABLE : 0), on_socket);
}

void slot_proc_flush(struct slot_proc *proc)
{
    size_t at = 0;
    if (proc->pid == 0 || !slot_proc_usable(proc))
        return; /* not greeted yet: this is sent after the greeting */
    while (at < proc->out.len) {
        ssize_t n = send(proc->socket, proc->out.data + at, proc->out.len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* full, or closed, which a read will show */
        at += (size_t)n;
    }
    buf_consume(&proc->out, at);
    if (proc->out.len == 0 && proc->out.cap > 4 * READ_SIZE)
        buf_free(&proc->out);
    if ((proc->out.len > 0) != proc->blocked)
        watch_socket(proc, proc->out.len > 0);
}

static bool is_quick(const struct slot_job *job)
{
    return job->est_us < QUICK_US && !job->run.type->stream;
}

void slot_proc_give(struct slot_proc *proc, struct slot_job *job)
{
    job->proc = proc;
    job->seq = proc->next_seq++;
    list_append(&proc->jobs, &job->run.place);
    proc->count++;
    proc->backlog_us += job->est_us;
    if (proc->count > 1 && is_quick(job))
        slots_start_hurry(proc->slots);
    SLOT_PUT(slot_proc_out(proc), .type = SLOT_TASK, .seq = job->seq,
             .number = {[TASK_ATTEMPT] = job->run.attempt, [TASK_QUICK] = is_quick(job)},
             .text = {[TASK_ID] = span_of(job->run.id),
                      [TASK_EFFECT] = span_of(job->run.effect_id),
                      [TASK_OWNER] = span_of(job->run.owner),
                      [TASK_TYPE] = span_of(job->run.type->name),
                      [TASK_ARGS] = job->run.args});
}

void slot_proc_take_back(struct slot_proc *proc, struct list *to)
{
    uint32_t first = slot_gate_take_back(proc->gate, proc->next_seq);
    while (!list_empty(&proc->jobs)) {
        struct slot_job *job = container_of(proc->jobs.prev, struct slot_job, run.place);
        if (job->seq < first || job->started)
            return;
        if (proc->only)
            slot_proc_signal(proc, SIGKILL); /* it was made for this job alone */
        list_remove(&job->run.place);
        proc->count--;
        proc->backlog_us -= job->est_us;
        job->proc = NULL;
        list_append(to->next, &job->run.place); /* keeps the order: in front of what was moved before */
    }
}

/* ---- reading ---- */

/* Takes the socket out of the loop. */
static void disconnect(struct slot_proc *proc)
{
    if (proc->poll) {
        uv_poll_stop(proc->poll);
        loop_close(proc->poll);
        proc->poll = NULL;
    }
}

/* Call before the process is reaped: until then its pid is not reused. */
static void signal_group(const struct slot_proc *proc, int number)
{
    kill(-proc->pid, number);
    kill(proc->pid, number); /* its group may not exist yet */
}

static void read_frames(struct slot_proc *proc)
{
    size_t max = (size_t)slots_config(proc->slots)->options->result_bytes + FRAME_SLACK;
    size_t at = 0, used;
    struct slot_frame frame;
    int rc = 1;
    while (rc > 0) {
        struct span rest = {proc->in.data + at, proc->in.len - at};
        rc = slot_next(rest, max, &frame, &used);
        if (rc > 0 && !slot_report(proc, &frame))
            rc = -1;
        at += rc > 0 ? used : 0;
    }
    if (rc < 0) {
        log_error("a slot broke the protocol and is killed", "pid", LOG_NUM(proc->pid));
        disconnect(proc);
        slot_proc_signal(proc, SIGKILL);
        buf_clear(&proc->in);
        return;
    }
    buf_consume(&proc->in, at);
    if (proc->in.len == 0 && proc->in.cap > 4 * READ_SIZE)
        buf_free(&proc->in);
}

/* Reads what has arrived. False if the other end is closed. */
static bool read_socket(struct slot_proc *proc)
{
    for (unsigned turn = 0; turn < READS_PER_TURN; turn++) {
        ssize_t n = recv(proc->socket, buf_reserve(&proc->in, READ_SIZE), READ_SIZE, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (n <= 0)
            return false;
        proc->in.len += (size_t)n;
        read_frames(proc);
        if (n < READ_SIZE || proc->poll == NULL)
            return true;
    }
    return true;
}

/* Reads what a dead process has sent before its death. */
static void drain(struct slot_proc *proc)
{
    while (proc->poll && read_socket(proc)) {
        char byte;
        if (recv(proc->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
            break;
    }
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct slot_proc *proc = poll->data;
    if (events & UV_WRITABLE)
        slot_proc_flush(proc);
    if (status == 0 && (!(events & UV_READABLE) || read_socket(proc)))
        return;
    drain(proc);
    disconnect(proc);
    retire(proc, false);
    if (proc->pid)
        signal_group(proc, SIGKILL); /* it has usually ended already */
    slot_proc_reap(proc);
}

/* ---- signals and time ---- */

void slot_proc_signal(struct slot_proc *proc, int number)
{
    retire(proc, true);
    if (proc->pid == 0)
        return; /* on_forked() signals it */
    proc->signalled |= 1ULL << number;
    signal_group(proc, number);
}

void slot_proc_stop(struct slot_proc *proc, struct slot_job *job, enum run_stop reason)
{
    job->stop = reason;
    job->stop_ms = clock_mono_ms();
    slot_gate_stop(proc->gate, job->seq, reason);
    if (reason == STOP_LOST || reason == STOP_DRAIN)
        slot_proc_signal(proc, SIGKILL);
    else
        SLOT_PUT(slot_proc_out(proc), .type = SLOT_WAKE, .seq = job->seq);
}

static void send_kill_signal(struct slot_proc *proc, const struct slot_job *job, uint64_t now_ms)
{
    bool termed = proc->signalled & 1ULL << SIGTERM, killed = proc->signalled & 1ULL << SIGKILL;
    if (!killed && now_ms >= job->stop_ms + KILL_AFTER_MS)
        slot_proc_signal(proc, SIGKILL);
    else if (!termed && !killed && now_ms >= job->stop_ms + TERM_AFTER_MS)
        slot_proc_signal(proc, SIGTERM);
}

void slot_proc_tick(struct slot_proc *proc, uint64_t now_ms)
{
    if (proc->state < SLOT_SERVING && now_ms >= proc->born_ms + START_MS) {
        log_warn("a slot does not start and is killed", "pid", LOG_NUM(proc->pid));
        slot_proc_signal(proc, SIGKILL);
    }
    struct slot_job *job = slot_proc_begun(proc);
    if (job == NULL)
        return;
    if (!job->started)
        slot_report_started(job); /* a quick job holds its SLOT_STARTED back until it ends */
    /* since_ms may be newer than now_ms. */
    uint64_t ran_ms = now_ms > job->since_ms ? now_ms - job->since_ms : 0;
    if (job->stop == STOP_CANCEL)
        send_kill_signal(proc, job, now_ms);
    else if (job->stop == STOP_NONE && ran_ms >= 1000ULL * slot_soft_limit_s(job->run.type))
        slot_proc_stop(proc, job, STOP_TIMEOUT);
    if (ran_ms >= 1000ULL * slot_hard_limit_s(job->run.type) && !(proc->signalled & 1ULL << SIGKILL)) {
        if (job->stop == STOP_NONE)
            job->stop = STOP_TIMEOUT;
        slot_proc_signal(proc, SIGKILL);
    }
}

bool slot_proc_hurry(struct slot_proc *proc)
{
    if (proc->count < 2 || proc->only)
        return false;
    const struct slot_job *first = container_of(proc->jobs.next, struct slot_job, run.place);
    uint32_t begun = slot_gate_begun(proc->gate), before = proc->begun;
    proc->begun = begun;
    if (begun == before && begun - first->seq - 2 < proc->count) /* a job after the first has begun */
        slot_gate_hurry(proc->gate);
    return is_quick(first);
}

/* ---- the end ---- */

static struct queue_end end_of_victim(const struct slot_job *job, int status, char text[static 64])
{
    struct queue_end end = {.kind = QUEUE_DIED};
    end.error_code = SPAN("worker_lost");
    if (WIFSIGNALED(status))
        snprintf(text, 64, "The task's process was ended by signal %d", WTERMSIG(status));
    else
        snprintf(text, 64, "The task's process ended with code %d", WEXITSTATUS(status));
    end.error = span_of(text);
    if (job->stop == STOP_CANCEL)
        end.kind = QUEUE_CANCELLED;
    if (job->stop == STOP_TIMEOUT) {
        end.kind = QUEUE_FAILED;
        end.error_code = SPAN("timeout");
        end.error = SPAN("The task ran longer than it may");
    }
    if (job->stop == STOP_DRAIN)
        end.kind = QUEUE_RETURNED;
    return end;
}

/* Decides about the jobs of a dead process. The one it began last was its victim. Jobs it had begun earlier
 * ended without a report, and the jobs after it have not begun: both are returned. */
static void end_jobs(struct slot_proc *proc, int status)
{
    char text[64];
    struct list returned;
    list_init(&returned);
    uint32_t begun = slot_gate_begun(proc->gate);
    while (!list_empty(&proc->jobs)) {
        struct slot_job *job = container_of(proc->jobs.next, struct slot_job, run.place);
        if (job->started || job->seq + 1 == begun) {
            if (job->stop != STOP_LOST)
                slot_report_started(job);
            struct queue_end end = end_of_victim(job, status, text);
            slot_report_end(proc, job, &end);
            continue;
        }
        list_remove(&job->run.place);
        job->proc = NULL;
        list_append(&returned, &job->run.place);
    }
    proc->count = 0;
    proc->backlog_us = 0;
    lane_proc_dead(proc, &returned);
}

void slot_proc_reap(struct slot_proc *proc)
{
    siginfo_t info = {0};
    int status = 0;
    if (proc->pid == 0 || waitid(P_PID, (id_t)proc->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        info.si_pid == 0)
        return;
    kill(-proc->pid, SIGKILL); /* also kills what it started; its pid is not reused yet */
    remains_remove(slots_remains(proc->slots), proc->pid);
    while (waitpid(proc->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    drain(proc);
    if (!clean && !proc->signalled)
        log_warn("a slot died", "pid", LOG_NUM(proc->pid), "signal",
                 LOG_NUM(WIFSIGNALED(status) ? WTERMSIG(status) : 0), "code",
                 LOG_NUM(WIFEXITED(status) ? WEXITSTATUS(status) : 0));
    retire(proc, false);
    proc->pid = 0;
    disconnect(proc);
    end_jobs(proc, status);
}

/* ---- the beginning ---- */

static void on_forked(void *ctx, pid_t pid)
{
    struct slot_proc *proc = ctx;
    if (pid <= 0) {
        disconnect(proc);
        if (proc->state == SLOT_FORKING)
            slot_become(proc, SLOT_FAILED);
        end_jobs(proc, 0);
        return;
    }
    struct buf hello = BUF_INIT;
    proc->pid = pid;
    bool noted = remains_add(slots_remains(proc->slots), pid); /* before the slot can start anything */
    SLOT_PUT(&hello, .type = SLOT_HELLO, .number = {(uint64_t)getpid()});
    buf_append_span(&hello, buf_span(&proc->out));
    buf_free(&proc->out);
    proc->out = hello;
    slot_become(proc, proc->state == SLOT_UNWANTED ? SLOT_ENDING : SLOT_STARTING);
    if (!slot_proc_usable(proc) || !noted) {
        slot_proc_signal(proc, SIGKILL);
        return;
    }
    slot_proc_flush(proc);
    slot_proc_reap(proc);
}

/* Makes the directory, the gate and the socketpair of a slot; `ret_fds` are the slot's ends. False, and
 * nothing is left, if one cannot be made. */
static bool make_parts(struct slot_proc *proc, int ret_fds[PREFORK_FDS])
{
    int pair[2];
    const struct remains *remains = slots_remains(proc->slots);
    proc->directory = remains ? confine_directory(remains_directory(remains)) : NULL;
    int directory = proc->directory ? open(proc->directory, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    int gate_fd = directory < 0 ? -1 : slot_gate_create();
    proc->gate = gate_fd < 0 ? NULL : slot_gate_map(gate_fd);
    if (proc->gate && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        proc->socket = pair[0];
        memcpy(ret_fds, (int[PREFORK_FDS]){pair[1], gate_fd, directory}, PREFORK_FDS * sizeof *ret_fds);
        return true;
    }
    slot_gate_unmap(&proc->gate);
    if (gate_fd >= 0)
        close(gate_fd);
    if (directory >= 0)
        close(directory);
    directory_drop(&proc->directory);
    return false;
}

struct slot_proc *slot_proc_new(struct slots *slots, struct lane *lane, struct prefork *prefork,
                                unsigned reach)
{
    int fds[PREFORK_FDS];
    struct slot_proc *proc = xcalloc(1, sizeof *proc);
    proc->slots = slots;
    proc->lane = lane;
    proc->only = prefork_type(prefork);
    proc->reach = reach;
    if (!make_parts(proc, fds)) {
        free(proc);
        return NULL;
    }
    proc->born_ms = clock_mono_ms();
    list_init(&proc->node);
    list_init(&proc->flush_node);
    list_init(&proc->jobs);
    proc->poll = xcalloc(1, sizeof *proc->poll);
    uv_poll_init(&slots_config(slots)->loop->uv, proc->poll, proc->socket);
    proc->poll->data = proc;
    uv_poll_start(proc->poll, UV_READABLE, on_socket);
    if (!prefork_fork(prefork, fds, reach, on_forked, proc))
        slot_proc_free(&proc);
    return proc;
}

void slot_proc_free(struct slot_proc **proc)
{
    struct slot_proc *old = *proc;
    if (old == NULL)
        return;
    *proc = NULL;
    slot_proc_signal(old, SIGKILL);
    disconnect(old);
    close(old->socket);
    slot_gate_unmap(&old->gate);
    directory_drop(&old->directory);
    list_remove(&old->node);
    list_remove(&old->flush_node);
    buf_free(&old->in);
    buf_free(&old->out);
    free(old);
}
