/* What a slot process says about its tasks, checked and passed on to the holder of the job; see slot_proc.h.
 * Loop thread. Trusts nothing: a task's code may have overwritten the slot's memory, so a frame for another
 * task than the one that runs, text that is no UTF-8 and JSON that is none stop here. */
#include "tasks/runner/slots/slot_proc.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/utf8.h"
#include "hub/config/options.h"
#include "hub/json/json.h"

#define PARTIAL_MAX 16384
#define TEXT_MAX 512
#define WORD_MAX 32
#define SERVICE_MAX 64
#define LOG_LINES_MAX 100

uint64_t slot_coalesce_ms(const struct slot_proc *proc, const struct task_type *type)
{
    if (type->coalesce_ms == 0)
        return (uint64_t)slots_config(proc->slots)->options->progress_coalesce_ms;
    return type->coalesce_ms < 0 ? 0 : (uint64_t)type->coalesce_ms;
}

/* The text if it is valid UTF-8 of at most `max` bytes, else what is left of it, in `scratch`. */
static struct span clean(struct span text, size_t max, char scratch[static TEXT_MAX + 1])
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

/* A word as a C string, NULL if it is empty. */
static const char *word(struct span text, char to[static TEXT_MAX + 1])
{
    struct span kept = clean(text, WORD_MAX, to);
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
    log_warn("a task's report was dropped", "what", what, "reason", reason, "task", job->type->name,
             "task_id", job->id);
    return false;
}

static const struct slots_hooks *hooks_of(const struct slot_job *job)
{
    return &slots_config(job->proc->slots)->hooks;
}

/* ---- progress -------------------------------------------------------------------------------------- */

void slot_report_started(struct slot_job *job)
{
    if (job->started)
        return;
    job->started = true;
    job->since_ms = clock_mono_ms();
    hooks_of(job)->started(job);
}

static void report_progress(struct slot_job *job, const struct slot_progress *progress)
{
    char stage[TEXT_MAX + 1], message[TEXT_MAX + 1];
    unsigned percent = progress->percent > 100 ? 100 : progress->percent;
    if (percent > job->percent)
        job->percent = percent;
    struct queue_update update = {
        .kind = QUEUE_PROGRESS,
        .id = job->id,
        .attempt = job->attempt,
        .percent = (int)job->percent,
        .stage = word(progress->stage, stage),
    };
    if (progress->message.n)
        update.message = clean(progress->message, TEXT_MAX, message);
    if (progress->meta.n && progress->meta.n <= SLOT_META_MAX && is_object(progress->meta, job, "meta"))
        update.meta = progress->meta;
    job->shown_ms = clock_mono_ms();
    hooks_of(job)->update(job, &update);
}

void slot_report_shown(struct slot_proc *proc, struct slot_job *job, uint64_t now_ms, bool due)
{
    struct slot_shown shown;
    if (!due && now_ms < job->shown_ms + slot_coalesce_ms(proc, job->type))
        return;
    uint32_t version = slot_page_look(proc->page, job->shown, &shown);
    if (version == 0 || shown.seq != job->seq || slot_coalesce_ms(proc, job->type) == 0)
        return;
    struct slot_progress progress = {version, shown.percent, span_of(shown.stage), span_of(shown.message),
                                     SPAN_NONE};
    if (shown.meta_version != job->shown_meta)
        progress.meta = (struct span){shown.meta, shown.meta_size};
    job->shown = version;
    job->shown_meta = shown.meta_version;
    atomic_store(&proc->page->reported_ms, now_ms);
    report_progress(job, &progress);
}

static bool on_progress(struct slot_job *job, struct span payload)
{
    struct slot_progress progress;
    if (!slot_get_progress(payload, &progress))
        return false;
    if (progress.version && (int32_t)(progress.version - job->shown) <= 0)
        return true; /* the page said it before */
    job->shown = progress.version;
    report_progress(job, &progress);
    return true;
}

/* ---- the other reports ------------------------------------------------------------------------------- */

static bool on_started(struct slot_job *job, struct span payload)
{
    slot_report_started(job);
    return payload.n == 0;
}

static bool partial(struct slot_job *job, struct span payload, enum queue_update_kind kind)
{
    struct queue_update update = {.kind = kind, .id = job->id, .attempt = job->attempt, .meta = payload};
    if (payload.n > PARTIAL_MAX)
        return false;
    if (is_object(payload, job, "partial"))
        hooks_of(job)->update(job, &update);
    return true;
}

