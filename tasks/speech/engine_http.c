/* SPDX-License-Identifier: MIT */
/* The engine `http`: a transcription server with OpenAI's interface (POST multipart, verbose_json), such
 * as whisper.cpp's. Owns the queue of utterances and one transfer at a time; one thread. Two tiers: the
 * built-in engine hears everything first and gives live text; each closed utterance then goes to the
 * server, whose text becomes the final one. If the server fails for an utterance, the built-in engine's
 * text stands, marked degraded; a server that was late once, refuses this client, or failed for two
 * utterances in a row is not asked again by the task. Never holds live sound back: what a slow server does
 * not get to keeps the built-in engine's text. */
#include "hub/base/backoff.h"
#include "hub/base/buf.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/config/options.h"
#include "tasks/model/language.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/engine.h"

#include <curl/curl.h>
#include <endian.h>
#include <stdio.h>

#define JOBS_MAX 4               /* closed utterances that wait for the server */
#define ANSWER_MAX (1024 * 1024) /* bytes */
#define CONNECT_MS 5000L
#define ANSWER_MS 5000 /* for an utterance, all tries together, and twice its length on top */
#define AHEAD_S 2.0    /* sound that comes this much faster than it was spoken can wait: a file */
#define TRIES 2
#define FAILURES_MAX 2 /* utterances in a row */
#define WAIT_MS 50
#define TOKEN_MAX 4096

static const struct backoff_rule between_tries = {.first_ms = 500, .max_ms = 4000};

enum outcome { ANSWERED, FAILED, REFUSED, DENIED, GARBLED, UNREACHABLE, LATE, BEHIND };

/* What each of them means for the utterance and for the task. */
static const struct {
    const char *warning;
    bool again;  /* another try may help */
    bool closes; /* the server is not asked again */
} outcomes[] = {
    [FAILED] = {.warning = "engine_error", .again = true},
    [REFUSED] = {.warning = "engine_refused"},
    [DENIED] = {.warning = "engine_refused", .closes = true},
    [GARBLED] = {.warning = "engine_garbled", .again = true},
    [UNREACHABLE] = {.warning = "engine_unreachable", .again = true},
    [LATE] = {.warning = "engine_timeout", .closes = true},
    [BEHIND] = {.warning = "engine_behind"},
};

struct job { /* a closed utterance */
    struct job *next;
    unsigned utterance;
    double start, end;
    struct buf wav; /* empty: the server does not get it */
    char *draft;    /* what the built-in engine heard */
    struct words draft_words;
    unsigned tries;
    uint64_t deadline; /* of all its tries, clock_mono_ms; 0 before the first */
};

struct http {
    const struct engine_host *host;
    struct engine_host draft_host; /* given to the built-in engine inside */
    void *draft;
    struct job *open;          /* being spoken */
    struct job *first, **last; /* closed utterances, oldest first */
    unsigned jobs, failures;
    bool foreign;    /* the built-in engine lacks the language: its text is nonsense */
    bool closed;     /* the server is not asked again */
    unsigned logged; /* bits of enum outcome */
    uint64_t opened; /* clock_mono_ms */
    bool ahead;      /* the sound comes faster than it was spoken */
    struct backoff backoff;
    uint64_t next_try;   /* not before, clock_mono_ms */
    char *authorization; /* header line, NULL = none */
    CURLM *multi;
    CURL *transfer; /* for `first`; NULL = none */
    struct curl_slist *headers;
    curl_mime *form;
    struct buf answer;
};

/* ---- the built-in engine inside ---- */

static void take_draft(void *arg, const struct piece *piece)
{
    struct http *it = arg;
    if (!piece->final) {
        if (!it->foreign)
            it->host->piece(it->host->arg, piece);
        return;
    }
    it->open->draft = xstrdup(it->foreign ? "" : piece->text);
    if (!it->foreign)
        spoken_append(&it->open->draft_words, piece->words);
    it->open->start = piece->start;
    it->open->end = piece->end;
}

static bool draft_stop(void *arg)
{
    struct http *it = arg;
    return it->host->stop(it->host->arg);
}

