/* One slot process seen from the worker's parent; see slot_proc.h. Loop thread. The process is this
 * process' own child (tasks/runner/slots/zygote.h), so its number stays its own until it is reaped here. */
#include "tasks/runner/slots/slot_proc.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "tasks/runner/slots/nursery.h"
#include "tasks/runner/slots/slot.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_SIZE 65536
#define READS_PER_TURN 8
#define FRAME_SLACK 65536  /* bytes of a frame beyond the largest result */
#define START_MS 10000     /* from birth to its first word */
#define TERM_AFTER_MS 1000 /* the kill ladder of a cancel */
#define KILL_AFTER_MS 1500

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

struct slot_job *slot_proc_running(const struct slot_proc *proc)
{
    if (list_empty(&proc->jobs))
        return NULL;
    struct slot_job *job = container_of(proc->jobs.next, struct slot_job, node);
    return job->started ? job : NULL;
}

struct slot_job *slot_proc_begun(const struct slot_proc *proc)
{
    uint32_t begun = slot_page_begun(proc->page);
    list_for_each (node, &proc->jobs) {
        struct slot_job *job = container_of(node, struct slot_job, node);
        if (job->seq + 1 == begun)
            return job;
    }
    return NULL;
}

void slot_proc_hear(const struct slot_proc *proc)
{
    if (proc->pid && proc->ready)
        kill(proc->pid, SLOT_SPEAK_SIGNAL);
}

/* ---- writing --------------------------------------------------------------------------------------- */

static void on_socket(uv_poll_t *poll, int status, int events);

struct buf *slot_proc_out(struct slot_proc *proc)
{
    slots_want_flush(proc->slots, proc);
    return &proc->out;
}

static void watch(struct slot_proc *proc, bool blocked)
{
    proc->blocked = blocked;
    if (proc->poll)
        uv_poll_start(proc->poll, UV_READABLE | (blocked ? UV_WRITABLE : 0), on_socket);
}

