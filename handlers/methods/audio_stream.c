/* SPDX-License-Identifier: MIT */
/* Audio streams; see audio_stream.h. Loop thread. One append per stream is under way at a time, of the
 * bytes in `sent`; bytes that arrive meanwhile wait in `pending`, bounded by the credit window. Never
 * acknowledges a byte that Redis does not have. */
#include "handlers/methods/audio_stream.h"

#include "handlers/methods/methods.h"
#include "handlers/rpc/reply.h"
#include "hub/base/clock.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"
#include "hub/json/json_write.h"

#define TICK_MAX_MS 1000
#define KEEP_EVERY_MS 10000
#define GAP_MS 3000         /* at most this much of a standstill of this process counts as silence */
#define KEEP_SLACK_MS 60000 /* beyond the time to resume */

static void stream_become(struct stream *stream, enum stream_state state)
{
    static const unsigned moves[] = {
        [STREAM_OPENING] = 1 << STREAM_READY,
        [STREAM_READY] = 1 << STREAM_APPENDING | 1 << STREAM_ENDING,
        [STREAM_APPENDING] = 1 << STREAM_READY | 1 << STREAM_OVER,
        [STREAM_ENDING] = 1 << STREAM_READY | 1 << STREAM_OVER,
        [STREAM_OVER] = 0,
    };
    if (!(moves[stream->state] & 1u << state))
        abort();
    stream->state = state;
}

static bool is_open(const struct stream *stream)
{
    return stream->state != STREAM_OPENING && stream->state != STREAM_OVER;
}

static void mark(struct stream *stream)
{
    if (list_empty(&stream->dirty))
        list_append(&stream->audio->dirty, &stream->dirty);
}

uint64_t stream_total(const struct stream *stream)
{
    return stream->received + stream->sent.len + stream->pending.len;
}

uint64_t stream_window(const struct stream *stream)
{
    return (uint64_t)stream->audio->app->options->audio_window_bytes;
}

struct stream *stream_find(const struct client *client, int64_t number)
{
    list_for_each (node, &client->streams) {
        struct stream *stream = container_of(node, struct stream, of_client);
        if (stream->number == number && stream->end == NULL)
            return stream;
    }
    return NULL;
}

/* ---- life ---- */

static void on_tick(uv_timer_t *timer);

static uint64_t tick_ms(const struct options *options)
{
    int64_t every = TICK_MAX_MS;
    every = options->audio_idle_ms / 4 < every ? options->audio_idle_ms / 4 : every;
    every = options->audio_resume_ms / 4 < every ? options->audio_resume_ms / 4 : every;
    return (uint64_t)every;
}

static struct stream *of_task(const struct audio *audio, const char *id)
{
    struct table_node *node = table_find(&audio->by_task, span_of(id));
    return node ? container_of(node, struct stream, by_task) : NULL;
}

struct stream *stream_new(struct audio *audio, const char *owner, const char *resumed)
{
    const struct stream *older = resumed ? of_task(audio, resumed) : NULL;
    size_t limit = (size_t)audio->app->options->user_streams;
    struct charge charge = {NULL, 0};
    if (older && strcmp(older->owner, owner) == 0)
        limit++;
    if (!charge_take(&charge, &audio->open, span_of(owner), 1, limit))
        return NULL;
    struct stream *stream = xcalloc(1, sizeof *stream);
    stream->audio = audio;
    stream->charge = charge;
    memcpy(stream->owner, owner, strlen(owner) + 1);
    list_init(&stream->of_client);
    list_init(&stream->dirty);
    stream->active_ms = clock_mono_ms();
    list_append(&audio->all, &stream->node);
    metric_set(METRIC_AUDIO_STREAMS, ++audio->count);
    if (audio->count == 1) {
        uint64_t every = tick_ms(audio->app->options);
        audio->ticked_ms = stream->active_ms;
        uv_timer_start(audio->timer, on_tick, every, every);
    }
    return stream;
}

static void destroy(struct stream *stream)
{
    struct audio *audio = stream->audio;
    list_remove(&stream->node);
    list_remove(&stream->dirty);
    buf_free(&stream->sent);
    buf_free(&stream->pending);
    free(stream);
    metric_set(METRIC_AUDIO_STREAMS, --audio->count);
    if (audio->count == 0)
        uv_timer_stop(audio->timer);
}

void stream_close(struct stream *stream)
{
    if (is_open(stream))
        table_remove(&stream->audio->by_task, &stream->by_task);
    charge_give(&stream->charge);
    list_remove(&stream->of_client);
    stream->client = NULL;
    if (stream->end)
        fail_queue(stream->end, QUEUE_STATE);
    stream->end = NULL;
    if (stream->state == STREAM_APPENDING || stream->state == STREAM_ENDING)
        stream_become(stream, STREAM_OVER);
    else
        destroy(stream);
}

