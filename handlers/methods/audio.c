/* SPDX-License-Identifier: MIT */
/* audio.*: opening, ending, aborting and resuming streams, and the binary frames. Loop thread. */
#include "handlers/methods/audio_stream.h"
#include "handlers/methods/methods.h"
#include "handlers/rpc/reply.h"
#include "hub/config/options.h"
#include "hub/json/json_write.h"

#include <stdio.h>

#define PRIORITY_DEFAULT 4

struct opening { /* audio.start or audio.resume under way */
    struct request *request;
    struct stream *stream;
    bool resume;
    struct task_reply reply; /* outcome of the submission; audio.resume: only the id */
};

static void fail_stream_limit(struct request *request)
{
    char text[80];
    snprintf(text, sizeof text, "Maximum %lld audio streams per user exceeded",
             (long long)request->app->options->user_streams);
    request_fail(request, &(struct request_error){
                              .code = RPC_USER_LIMIT, .word = "streams", .retry_ms = 1000, .message = text});
}

/* Makes an opening with a stream that has no task yet; NULL and answered if the caller has too many
 * streams. `resumed`: as for stream_new(). */
static struct opening *opening_new(struct request *request, const char *resumed)
{
    struct stream *stream = stream_new(request->app->audio, request_who(request)->user_id, resumed);
    if (stream == NULL) {
        fail_stream_limit(request);
        return NULL;
    }
    struct opening *opening = xcalloc(1, sizeof *opening);
    opening->request = request;
    opening->stream = stream;
    opening->resume = resumed != NULL;
    return opening;
}

/* ---- start ---- */

/* Whether the members are a format's, of the right kinds; `known`: also whether their values are
 * supported. */
static bool match_format(struct span format, bool known, struct span values[static 4],
                         struct json_field_error *fault)
{
    static const char *const encodings[] = {"pcm_s16le", "file", NULL};
    const struct json_field fields[] = {
        {.name = "encoding",
         .kinds = KIND_STRING,
         .required = true,
         .min = !known,
         .max = known ? 0 : 255,
         .words = known ? encodings : NULL},
        {.name = "sample_rate", .kinds = KIND_INTEGER, .min = known ? 8000 : 0, .max = known ? 96000 : 0},
        {.name = "channels", .kinds = KIND_INTEGER, .min = known, .max = known ? 2 : 0},
        {.name = "name", .kinds = KIND_STRING, .min = 1, .max = 255},
    };
    return json_match(format, fields, NELEMS(fields), values, fault);
}

/* Checks {encoding, sample_rate?, channels?} or {encoding: "file", name?}, given beside `args`; false and
 * answered if wrong. */
static bool check_format(struct request *request, struct span format, struct span args)
{
    struct span values[4];
    struct json_field_error fault, other;
    const char *wrong = NULL;
    if (!match_format(format, true, values, &fault)) {
        bool shaped = match_format(format, false, values, &other);
        request_fail(request, &(struct request_error){.code = shaped ? RPC_MEDIA : RPC_PARAMS,
                                                      .field = "format",
                                                      .message = fault.message});
        return false;
    }
    bool file = json_string_is(values[0], "file");
    if (file && (values[1].p || values[2].p))
        wrong = "a file says itself what is in it";
    else if (!file && values[3].p)
        wrong = "name belongs to the encoding file";
    else if (args.p && json_get(args, "format").p) /* the task would get two formats */
        wrong = "stands beside args, not in them";
    if (wrong)
        fail_param(request, "format", wrong);
    return wrong == NULL;
}

/* Writes the arguments as the task gets them: with the format, if the type declares such an argument. */
static void write_args(struct buf *to, const char *task, struct span args, struct span format)
{
    const struct task_type *type = task_type_find(task);
    bool wants = false;
    for (size_t i = 0; type && i < type->arg_count; i++)
        wants = wants || strcmp(type->args[i].name, "format") == 0;
    args = args.p ? json_trim(args) : SPAN("{}");
    if (!wants) {
        buf_append_span(to, args);
        return;
    }
    struct span open = json_trim((struct span){args.p, args.n - 1}); /* without the closing brace */
    buf_append_span(to, open);
    json_member_raw(to, "format", format, "");
    buf_append_char(to, '}');
}

static void reply_opened(struct opening *opening, uint64_t received)
{
    struct request *request = opening->request;
    const struct task_reply *reply = &opening->reply;
    const struct stream *stream = opening->stream;
    bool fresh = !opening->resume && reply->refusal == TASK_ACCEPTED;
    struct buf *result = request_result(request);
    stream_open(opening->stream, reply->id, request_client(request), received);
    if (opening->resume)
        buf_append_char(result, '{');
    else
        reply_write(result, request, reply);
    json_member_int(result, "stream", stream->number);
    if (!fresh)
        json_member_int(result, "received", (int64_t)stream->received);
    json_member_int(result, "credit", (int64_t)stream_window(stream));
    if (!fresh && !opening->resume)
        json_member_bool(result, "duplicate", true);
    buf_append_char(result, '}');
    if (fresh)
        reply_accepted(request, reply, buf_span(result));
    else
        request_reply(request, buf_span(result));
}

/* Answers for an earlier task that has all its bytes or has ended: there is no stream to continue. */
static void reply_over(struct opening *opening)
{
    struct buf *result = request_result(opening->request);
    reply_write(result, opening->request, &opening->reply);
    buf_append_text(result, ",\"duplicate\":true}");
    request_reply(opening->request, buf_span(result));
    stream_close(opening->stream);
}

