/* SPDX-License-Identifier: MIT */
/* One speech task from its first byte to its result. Owns the flow: bytes to samples (input.h), samples
 * to utterances (endpoint.h), utterances to text (engine.h), text to events of the task, and the score.
 * Runs in the child of one task, on its only thread; the task's stream is the only thing it waits for. */
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "tasks/model/ctx.h"
#include "tasks/model/language.h"
#include "tasks/model/task_type.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/input.h"
#include "tasks/speech/report.h"
#include "tasks/speech/scoring.h"
#include "tasks/speech/speech.h"
#include "tasks/speech/sphinx.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define READ_BYTES 6400      /* 200 ms of 16 kHz PCM */
#define PARTIAL_EVERY_MS 200 /* shortest interval, and only when the text changed */
#define PROGRESS_EVERY_S 1.0 /* of audio */
#define WAIT_IDLE_MS 100
#define WAIT_OUTSIDE_MS 20
#define KEPT_SAMPLES_MAX (600 * SPEECH_RATE) /* for alignment */

struct session {
    struct task_ctx *ctx;
    const struct engine *engine;
    void *recognizer; /* state of the engine */
    struct engine_host host;
    struct input *input;
    struct endpoint *endpoint;
    struct transcript transcript;
    uint64_t samples;   /* so far */
    unsigned utterance; /* number of the next one */
    double reported_s;
    bool speaking; /* the first utterance has begun */

    char *shown;         /* text of the last partial event of the open utterance */
    char *pending;       /* newer text not sent yet, NULL if none */
    struct piece newest; /* what else is known of `pending` */
    uint64_t shown_at;

    bool keep; /* keep the samples for alignment */
    struct buf kept;
};

/* ---- events ---- */

static json_t *piece_json(const struct piece *piece)
{
    return json_pack("{s:i, s:s, s:b, s:o, s:o}", "utterance", (int)piece->utterance, "text", piece->text,
                     "final", piece->final, "start", json_hundredths(piece->start), "end",
                     json_hundredths(piece->end));
}

static void show_pending(struct session *it)
{
    if (it->pending == NULL || clock_mono_ms() - it->shown_at < PARTIAL_EVERY_MS)
        return;
    it->newest.text = it->pending;
    task_partial(it->ctx, piece_json(&it->newest), false);
    free(it->shown);
    it->shown = it->pending;
    it->pending = NULL;
    it->shown_at = clock_mono_ms();
}

static void forget_partials(struct session *it)
{
    free(it->shown);
    free(it->pending);
    it->shown = it->pending = NULL;
}

static void take_final(struct session *it, const struct piece *piece)
{
    forget_partials(it);
    it->transcript.degraded |= piece->degraded;
    if (*piece->text == '\0')
        return;
    transcript_add(&it->transcript, piece->text, piece->words);
    json_t *meta = piece_json(piece);
    if (piece->words)
        json_object_set_new(meta, "words", spoken_json(piece->words, PIECE_WORDS_MAX));
    task_partial(it->ctx, meta, true);
}

static void take_piece(void *arg, const struct piece *piece)
{
    struct session *it = arg;
    if (piece->final) {
        take_final(it, piece);
        return;
    }
    const char *newest = it->pending ? it->pending : it->shown ? it->shown : "";
    if (strcmp(newest, piece->text) == 0)
        return;
    free(it->pending);
    it->pending = xstrdup(piece->text);
    it->newest = *piece;
    show_pending(it);
}

/* The total length is unknown, so the percentage approaches 90 as the stream continues: 45 after 30 s. */
static void report_progress(struct session *it)
{
    double seconds = (double)it->samples / SPEECH_RATE;
    if (seconds - it->reported_s < PROGRESS_EVERY_S)
        return;
    it->reported_s = seconds;
    char message[64];
    snprintf(message, sizeof(message), "%.0f s heard", seconds);
    task_progress(it->ctx, (int)(90 * seconds / (seconds + 30)), it->speaking ? "transcribing" : "listening",
                  message);
}

static bool should_stop(void *arg)
{
    struct session *it = arg;
    return task_cancelled(it->ctx);
}

static void warn(void *arg, const char *warning)
{
    struct session *it = arg;
    transcript_warn(&it->transcript, warning);
}

/* ---- samples and utterances ---- */

static void begin_utterance(void *arg, uint64_t start)
{
    struct session *it = arg;
    if (!it->speaking) {
        it->speaking = true;
        task_progress(it->ctx, 0, "transcribing", NULL);
    }
    it->engine->begin(it->recognizer, it->utterance++, start);
}

