/* SPDX-License-Identifier: MIT */
/* The engine `exec`: any command in a fence (fence.h). It gets the whole stream as 16 kHz mono s16le PCM
 * on stdin and answers with JSON lines on stdout:
 *     {"type": "partial" | "final", "text": "…", "start": s, "end": s, "words": [{word, start, end,
 *      confidence}…]}
 * Times count from the start of the stream; all but type and text may be left out. Owns the child. */
#include "hub/config/options.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"
#include "tasks/speech/fence.h"

#include <math.h>

#define PENDING_MAX (2 * 2 * SPEECH_RATE) /* bytes: two seconds */
#define LINE_MAX_BYTES (256 * 1024)
#define WAIT_MS 50

struct exec {
    const struct engine_host *host;
    struct fence *fence;
    struct buf pending; /* PCM not yet taken by the command */
    struct buf answer;  /* the line being received */
    bool skipping;      /* skipping the rest of an overlong line */
    bool ended;         /* the command has closed its output */
    uint64_t samples;
    unsigned utterance;
    double last_end;
};

/* The operator's command with the language in place of {language} (free()). */
static char *command_of(const struct engine_host *host)
{
    static const char mark[] = "{language}";
    struct buf command = BUF_INIT;
    const char *rest = host->options->speech_exec;
    for (const char *at; (at = strstr(rest, mark)); rest = at + strlen(mark)) {
        buf_append(&command, rest, (size_t)(at - rest));
        buf_append_text(&command, host->language);
    }
    buf_append_text(&command, rest);
    return buf_take_string(&command);
}

static void *exec_open(const struct engine_host *host, char **ret_reason)
{
    const char *argv[FENCE_WORDS_MAX + 1];
    char *command = command_of(host);
    fence_words(command, argv);
    struct fence_spec spec = {.argv = argv,
                              .file = -1,
                              .cpu_s = 3600,
                              .wall_s = 7200,
                              .file_bytes = (size_t)1 << 30,
                              .command = true,
                              .user = host->options->speech_exec_user};
    struct fence *fence = fence_start(&spec, ret_reason);
    free(command);
    if (fence == NULL)
        return NULL;
    struct exec *it = xcalloc(1, sizeof(*it));
    it->host = host;
    it->fence = fence;
    return it;
}

static double number(const json_t *object, const char *name, double otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? fmin(WORDS_TIME_MAX, fmax(0, json_number_value(value))) : otherwise;
}

static void give(struct exec *it, const json_t *object, const char *text, bool final)
{
    struct words words = WORDS_INIT;
    double now = (double)it->samples / SPEECH_RATE;
    struct piece piece = {
        .utterance = it->utterance,
        .final = final,
        .text = text,
        .words = &words,
        .start = number(object, "start", it->last_end),
        .end = number(object, "end", now),
    };
    if (final) {
        spoken_read_json(&words, object, 0);
        if (words.count == 0) {
            spoken_spread(&words, text, piece.start, piece.end);
            it->host->warn(it->host->arg, "word_times_estimated");
        }
        it->utterance++;
        it->last_end = piece.end;
    }
    it->host->piece(it->host->arg, &piece);
    spoken_free(&words);
}

static void take_line(struct exec *it, const char *line, size_t length)
{
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_string_value(json_object_get(object, "type"));
    const char *text = json_string_value(json_object_get(object, "text"));
    bool final = type && strcmp(type, "final") == 0;
    if (text && (final || (type && strcmp(type, "partial") == 0)))
        give(it, object, text, final);
    else
        it->host->warn(it->host->arg, "engine_line_ignored");
    json_decref(object);
}

static void take_answer(struct exec *it, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != '\n') {
            if (it->answer.len < LINE_MAX_BYTES)
                buf_append_char(&it->answer, bytes[i]);
            else
                it->skipping = true;
            continue;
        }
        if (it->answer.len && !it->skipping)
            take_line(it, it->answer.data, it->answer.len);
        else if (it->skipping)
            it->host->warn(it->host->arg, "engine_line_ignored");
        buf_clear(&it->answer);
        it->skipping = false;
    }
}

static void exec_audio(void *engine, const int16_t *samples, size_t count)
{
    struct exec *it = engine;
    it->samples += count;
    if (!it->ended)
        buf_append(&it->pending, samples, count * sizeof(*samples));
}

static unsigned exec_work(void *engine)
{
    struct exec *it = engine;
    char bytes[4096];
    fence_send(it->fence, &it->pending);
    for (ssize_t n; !it->ended && (n = fence_read(it->fence, bytes, sizeof(bytes))) >= 0;) {
        it->ended = n == 0;
        take_answer(it, bytes, (size_t)n);
    }
    fence_ended(it->fence);
    return it->pending.len > PENDING_MAX ? ENGINE_WAITS | ENGINE_FULL : ENGINE_WAITS;
}

static bool exec_finish(void *engine, char **ret_reason)
{
    struct exec *it = engine;
    while (!it->ended || !fence_ended(it->fence)) {
        exec_work(it);
        if (it->host->stop(it->host->arg))
            return false;
        if (it->pending.len == 0)
            fence_close_input(it->fence);
        fence_wait(it->fence, WAIT_MS);
    }
    if (it->answer.len)
        take_line(it, it->answer.data, it->answer.len);
    if (fence_status(it->fence) == 0)
        return true;
    *ret_reason =
        xasprintf("the command ended with %d: %s", fence_status(it->fence), fence_complaint(it->fence, NULL));
    return false;
}

static void exec_close(void *engine)
{
    struct exec *it = engine;
    fence_close(&it->fence);
    buf_free(&it->pending);
    buf_free(&it->answer);
    free(it);
}

const struct engine engine_exec = {
    .name = "exec",
    .label = "exec",
    .whole_stream = true,
    .open = exec_open,
    .audio = exec_audio,
    .work = exec_work,
    .finish = exec_finish,
    .close = exec_close,
};