/* The age of a task: its id begins with the time of creation. */
static uint64_t age_ms(const char *id)
{
    unsigned char bytes[16];
    uint64_t made_ms = 0, now = (uint64_t)clock_wall_ms();
    id_bytes(bytes, id);
    for (size_t i = 0; i < 6; i++)
        made_ms = made_ms << 8 | bytes[i];
    return now > made_ms ? now - made_ms : 0;
}

void stream_open(struct stream *stream, const char *id, struct client *client, uint64_t received)
{
    struct stream *older = of_task(stream->audio, id);
    if (older)
        stream_close(older);
    stream_become(stream, STREAM_READY);
    memcpy(stream->id, id, ID_SIZE);
    stream->by_task.key = span_of(stream->id);
    table_insert(&stream->audio->by_task, &stream->by_task);
    stream->received = stream->acked = received;
    stream->active_ms = clock_mono_ms();
    uint64_t most_ms = 1000 * (uint64_t)stream->audio->app->options->audio_max_s, age = age_ms(id);
    stream->last_ms = stream->active_ms + (most_ms > age ? most_ms - age : 0);
    stream->client = client;
    if (client == NULL)
        return;
    stream->number = ++client->last_stream;
    list_append(&client->streams, &stream->of_client);
}

void stream_fail(struct stream *stream, const char *code, const char *text)
{
    queue_audio_fail(stream->audio->app->queue, stream->owner, stream->id, code, text, NULL, NULL);
    stream_close(stream);
}

void audio_leave(struct client *client)
{
    for (struct list *node; (node = list_pop(&client->streams)) != NULL;) {
        struct stream *stream = container_of(node, struct stream, of_client);
        stream->client = NULL;
        stream->active_ms = clock_mono_ms();
    }
}

/* ---- bytes ---- */

void stream_put(struct stream *stream, struct span bytes)
{
    stream->active_ms = clock_mono_ms();
    buf_append_span(&stream->pending, bytes);
    mark(stream);
}

static void on_end(void *ctx, const struct queue_audio *audio)
{
    struct stream *stream = ctx;
    struct request *request = stream->end;
    if (stream->state == STREAM_OVER) {
        destroy(stream);
        return;
    }
    stream_become(stream, STREAM_READY);
    stream->end = NULL;
    if (audio->code == QUEUE_OK) {
        struct buf *result = request_result(request);
        buf_printf(result, "{\"received\":%llu}", (unsigned long long)audio->received);
        request_reply(request, buf_span(result));
    } else {
        fail_queue(request, audio->code);
    }
    if (audio->code != QUEUE_UNAVAILABLE) /* else the client may ask again */
        stream_close(stream);
}

void stream_end(struct stream *stream, struct request *request)
{
    stream->end = request;
    mark(stream);
}

/* Notes that Redis now has `received` bytes. */
static void advance(struct stream *stream, uint64_t received)
{
    uint64_t total = stream_total(stream);
    size_t gone = (size_t)((received < total ? received : total) - stream->received);
    size_t first = gone < stream->sent.len ? gone : stream->sent.len;
    buf_consume(&stream->sent, first);
    buf_consume(&stream->pending, gone - first);
    stream->received += gone;
    stream->active_ms = clock_mono_ms();
    metric_add(METRIC_AUDIO_BYTES, gone);
    mark(stream);
}

static void on_appended(void *ctx, const struct queue_audio *audio)
{
    struct stream *stream = ctx;
    if (stream->state == STREAM_OVER) {
        destroy(stream);
        return;
    }
    stream_become(stream, STREAM_READY);
    if (audio->code == QUEUE_OK && audio->received < stream->received)
        stream_fail(stream, "input_lost", "Bytes that stood already were lost");
    else if (audio->code == QUEUE_OK)
        advance(stream, audio->received);
    else if (audio->code == QUEUE_QUOTA)
        stream_fail(stream, "quota", "quota.owner_bytes: as much as may be kept of one user is kept");
    else if (audio->code != QUEUE_UNAVAILABLE)
        stream_close(stream); /* the task has ended, or is not the caller's: its event says so */
    /* else: resent when Redis answers, or at the next tick */
}

static void send_bytes(struct stream *stream)
{
    struct app *app = stream->audio->app;
    if (stream->state != STREAM_READY || !app->redis_ready)
        return;
    if (stream->sent.len == 0) {
        struct buf empty = stream->sent;
        stream->sent = stream->pending;
        stream->pending = empty;
    }
    if (stream->sent.len) {
        stream_become(stream, STREAM_APPENDING);
        queue_audio_append(app->queue, stream->owner, stream->id, stream->received, buf_span(&stream->sent),
                           on_appended, stream);
    } else if (stream->end) {
        stream_become(stream, STREAM_ENDING);
        queue_audio_end(app->queue, stream->owner, stream->id, on_end, stream);
    }
}