static void utterance_audio(void *arg, const int16_t *samples, size_t count)
{
    struct session *it = arg;
    it->engine->audio(it->recognizer, samples, count);
}

static void end_utterance(void *arg, uint64_t end)
{
    struct session *it = arg;
    it->engine->end(it->recognizer, end);
}

static const struct endpoint_sink utterances = {begin_utterance, utterance_audio, end_utterance};

static void take_samples(void *arg, const int16_t *samples, size_t count)
{
    struct session *it = arg;
    it->samples += count;
    it->keep = it->keep && it->samples <= KEPT_SAMPLES_MAX;
    if (it->keep)
        buf_append(&it->kept, samples, count * sizeof(*samples));
    if (it->engine->whole_stream)
        it->engine->audio(it->recognizer, samples, count);
    else
        endpoint_feed(it->endpoint, samples, count);
    report_progress(it);
}

/* ---- the flow ---- */

/* Does one turn of pending work. A full engine gets nothing more from the input. */
static unsigned work(struct session *it)
{
    unsigned load = it->engine->work(it->recognizer);
    if (!(load & ENGINE_FULL))
        load |= input_work(it->input);
    show_pending(it);
    return load;
}

/* Reads the stream to its end. False if the task is to stop or the input is broken. */
static bool read_stream(struct session *it)
{
    char bytes[READ_BYTES];
    for (;;) {
        unsigned load = work(it);
        if (input_failure(it->input) || task_cancelled(it->ctx))
            return false;
        if (load & ENGINE_FULL) {
            if (!(load & ENGINE_BUSY) && !task_sleep_ms(it->ctx, WAIT_OUTSIDE_MS))
                return false;
            continue;
        }
        int wait = load & ENGINE_BUSY                   ? 0
                   : load & ENGINE_WAITS || it->pending ? WAIT_OUTSIDE_MS
                                                        : WAIT_IDLE_MS;
        ssize_t n = task_audio_read(it->ctx, bytes, sizeof(bytes), wait);
        if (n == 0)
            return true;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n > 0)
            input_feed(it->input, bytes, (size_t)n);
    }
}

/* Flushes what is still in the pipes once the stream has been read. */
static bool drain(struct session *it)
{
    input_finish(it->input);
    for (;;) {
        unsigned load = it->engine->work(it->recognizer) & (ENGINE_BUSY | ENGINE_FULL), more = ENGINE_IDLE;
        if (!(load & ENGINE_FULL))
            more = input_work(it->input);
        show_pending(it);
        if (input_failure(it->input) || task_cancelled(it->ctx))
            return false;
        if (!(load & ENGINE_FULL) && more == ENGINE_IDLE)
            break;
        if (!((load | more) & ENGINE_BUSY) && !task_sleep_ms(it->ctx, WAIT_OUTSIDE_MS))
            return false;
    }
    if (!it->engine->whole_stream)
        endpoint_finish(it->endpoint);
    return !task_cancelled(it->ctx);
}

static const char *language_of(struct task_ctx *ctx)
{
    const char *language = task_arg_text(ctx, "language");
    return language ? language : "en";
}

/* The aligner knows the sounds of English alone. */
static bool can_align(const struct session *it)
{
    return language_same(it->host.language, "en");
}

static void finish(struct session *it)
{
    char *reason = NULL;
    if (it->engine->finish && !it->engine->finish(it->recognizer, &reason)) {
        if (!task_cancelled(it->ctx))
            task_fail(it->ctx, (struct task_error){"engine_failed", true}, "Speech engine: %s", reason);
        free(reason);
        return;
    }
    it->transcript.duration_s = (double)it->samples / SPEECH_RATE;
    it->transcript.ignored_bytes = input_ignored(it->input);
    if (input_silent(it->input))
        transcript_warn(&it->transcript, "silent");
    if (it->transcript.ignored_bytes)
        transcript_warn(&it->transcript, "bytes_ignored");
    it->transcript.engine = it->transcript.degraded ? engine_builtin.label : it->engine->label;
    const char *expected = task_arg_text(it->ctx, "expected_text");
    json_t *scored = NULL;
    if (expected && *expected) {
        task_progress(it->ctx, 92, "scoring", NULL);
        struct scoring_input in = {
            .expected = expected,
            .heard = &it->transcript.words,
            .samples = it->keep && can_align(it) ? (const int16_t *)(const void *)it->kept.data : NULL,
            .count = it->kept.len / sizeof(int16_t)};
        scored = scoring_run(&in, should_stop, warn, it);
    }
    if (task_cancelled(it->ctx)) {
        json_decref(scored);
        return;
    }
    json_t *result = transcript_result(&it->transcript);
    if (scored)
        json_object_update_new(result, scored);
    task_finish(it->ctx, result);
}