static bool on_partial(struct slot_job *job, struct span payload)
{
    return partial(job, payload, QUEUE_PARTIAL);
}

static bool on_final(struct slot_job *job, struct span payload)
{
    return partial(job, payload, QUEUE_FINAL);
}

static bool on_log(struct slot_job *job, struct span payload)
{
    char scratch[TEXT_MAX + 1];
    if (job->log_lines++ >= LOG_LINES_MAX)
        return true;
    struct queue_update update = {.kind = QUEUE_LOG,
                                  .id = job->id,
                                  .attempt = job->attempt,
                                  .message = clean(payload, TEXT_MAX, scratch)};
    hooks_of(job)->update(job, &update);
    return true;
}

static bool on_call(struct slot_job *job, struct span payload)
{
    struct slot_call call;
    char service[SERVICE_MAX + 1];
    if (!slot_get_call(payload, &call) || call.service.n == 0 || call.service.n > SERVICE_MAX)
        return false;
    memcpy(service, call.service.p, call.service.n);
    service[call.service.n] = '\0';
    hooks_of(job)->call(job, call.call, service, call.args);
    return true;
}

static bool on_taken(struct slot_job *job, struct span payload)
{
    struct slot_fields from = {payload, false};
    uint64_t total = slot_get_u64(&from);
    if (!slot_fields_end(&from))
        return false;
    hooks_of(job)->audio_taken(job, total);
    return true;
}

/* ---- the end ----------------------------------------------------------------------------------------- */

void slot_report_end(struct slot_proc *proc, struct slot_job *job, const struct queue_end *end)
{
    const struct slots_hooks *hooks = hooks_of(job);
    list_remove(&job->node);
    proc->count--;
    proc->backlog_us -= job->est_us;
    job->proc = NULL;
    hooks->ended(job, job->stop == STOP_LOST ? NULL : end);
}

static void fail(struct queue_end *end, const char *code, const char *error)
{
    end->kind = QUEUE_FAILED;
    end->error_code = span_of(code);
    end->error = span_of(error);
    end->result = SPAN_NONE;
    end->retry = false;
}

static bool on_ended(struct slot_job *job, struct span payload)
{
    char code[TEXT_MAX + 1], text[TEXT_MAX + 1];
    struct slot_proc *proc = job->proc;
    struct slot_ended ended;
    if (!slot_get_ended(payload, &ended))
        return false;
    struct queue_end end = {.kind = QUEUE_COMPLETED, .id = job->id, .attempt = job->attempt};
    end.result = ended.result.p ? ended.result : SPAN("{}");
    if (ended.failed && job->stop == STOP_CANCEL) {
        end.kind = QUEUE_CANCELLED;
        end.result = SPAN_NONE;
    } else if (ended.failed && job->stop == STOP_TIMEOUT) {
        fail(&end, "timeout", "The task ran longer than it may");
    } else if (ended.failed) {
        const char *name = word(ended.code, code);
        fail(&end, name ? name : "internal", "");
        end.error = clean(ended.error, TEXT_MAX, text);
        end.retry = ended.retry;
    } else if (end.result.n > (size_t)slots_config(proc->slots)->options->result_bytes) {
        fail(&end, "result_too_large", "The result is too large");
    } else if (ended.result.p && !is_object(ended.result, job, "result")) {
        fail(&end, "internal", "The result is not an object");
    }
    lane_job_took(proc, job, ended.took_us);
    slot_report_end(proc, job, &end);
    return true;
}

/* ---- frames ------------------------------------------------------------------------------------------ */

static bool (*const reports[])(struct slot_job *job, struct span payload) = {
    [SLOT_STARTED] = on_started, [SLOT_PROGRESS] = on_progress, [SLOT_PARTIAL] = on_partial,
    [SLOT_FINAL] = on_final,     [SLOT_LOG] = on_log,           [SLOT_CALL] = on_call,
    [SLOT_TAKEN] = on_taken,     [SLOT_ENDED] = on_ended,
};

bool slot_report(struct slot_proc *proc, const struct slot_frame *frame)
{
    if (frame->type == SLOT_READY) {
        if (!proc->ready)
            lane_proc_ready(proc);
        proc->ready = true;
        return true;
    }
    if (frame->type >= NELEMS(reports) || reports[frame->type] == NULL || list_empty(&proc->jobs))
        return false;
    struct slot_job *job = container_of(proc->jobs.next, struct slot_job, node);
    if (job->seq != frame->seq || (!job->started && frame->type != SLOT_STARTED))
        return false;
    return reports[frame->type](job, frame->payload);
}
