/* What a task running in a slot may do: task_ctx_ops over the socketpair; see ctx.h and slot.h. On the one
 * thread of the slot process, while a task runs. */
#include "tasks/runner/slots/slot_child.h"
#include "tasks/store/schema.h"

#include "hub/base/clock.h"
#include "hub/base/log.h"

#include <errno.h>
#include <stdio.h>

#define AUDIO_TELL 32768 /* the parent learns in steps of so many bytes what was read */
#define CALL_TIMEOUT_MS 10000

static struct slot_child *slot_of(struct task_ctx *ctx)
{
    return container_of(ctx, struct slot_child, ctx);
}

/* Around everything that touches `out` while a task runs: its signal handler keeps away meanwhile. */
static struct slot_child *enter(struct task_ctx *ctx)
{
    struct slot_child *slot = slot_of(ctx);
    slot->silent = 0;
    return slot;
}

static void leave(struct slot_child *slot)
{
    slot->silent = 1;
}

/* ---- progress ------------------------------------------------------------------------------------- */

void slot_send_progress(struct slot_child *slot)
{
    const struct slot_shown *shown = &slot->shown;
    if (slot->sent_version == slot->shown_version)
        return;
    struct slot_progress progress = {
        .version = slot->coalesce_ms ? slot->shown_version : 0,
        .percent = shown->percent,
        .stage = span_of(shown->stage),
        .message = span_of(shown->message),
    };
    if (slot->sent_meta != shown->meta_version)
        progress.meta = (struct span){shown->meta, shown->meta_size};
    slot_put_progress(&slot->out, slot->work->seq, &progress);
    slot->sent_version = slot->shown_version;
    slot->sent_meta = shown->meta_version;
}

/* Something of `shown` changed: it is sent if the newest report is old enough; otherwise it stands in the
 * page, where the parent finds it when the time has come. */
static void show(struct slot_child *slot)
{
    if (slot->coalesce_ms == 0) {
        slot->shown_version++;
    } else {
        slot->shown_version = slot_page_show(slot->page, &slot->shown);
        uint64_t now = clock_mono_ms();
        uint64_t last = atomic_load_explicit(&slot->page->reported_ms, memory_order_relaxed);
        last = last > slot->progress_ms ? last : slot->progress_ms;
        if (slot->progress_ms && now < last + slot->coalesce_ms)
            return;
        slot->progress_ms = now;
    }
    slot_send_progress(slot);
    slot_reported(slot);
}

static void op_progress(struct task_ctx *ctx)
{
    struct slot_child *slot = enter(ctx);
    slot->shown.percent = (uint32_t)ctx->percent;
    memcpy(slot->shown.stage, ctx->stage, sizeof slot->shown.stage);
    memcpy(slot->shown.message, ctx->message, sizeof slot->shown.message);
    show(slot);
    leave(slot);
}

static void op_meta(struct task_ctx *ctx, struct span json)
{
    struct slot_child *slot = slot_of(ctx);
    if (json.n > SLOT_META_MAX)
        return; /* the context refuses it before */
    enter(ctx);
    memcpy(slot->shown.meta, json.p, json.n);
    slot->shown.meta_size = (uint32_t)json.n;
    slot->shown.meta_version++;
    show(slot);
    leave(slot);
}

static void op_partial(struct task_ctx *ctx, struct span json, bool final)
{
    struct slot_child *slot = enter(ctx);
    slot_send_progress(slot); /* in the order of the calls */
    slot_frame_span(&slot->out, final ? SLOT_FINAL : SLOT_PARTIAL, slot->work->seq, json);
    slot_reported(slot);
    leave(slot);
}

static void op_log(struct task_ctx *ctx, struct span text)
{
    struct slot_child *slot = enter(ctx);
    slot_frame_span(&slot->out, SLOT_LOG, slot->work->seq, text);
    slot_reported(slot);
    leave(slot);
}

/* ---- waiting -------------------------------------------------------------------------------------- */

static bool op_cancelled(struct task_ctx *ctx)
{
    struct slot_child *slot = slot_of(ctx);
    return slot_page_stopped(slot->page, slot->work->seq) != STOP_NONE;
}

/* Milliseconds left until `end`, at most INT_MAX, 0 when it has passed. */
static int left_ms(uint64_t end)
{
    uint64_t now = clock_mono_ms();
    return now >= end ? 0 : end - now > INT32_MAX ? INT32_MAX : (int)(end - now);
}

static bool op_sleep(struct task_ctx *ctx, unsigned ms)
{
    struct slot_child *slot = enter(ctx);
    uint64_t end = clock_mono_ms() + ms;
    if (ms)
        slot_flush(slot);
    for (int left; !op_cancelled(ctx) && (left = left_ms(end)) > 0;)
        slot_pump(slot, left);
    leave(slot);
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
        slot_pump(slot, left);
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
    if (slot->audio_read - slot->audio_told >= AUDIO_TELL) {
        slot_frame_u64(&slot->out, SLOT_TAKEN, slot->work->seq, slot->audio_read);
        slot->audio_told = slot->audio_read;
        slot_flush(slot);
    }
    return (ssize_t)n;
}

static ssize_t op_audio_read(struct task_ctx *ctx, void *to, size_t size, int timeout_ms)
{
    struct slot_child *slot = enter(ctx);
    ssize_t n = read_audio(slot, to, size, timeout_ms);
    leave(slot);
    return n;
}

/* ---- asking the parent ---------------------------------------------------------------------------- */

static json_t *op_call(struct task_ctx *ctx, const char *service, json_t *args)
{
    struct slot_child *slot = enter(ctx);
    char *text = args ? json_dumps(args, JSON_COMPACT) : NULL;
    json_decref(args);
    struct slot_call call = {++slot->call, span_of(service), text ? span_of(text) : SPAN("{}")};
    slot_put_call(&slot->out, slot->work->seq, &call);
    free(text);
    slot->answered = false;
    json_decref(slot->answer);
    slot->answer = NULL;
    slot_flush(slot);
    uint64_t end = clock_mono_ms() + CALL_TIMEOUT_MS;
    for (int left; !slot->answered && !op_cancelled(ctx) && (left = left_ms(end)) > 0;)
        slot_pump(slot, left);
    json_t *answer = slot->answer;
    slot->answer = NULL;
    leave(slot);
    slot->call++; /* an answer that comes later belongs to nobody */
    return answer;
}

static struct db *op_db(struct task_ctx *ctx)
{
    struct slot_child *slot = slot_of(ctx);
    if (slot->db == NULL)
        slot->db = store_open(slot->options);
    return slot->db;
}

const struct task_ctx_ops slot_ops = {
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