void slot_proc_flush(struct slot_proc *proc)
{
    size_t at = 0;
    if (proc->pid == 0 || proc->ending)
        return; /* not greeted yet: it leaves behind the greeting */
    while (at < proc->out.len) {
        ssize_t n = send(proc->socket, proc->out.data + at, proc->out.len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* full, or gone: reading tells */
        at += (size_t)n;
    }
    buf_consume(&proc->out, at);
    if (proc->out.len == 0 && proc->out.cap > 4 * READ_SIZE)
        buf_free(&proc->out);
    if ((proc->out.len > 0) != proc->blocked)
        watch(proc, proc->out.len > 0);
}

void slot_proc_give(struct slot_proc *proc, struct slot_job *job)
{
    struct slot_task task = {
        .id = span_of(job->id),
        .owner = span_of(job->owner),
        .type = span_of(job->type->name),
        .args = job->args.p ? job->args : SPAN("{}"),
        .attempt = job->attempt,
        .quick = job->est_us < 2000 && !job->type->stream,
    };
    job->proc = proc;
    job->seq = proc->next_seq++;
    list_append(&proc->jobs, &job->node);
    proc->count++;
    proc->backlog_us += job->est_us;
    slot_put_task(slot_proc_out(proc), job->seq, &task);
}

void slot_proc_take_back(struct slot_proc *proc, struct list *to)
{
    uint32_t first = slot_page_take_back(proc->page, proc->next_seq);
    while (!list_empty(&proc->jobs)) {
        struct slot_job *job = container_of(proc->jobs.prev, struct slot_job, node);
        if (job->seq < first || job->started)
            return;
        list_remove(&job->node);
        proc->count--;
        proc->backlog_us -= job->est_us;
        job->proc = NULL;
        list_append(to->next, &job->node); /* before the first */
    }
}

/* ---- reading ---------------------------------------------------------------------------------------- */

/* Takes the socket out of the loop. */
static void disconnect(struct slot_proc *proc)
{
    if (proc->poll) {
        uv_poll_stop(proc->poll);
        uv_close((uv_handle_t *)proc->poll, free_handle);
        proc->poll = NULL;
    }
}

/* Only for a process that has not been reaped: its number is its own. */
static void signal_group(const struct slot_proc *proc, int number)
{
    kill(-proc->pid, number);
    kill(proc->pid, number); /* it may not have made its group yet */
}

static void read_frames(struct slot_proc *proc)
{
    size_t max = (size_t)slots_config(proc->slots)->options->result_bytes + FRAME_SLACK;
    size_t at = 0, used;
    struct slot_frame frame;
    int rc = 1;
    while (rc > 0) {
        struct span rest = {proc->in.data + at, proc->in.len - at};
        rc = slot_frame_next(rest, max, &frame, &used);
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

/* Reads what is there. False when the other end is closed. */
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

/* Reads what a process that is gone has left behind. */
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
    proc->ending = true;
    if (proc->pid)
        signal_group(proc, SIGKILL); /* usually it has ended already */
    slot_proc_reap(proc);
}

/* ---- signals and time -------------------------------------------------------------------------------- */

void slot_proc_signal(struct slot_proc *proc, int number)
{
    proc->ending = true;
    if (proc->pid == 0)
        return; /* it is signalled when its pid is known */
    proc->signalled |= 1ULL << number;
    signal_group(proc, number);
}

void slot_proc_stop(struct slot_proc *proc, struct slot_job *job, enum slot_stop reason)
{
    job->stop = reason;
    job->stop_ms = clock_mono_ms();
    slot_page_stop(proc->page, job->seq, reason);
    if (reason == STOP_LOST || reason == STOP_DRAIN)
        slot_proc_signal(proc, SIGKILL);
    else
        slot_frame_empty(slot_proc_out(proc), SLOT_WAKE, job->seq);
}

static void climb(struct slot_proc *proc, const struct slot_job *job, uint64_t now_ms)
{
    bool termed = proc->signalled & 1ULL << SIGTERM, killed = proc->signalled & 1ULL << SIGKILL;
    if (!killed && now_ms >= job->stop_ms + KILL_AFTER_MS)
        slot_proc_signal(proc, SIGKILL);
    else if (!termed && !killed && now_ms >= job->stop_ms + TERM_AFTER_MS)
        slot_proc_signal(proc, SIGTERM);
}

void slot_proc_tick(struct slot_proc *proc, uint64_t now_ms)
{
    if (!proc->ready && !proc->ending && now_ms >= proc->born_ms + START_MS) {
        log_warn("a slot does not start and is killed", "pid", LOG_NUM(proc->pid));
        slot_proc_signal(proc, SIGKILL);
    }
    struct slot_job *job = slot_proc_begun(proc);
    if (job == NULL)
        return;
    if (!job->started)
        slot_proc_hear(proc); /* its own word is held back, and so may be the ends of others before it */
    uint64_t ran_ms = now_ms - job->since_ms;
    if (job->stop == STOP_CANCEL)
        climb(proc, job, now_ms);
    else if (job->stop == STOP_NONE && ran_ms >= 1000ULL * slot_soft_limit_s(job->type))
        slot_proc_stop(proc, job, STOP_TIMEOUT);
    if (ran_ms >= 1000ULL * slot_hard_limit_s(job->type) && !(proc->signalled & 1ULL << SIGKILL)) {
        if (job->stop == STOP_NONE)
            job->stop = STOP_TIMEOUT;
        slot_proc_signal(proc, SIGKILL);
    }
    if (job->started)
        slot_report_shown(proc, job, now_ms, false);
}

/* ---- the end ------------------------------------------------------------------------------------------ */

static struct queue_end end_of_victim(const struct slot_job *job, int status, char text[static 64])
{
    struct queue_end end = {.kind = QUEUE_DIED, .id = job->id, .attempt = job->attempt};
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
    if (job->stop == STOP_DRAIN) {
        end.kind = QUEUE_FAILED;
        end.retry = true;
        end.error_code = SPAN("worker_stopped");
        end.error = SPAN("The worker was stopped while the task ran");
    }
    return end;
}

/* Decides about the jobs of a process that is gone. What it began last was its victim; what it had begun
 * before had ended without a trace, and what stands behind has not begun: both are returned. */
static void end_jobs(struct slot_proc *proc, int status)
{
    char text[64];
    struct list returned;
    list_init(&returned);
    uint32_t begun = slot_page_begun(proc->page);
    while (!list_empty(&proc->jobs)) {
        struct slot_job *job = container_of(proc->jobs.next, struct slot_job, node);
        if (job->started || job->seq + 1 == begun) {
            if (job->stop != STOP_LOST)
                slot_report_started(job);
            struct queue_end end = end_of_victim(job, status, text);
            slot_report_end(proc, job, &end);
            continue;
        }
        list_remove(&job->node);
        job->proc = NULL;
        list_append(&returned, &job->node);
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
    kill(-proc->pid, SIGKILL); /* what it started; the number is still its own */
    while (waitpid(proc->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    drain(proc);
    if (!clean && !proc->signalled)
        log_warn("a slot died", "pid", LOG_NUM(proc->pid), "signal",
                 LOG_NUM(WIFSIGNALED(status) ? WTERMSIG(status) : 0), "code",
                 LOG_NUM(WIFEXITED(status) ? WEXITSTATUS(status) : 0));
    proc->pid = 0;
    disconnect(proc);
    end_jobs(proc, status);
}

/* ---- the beginning --------------------------------------------------------------------------------------
 */

static void on_forked(void *ctx, pid_t pid)
{
    struct slot_proc *proc = ctx;
    if (pid <= 0) {
        disconnect(proc);
        end_jobs(proc, 0);
        return;
    }
    struct buf hello = BUF_INIT;
    proc->pid = pid;
    size_t begun = slot_frame_begin(&hello, SLOT_HELLO, 0);
    slot_put_u32(&hello, (uint32_t)getpid());
    slot_frame_end(&hello, begun);
    buf_append_span(&hello, buf_span(&proc->out));
    buf_free(&proc->out);
    proc->out = hello;
    if (proc->ending) {
        slot_proc_signal(proc, SIGKILL);
        return;
    }
    slot_proc_flush(proc);
    slot_proc_reap(proc);
}

struct slot_proc *slot_proc_new(struct slots *slots, struct lane *lane, struct nursery *nursery)
{
    int pair[2], page_fd = slot_page_create();
    if (page_fd < 0)
        return NULL;
    struct slot_page *page = slot_page_map(page_fd);
    if (page == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        slot_page_unmap(&page);
        close(page_fd);
        return NULL;
    }
    struct slot_proc *proc = xcalloc(1, sizeof *proc);
    proc->slots = slots;
    proc->lane = lane;
    proc->only = nursery_type(nursery);
    proc->page = page;
    proc->socket = pair[0];
    proc->born_ms = clock_mono_ms();
    list_init(&proc->node);
    list_init(&proc->flush_node);
    list_init(&proc->jobs);
    proc->poll = xcalloc(1, sizeof *proc->poll);
    uv_poll_init(&slots_config(slots)->loop->uv, proc->poll, pair[0]);
    proc->poll->data = proc;
    uv_poll_start(proc->poll, UV_READABLE, on_socket);
    if (!nursery_fork(nursery, pair[1], page_fd, on_forked, proc))
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
    slot_page_unmap(&old->page);
    list_remove(&old->node);
    list_remove(&old->flush_node);
    buf_free(&old->in);
    buf_free(&old->out);
    free(old);
}