static void draft_warn(void *arg, const char *warning)
{
    struct http *it = arg;
    it->host->warn(it->host->arg, warning);
}

/* ---- opening ---- */

/* Reads the bearer token. False and *ret_reason if the file is named but cannot be read. */
static bool read_token(struct http *it, const char *path, char **ret_reason)
{
    char token[TOKEN_MAX];
    if (*path == '\0')
        return true;
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(token, 1, sizeof(token) - 1, file) : 0;
    if (file)
        fclose(file);
    token[n] = '\0';
    token[strcspn(token, "\r\n")] = '\0';
    if (*token == '\0') {
        *ret_reason = xstrdup("the file named by speech.http_token_file cannot be read");
        return false;
    }
    it->authorization = xasprintf("Authorization: Bearer %s", token);
    return true;
}

static void http_close(void *engine);

static bool http_preload(const struct options *options, char **ret_reason)
{
    return engine_builtin.preload(options, ret_reason);
}

static void *http_open(const struct engine_host *host, char **ret_reason)
{
    struct http *it = xcalloc(1, sizeof(*it));
    it->host = host;
    it->last = &it->first;
    it->opened = clock_mono_ms();
    it->foreign = !language_same(host->language, engine_builtin.language);
    it->draft_host =
        (struct engine_host){host->options, engine_builtin.language, it, take_draft, draft_stop, draft_warn};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    it->multi = curl_multi_init();
    if (it->multi && read_token(it, host->options->speech_http_token_file, ret_reason))
        it->draft = engine_builtin.open(&it->draft_host, ret_reason);
    if (it->draft == NULL) {
        http_close(it);
        return NULL;
    }
    return it;
}

/* ---- utterances ---- */

/* Writes a WAV header for 16 kHz s16 mono; the number of samples is filled in later (finish_wav). */
static void start_wav(struct buf *wav)
{
    static const char header[44] = "RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0"
                                   "\2\0\x10\0data";
    _Static_assert(SPEECH_RATE == 0x3e80, "the header says the rate");
    buf_append(wav, header, sizeof(header));
}

static void finish_wav(struct buf *wav)
{
    uint32_t riff = htole32((uint32_t)(wav->len - 8)), data = htole32((uint32_t)(wav->len - 44));
    memcpy(wav->data + 4, &riff, sizeof(riff));
    memcpy(wav->data + 40, &data, sizeof(data));
}

static void http_begin(void *engine, unsigned utterance, uint64_t start)
{
    struct http *it = engine;
    it->open = xcalloc(1, sizeof(*it->open));
    it->open->utterance = utterance;
    start_wav(&it->open->wav);
    engine_builtin.begin(it->draft, utterance, start);
}

static void http_audio(void *engine, const int16_t *samples, size_t count)
{
    struct http *it = engine;
    buf_append(&it->open->wav, samples, count * sizeof(*samples));
    engine_builtin.audio(it->draft, samples, count);
}

static void free_job(struct job *job)
{
    buf_free(&job->wav);
    spoken_free(&job->draft_words);
    free(job->draft);
    free(job);
}

static void http_end(void *engine, uint64_t end)
{
    struct http *it = engine;
    engine_builtin.end(it->draft, end);
    struct job *job = it->open;
    it->open = NULL;
    if (job->draft == NULL) { /* stopped */
        free_job(job);
        return;
    }
    *it->last = job;
    it->last = &job->next;
    double spoken_s = (double)(clock_mono_ms() - it->opened) / 1000;
    it->ahead = (double)end / SPEECH_RATE > spoken_s + AHEAD_S;
    if (it->closed) {
        buf_free(&job->wav);
    } else if (it->jobs >= JOBS_MAX && !it->ahead) {
        buf_free(&job->wav);
        it->host->warn(it->host->arg, outcomes[BEHIND].warning);
    } else {
        finish_wav(&job->wav);
        it->jobs++;
    }
}