/* Continues the stream of an earlier task, which is being resumed or has the same idempotency key. */
static void on_state(void *ctx, const struct queue_audio *audio)
{
    struct opening *opening = ctx;
    bool lives = audio->code == QUEUE_OK && !audio->ended;
    bool over = audio->code == QUEUE_STATE || (audio->code == QUEUE_OK && audio->ended);
    if (lives && (!opening->resume || request_client(opening->request))) {
        reply_opened(opening, audio->received);
    } else if (over && !opening->resume) {
        reply_over(opening);
    } else {
        fail_queue(opening->request, audio->code == QUEUE_OK ? QUEUE_STATE : audio->code);
        stream_close(opening->stream);
    }
    free(opening);
}

static void on_submitted(void *ctx, const struct task_reply *reply)
{
    struct opening *opening = ctx;
    struct app *app = opening->request->app;
    opening->reply = *reply;
    if (reply_refused(opening->request, reply)) {
        stream_close(opening->stream);
    } else if (reply->refusal == TASK_DUPLICATE) {
        reply_release(opening->request, reply);
        queue_audio_take(app->queue, reply->news.owner, reply->id, on_state, opening);
        return;
    } else {
        reply_opened(opening, 0);
    }
    free(opening);
}

void run_audio_start(struct request *request, const struct span *values)
{
    char name[65], key[KEY_SIZE];
    struct app *app = request->app;
    struct task_request submit = {.who = request_who(request), .priority = PRIORITY_DEFAULT, .stream = true};
    if (!check_format(request, values[2], values[1]) ||
        !take_key(request, values[3], key, &submit.idempotency_key))
        return;
    struct opening *opening = opening_new(request, NULL);
    if (opening == NULL)
        return;
    struct buf args = BUF_INIT;
    submit.task = text_of(values[0], name, sizeof name);
    write_args(&args, name, values[1], values[2]);
    submit.args = buf_span(&args);
    task_manager_submit(app->manager, &submit, on_submitted, opening);
    buf_free(&args);
}

/* ---- resume ---- */

void run_audio_resume(struct request *request, const struct span *values)
{
    char id[ID_SIZE];
    if (!take_task_id(request, values[0], id))
        return;
    struct opening *opening = opening_new(request, id);
    if (opening == NULL)
        return;
    memcpy(opening->reply.id, id, ID_SIZE);
    queue_audio_take(request->app->queue, opening->stream->owner, id, on_state, opening);
}

/* ---- end and abort ---- */

/* NULL and answered if the connection has no such stream. It may have had it: then the stream has ended, as
 * when an end before it whose answer was lost arrived after all. */
static struct stream *take_stream(struct request *request, struct span value)
{
    int64_t number = 0;
    struct client *client = request_client(request);
    struct stream *stream = json_int(value, &number) ? stream_find(client, number) : NULL;
    if (stream == NULL && number > 0 && number <= client->last_stream)
        fail_queue(request, QUEUE_STATE);
    else if (stream == NULL)
        request_fail(request, &(struct request_error){
                                  .code = RPC_NOT_FOUND, .field = "stream", .message = "Stream not found"});
    return stream;
}

void run_audio_end(struct request *request, const struct span *values)
{
    struct stream *stream = take_stream(request, values[0]);
    if (stream)
        stream_end(stream, request);
}

void run_audio_abort(struct request *request, const struct span *values)
{
    struct stream *stream = take_stream(request, values[0]);
    if (stream == NULL)
        return;
    unsigned long long received = stream->received;
    stream_fail(stream, "aborted", "The client aborted the stream");
    struct buf *result = request_result(request);
    buf_printf(result, "{\"received\":%llu}", received);
    request_reply(request, buf_span(result));
}

/* ---- frames ---- */

/* Refuses a frame. A frame has no id, so neither has the answer. */
static void refuse_frame(struct client *client, enum rpc_code code, const char *word, const char *message)
{
    const struct request_error error = {.code = code,
                                        .word = word,
                                        .field = "stream",
                                        .retry_ms = code == RPC_USER_LIMIT ? 1000 : 0,
                                        .message = message};
    client->answerer->ops->answer(client->answerer, SPAN("null"), &error, SPAN_NONE);
}

/* The same, and fails the stream's task: a missing frame would leave a hole in the recording. */
static void fail_frame(struct stream *stream, enum rpc_code code, const char *word, const char *message)
{
    refuse_frame(stream->client, code, word, message);
    stream_fail(stream, word, message);
}

void audio_frame(struct client *client, struct span frame, bool too_fast)
{
    const unsigned char *head = (const unsigned char *)frame.p;
    if (frame.n < 4) {
        refuse_frame(client, RPC_PARAMS, NULL, "A binary frame begins with the number of its stream");
        return;
    }
    int64_t number = (int64_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
    struct stream *stream = stream_find(client, number);
    if (stream == NULL) {
        refuse_frame(client, RPC_NOT_FOUND, NULL, "Stream not found");
        return;
    }
    struct span bytes = {frame.p + 4, frame.n - 4};
    uint64_t total = stream_total(stream) + bytes.n;
    if (too_fast)
        fail_frame(stream, RPC_USER_LIMIT, "rate_limit", "Too many messages per second");
    else if (total > (uint64_t)client->answerer->app->options->audio_max_bytes)
        fail_frame(stream, RPC_TOO_LARGE, "too_large", "The stream is too long");
    else if (total > stream->received + stream_window(stream))
        fail_frame(stream, RPC_PARAMS, "flow", "More bytes were sent than credit was given");
    else
        stream_put(stream, bytes);
}