static void send_ack(struct stream *stream)
{
    struct answerer *to = stream->client->answerer;
    struct buf *text = requests_text(to->app->requests);
    stream->acked = stream->received;
    buf_append_span(text, SPAN("{\"jsonrpc\":\"2.0\",\"method\":\"audio.ack\",\"params\":{"));
    json_member_int(text, "stream", stream->number);
    json_member_int(text, "received", (int64_t)stream->received);
    json_member_int(text, "credit", (int64_t)stream_window(stream));
    buf_append_span(text, SPAN("}}"));
    to->ops->send(to->sink, buf_span(text), false);
}

/* Once per turn: sends what came to Redis in one append per stream, and acknowledges what Redis has. */
static void flush(void *ctx)
{
    struct audio *audio = ctx;
    struct list dirty;
    list_init(&dirty);
    list_splice(&dirty, &audio->dirty);
    for (struct list *node; (node = list_pop(&dirty)) != NULL;) {
        struct stream *stream = container_of(node, struct stream, dirty);
        if (stream->client && stream->acked != stream->received)
            send_ack(stream);
        send_bytes(stream);
    }
}

/* ---- time ---- */

static void check_time(struct stream *stream, uint64_t now)
{
    const struct options *options = stream->audio->app->options;
    uint64_t quiet = now > stream->active_ms ? now - stream->active_ms : 0;
    if (!is_open(stream))
        return;
    if (now > stream->last_ms && stream->end == NULL) {
        stream_fail(stream, "too_long", "The stream lasted too long");
    } else if (stream->state != STREAM_READY || stream_total(stream) > stream->received || stream->end) {
        mark(stream); /* the wait is for Redis, not for the client */
    } else if (stream->client && quiet > (uint64_t)options->audio_idle_ms) {
        stream_fail(stream, "idle", "No audio came for too long");
    } else if (stream->client == NULL && quiet > (uint64_t)options->audio_resume_ms) {
        stream_fail(stream, "abandoned", "The stream was not resumed in time"); /* unless at another hub */
    }
}

/* Tells Redis that these streams have a hub, so that their tasks do not fail as abandoned. */
static void keep_streams(struct audio *audio, uint64_t now)
{
    const char *ids[QUEUE_KEEP_MAX];
    uint64_t keep_ms = (uint64_t)audio->app->options->audio_resume_ms + KEEP_SLACK_MS;
    size_t count = 0;
    audio->kept_ms = now;
    list_for_each (node, &audio->all) {
        const struct stream *stream = container_of(node, struct stream, node);
        if (is_open(stream))
            ids[count++] = stream->id;
        if (count == NELEMS(ids)) {
            queue_audio_keep(audio->app->queue, ids, count, keep_ms);
            count = 0;
        }
    }
    if (count)
        queue_audio_keep(audio->app->queue, ids, count, keep_ms);
}

/* Moves the time limits: nobody could be heard while this process stood still. */
static void forgive_gap(struct audio *audio, uint64_t now)
{
    uint64_t passed = now - audio->ticked_ms;
    audio->ticked_ms = now;
    if (passed <= GAP_MS)
        return;
    list_for_each (node, &audio->all)
        container_of(node, struct stream, node)->active_ms += passed - GAP_MS;
}

static void on_tick(uv_timer_t *timer)
{
    struct audio *audio = timer->data;
    uint64_t now = clock_mono_ms();
    forgive_gap(audio, now);
    if (!audio->app->redis_ready)
        return;
    if (now >= audio->kept_ms + KEEP_EVERY_MS)
        keep_streams(audio, now);
    list_for_each_safe (node, after, &audio->all)
        check_time(container_of(node, struct stream, node), now);
}

void audio_ended(struct app *app, const char *id)
{
    struct stream *stream = app->audio->count ? of_task(app->audio, id) : NULL;
    if (stream && stream->end == NULL) /* the answer to audio.end is on its way, else */
        stream_close(stream);
}

void audio_redis_up(struct app *app)
{
    list_for_each (node, &app->audio->all)
        mark(container_of(node, struct stream, node));
}

void audio_start(struct app *app)
{
    struct audio *audio = xcalloc(1, sizeof *audio);
    audio->app = app;
    list_init(&audio->all);
    list_init(&audio->dirty);
    audio->timer = loop_timer(app->loop, audio);
    loop_hook(app->loop, LOOP_STAGE_POOL, flush, audio);
    app->audio = audio;
}

void audio_stop(struct app *app)
{
    struct audio *audio = app->audio;
    loop_unhook(app->loop, LOOP_STAGE_POOL, flush, audio);
    list_for_each_safe (node, after, &audio->all) {
        struct stream *stream = container_of(node, struct stream, node);
        if (stream->end)
            request_drop(stream->end);
        charge_give(&stream->charge);
        destroy(stream);
    }
    loop_close(audio->timer);
    table_free(&audio->by_task);
    quota_free(&audio->open);
    free(audio);
    app->audio = NULL;
}