/* Delivers the final text of the oldest utterance and removes it. */
static void give(struct http *it, const char *text, const struct words *words, bool degraded)
{
    struct job *job = it->first;
    struct piece piece = {.utterance = job->utterance,
                          .final = true,
                          .degraded = degraded,
                          .text = text,
                          .words = words,
                          .start = job->start,
                          .end = job->end};
    it->host->piece(it->host->arg, &piece);
    it->first = job->next;
    if (it->first == NULL)
        it->last = &it->first;
    it->jobs -= job->wav.len > 0;
    free_job(job);
}

/* ---- the transfer ---- */

static size_t take_answer(char *bytes, size_t one, size_t size, void *arg)
{
    struct http *it = arg;
    (void)one;
    if (it->answer.len + size > ANSWER_MAX)
        return 0;
    buf_append(&it->answer, bytes, size);
    return size;
}

static void add_field(curl_mime *form, const char *name, const char *value)
{
    curl_mimepart *part = curl_mime_addpart(form);
    curl_mime_name(part, name);
    curl_mime_data(part, value, CURL_ZERO_TERMINATED);
}

static void make_form(struct http *it, const struct job *job)
{
    it->form = curl_mime_init(it->transfer);
    curl_mimepart *file = curl_mime_addpart(it->form);
    curl_mime_name(file, "file");
    curl_mime_filename(file, "utterance.wav");
    curl_mime_type(file, "audio/wav");
    curl_mime_data(file, job->wav.data, job->wav.len);
    add_field(it->form, "model", it->host->options->speech_http_model);
    add_field(it->form, "response_format", "verbose_json");
    add_field(it->form, "timestamp_granularities[]", "word");
    add_field(it->form, "language", it->host->language);
    add_field(it->form, "temperature", "0");
}