static const struct engine *find_engine(const char *name)
{
    static const struct engine *const engines[] = {&engine_moonshine, &engine_builtin, &engine_http,
                                                   &engine_exec};
    for (size_t i = 0; i < NELEMS(engines); i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}

/* What `auto` means in this process and its children is settled once, when they are preloaded. */
static bool fallen_back;

static const struct engine *engine_of(const struct options *options)
{
    if (strcmp(options->speech_engine, "auto") == 0)
        return fallen_back ? &engine_builtin : &engine_moonshine;
    return find_engine(options->speech_engine);
}

static bool has_language(struct session *it)
{
    const char *has = it->engine->language;
    if (has == NULL || language_same(has, it->host.language))
        return true;
    task_fail(it->ctx, (struct task_error){"language_unavailable", false},
              "The speech engine %s has no language %s; it has: %s", it->engine->name, it->host.language,
              has);
    return false;
}

static bool open_engine(struct session *it)
{
    const char *name = task_options(it->ctx)->speech_engine;
    char *reason = NULL;
    it->engine = engine_of(task_options(it->ctx));
    it->host =
        (struct engine_host){task_options(it->ctx), language_of(it->ctx), it, take_piece, should_stop, warn};
    if (it->engine && !has_language(it))
        return false;
    it->recognizer = it->engine ? it->engine->open(&it->host, &reason) : NULL;
    if (it->recognizer == NULL)
        task_fail(it->ctx, (struct task_error){"engine_unavailable", false}, "Speech engine %s: %s", name,
                  reason ? reason : "unknown; use auto, moonshine, builtin, http or exec");
    else if (fallen_back)
        warn(it, "engine_fallback");
    free(reason);
    return it->recognizer != NULL;
}

void speech_run(struct task_ctx *ctx)
{
    struct session it = {.ctx = ctx, .keep = task_arg_text(ctx, "expected_text") != NULL};
    signal(SIGPIPE, SIG_IGN); /* a child that dies early must not kill this process */
    if (!open_engine(&it))
        return;
    it.endpoint = endpoint_new(&utterances, &it);
    it.input =
        input_open(json_object_get(task_args(ctx), "format"), &(struct input_sink){&it, take_samples, warn});
    task_progress(ctx, 0, "listening", NULL);

    bool complete = read_stream(&it) && drain(&it);
    const struct input_failure *failure = input_failure(it.input);
    if (complete)
        finish(&it);
    else if (failure)
        task_fail(ctx, (struct task_error){failure->code, false}, "%s", failure->message);

    it.engine->close(it.recognizer);
    input_close(&it.input);
    endpoint_free(&it.endpoint);
    transcript_free(&it.transcript);
    forget_partials(&it);
    buf_free(&it.kept);
}

/* Where `auto` has no moonshine, the built-in engine serves. */
static void fall_back(const struct options *options)
{
    char *reason CLEANUP(free_char) = NULL;
    fallen_back = strcmp(options->speech_engine, "auto") == 0 && !engine_moonshine.preload(options, &reason);
    if (fallen_back)
        log_warn("the speech engine moonshine is not there, so the built-in one transcribes, with many more "
                 "mistakes; `taskhub speech fetch` brings it",
                 "reason", reason);
}

int speech_preload(const struct options *options)
{
    char *reason CLEANUP(free_char) = NULL;
    fall_back(options);
    const struct engine *engine = engine_of(options);
    bool aligner = sphinx_load_aligner(&reason);
    if (aligner && (engine == NULL || engine->preload == NULL || engine->preload(options, &reason)))
        return 0;
    log_error("speech cannot be loaded", "engine", options->speech_engine, "reason", reason);
    return aligner ? 0 : -1;
}

unsigned speech_reach(const struct options *options)
{
    return strcmp(options->speech_engine, engine_http.name) == 0   ? TASK_REACH_NET
           : strcmp(options->speech_engine, engine_exec.name) == 0 ? TASK_REACH_COMMAND
                                                                   : 0;
}