static void start_transfer(struct http *it)
{
    it->transfer = curl_easy_init();
    if (it->transfer == NULL)
        return;
    struct job *job = it->first;
    uint64_t now = clock_mono_ms();
    if (job->tries++ == 0)
        job->deadline = now + ANSWER_MS + (uint64_t)(2000 * (job->end - job->start));
    buf_clear(&it->answer);
    make_form(it, job);
    if (it->authorization)
        it->headers = curl_slist_append(NULL, it->authorization);
    curl_easy_setopt(it->transfer, CURLOPT_URL, it->host->options->speech_http_url);
    curl_easy_setopt(it->transfer, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(it->transfer, CURLOPT_MIMEPOST, it->form);
    curl_easy_setopt(it->transfer, CURLOPT_HTTPHEADER, it->headers);
    curl_easy_setopt(it->transfer, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(it->transfer, CURLOPT_WRITEDATA, it);
    curl_easy_setopt(it->transfer, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(it->transfer, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(it->transfer, CURLOPT_TIMEOUT_MS,
                     now < job->deadline ? (long)(job->deadline - now) : 1L);
    curl_multi_add_handle(it->multi, it->transfer);
}

static void end_transfer(struct http *it)
{
    if (it->transfer == NULL)
        return;
    curl_multi_remove_handle(it->multi, it->transfer);
    curl_easy_cleanup(it->transfer);
    curl_mime_free(it->form);
    curl_slist_free_all(it->headers);
    it->transfer = NULL;
    it->form = NULL;
    it->headers = NULL;
}

/* Uses the server's answer for the oldest utterance; false if it is malformed. */
static bool use_answer(struct http *it)
{
    json_t *object = json_loadb(it->answer.data ? it->answer.data : "", it->answer.len, 0, NULL);
    const char *text = json_string_value(json_object_get(object, "text"));
    if (text) {
        struct words words = WORDS_INIT;
        char *trimmed = xstrdup(text + strspn(text, " \n"));
        for (size_t n = strlen(trimmed); n && strchr(" \n", trimmed[n - 1]); n--)
            trimmed[n - 1] = '\0';
        spoken_read_json(&words, object, it->first->start);
        if (words.count == 0 && *trimmed) {
            spoken_spread(&words, trimmed, it->first->start, it->first->end);
            it->host->warn(it->host->arg, "word_times_estimated");
        }
        give(it, trimmed, &words, false);
        spoken_free(&words);
        free(trimmed);
    }
    json_decref(object);
    return text != NULL;
}

static void use_draft(struct http *it)
{
    give(it, it->first->draft, &it->first->draft_words, true);
}

/* What became of a transfer that did not bring a usable answer. */
static enum outcome judge(CURLcode code, long status, bool connected)
{
    if (code == CURLE_OPERATION_TIMEDOUT && connected)
        return LATE;
    if (code == CURLE_WRITE_ERROR || (code == CURLE_OK && status == 200))
        return GARBLED;
    if (code != CURLE_OK)
        return UNREACHABLE;
    if (status == 401 || status == 403 || status == 404 || status == 405)
        return DENIED;
    return status >= 500 || status == 408 || status == 429 ? FAILED : REFUSED;
}

/* One line per task and kind of failure: the operator learns what the user's warning only names. */
static void log_failure(struct http *it, enum outcome outcome, CURLcode code, long status)
{
    if (it->logged & 1U << outcome)
        return;
    it->logged |= 1U << outcome;
    log_warn("the speech server did not give a text", "warning", outcomes[outcome].warning, "status",
             LOG_NUM(status), "reason", code == CURLE_OK ? "" : curl_easy_strerror(code));
}

static void take_failure(struct http *it, enum outcome outcome)
{
    struct job *job = it->first;
    uint64_t now = clock_mono_ms();
    it->next_try = now + backoff_failed(&it->backoff, &between_tries);
    if (outcomes[outcome].again && job->tries < TRIES && it->next_try < job->deadline)
        return;
    it->host->warn(it->host->arg, outcomes[outcome].warning);
    it->closed = outcomes[outcome].closes || ++it->failures >= FAILURES_MAX;
    use_draft(it);
}

static void take_outcome(struct http *it, CURLcode code)
{
    long status = 0;
    curl_off_t connected_us = 0;
    curl_easy_getinfo(it->transfer, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(it->transfer, CURLINFO_CONNECT_TIME_T, &connected_us);
    end_transfer(it);
    if (code == CURLE_OK && status == 200 && use_answer(it)) {
        it->failures = 0;
        backoff_succeeded(&it->backoff);
        return;
    }
    enum outcome outcome = judge(code, status, connected_us > 0);
    log_failure(it, outcome, code, status);
    take_failure(it, outcome);
}

static unsigned http_work(void *engine)
{
    struct http *it = engine;
    int running, left;
    CURLMsg *message;
    unsigned load = engine_builtin.work(it->draft);
    while (it->first && it->transfer == NULL && (it->closed || it->first->wav.len == 0))
        use_draft(it);
    if (it->first && it->transfer == NULL && clock_mono_ms() >= it->next_try)
        start_transfer(it);
    curl_multi_perform(it->multi, &running);
    while ((message = curl_multi_info_read(it->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            take_outcome(it, message->data.result);
    if (it->first)
        load |= ENGINE_WAITS;
    return it->jobs >= JOBS_MAX && it->ahead ? load | ENGINE_FULL : load;
}

static bool http_finish(void *engine, char **ret_reason)
{
    struct http *it = engine;
    (void)ret_reason;
    while (it->first) {
        http_work(it);
        if (it->host->stop(it->host->arg))
            return false;
        if (it->first)
            curl_multi_poll(it->multi, NULL, 0, WAIT_MS, NULL);
    }
    return true;
}

static void http_close(void *engine)
{
    struct http *it = engine;
    end_transfer(it);
    while (it->first) {
        struct job *job = it->first;
        it->first = job->next;
        free_job(job);
    }
    if (it->open)
        free_job(it->open);
    if (it->multi)
        curl_multi_cleanup(it->multi);
    if (it->draft)
        engine_builtin.close(it->draft);
    buf_free(&it->answer);
    free(it->authorization);
    free(it);
}

const struct engine engine_http = {
    .name = "http",
    .label = "http",
    .preload = http_preload,
    .open = http_open,
    .begin = http_begin,
    .audio = http_audio,
    .end = http_end,
    .work = http_work,
    .finish = http_finish,
    .close = http_close,
};
