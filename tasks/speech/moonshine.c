/* SPDX-License-Identifier: MIT */
/* The only user of libmoonshine; see moonshine.h. Owns the library and its two handles: the gate, which hears
 * whether anybody speaks, and the model, which would hear words in anything.
 *
 * The C interface is declared here as its makers document it for version 2.0 (moonshine-c-api.h), so that
 * nothing of theirs is needed to build. */
#include "tasks/speech/moonshine.h"

#include "hub/base/buf.h"
#include "hub/base/utf8.h"
#include "hub/config/moonshine_dir.h"
#include "tasks/speech/endpoint.h"

#include <dlfcn.h>
#include <malloc.h>

/* ---- the interface ---- */

#define API_VERSION 20000
#define ARCH_TINY 0
#define LATEST_FLAGS 5 /* of a line, one byte each */

struct api_option {
    const char *name, *value;
};

struct api_line {
    const char *text; /* UTF-8 */
    const float *audio;
    size_t audio_count;
    float start_s, duration_s;
    uint64_t id;
    int8_t flags[LATEST_FLAGS];
    const void *speakers;
    uint64_t speaker_count;
    uint32_t latency_ms;
    const void *words;
    uint64_t word_count;
};

struct api_transcript { /* the library's, until its next call */
    struct api_line *lines;
    uint64_t count;
};

typedef int32_t load_fn(const char *directory, uint32_t arch, const struct api_option *options,
                        uint64_t option_count, int32_t api_version);
typedef int32_t transcribe_fn(int32_t handle, float *samples, uint64_t count, int32_t rate, uint32_t flags,
                              struct api_transcript **ret);

/* ---- loading ---- */

#define LEVEL 0.5F           /* the peak that samples are brought to */
#define PEAK_LEAST 0.0005F   /* less is no voice and stays as it is */
#define LARGE (2 << 20)      /* bytes: larger blocks go back to the system as soon as they are free */
#define KEPT_FREE (16 << 20) /* bytes that may stay for the next blocks of one run */
#define WARM_SAMPLES SPEECH_RATE

static transcribe_fn *transcribe;
static int32_t gate = -1, model = -1;
static char *refusal; /* why it could not be loaded: a child would be told something else */

bool moonshine_loaded(void)
{
    return transcribe && gate >= 0 && model >= 0;
}

/* Runs one handle over the samples; NULL if it fails. */
static const struct api_transcript *run(int32_t handle, float *samples, size_t count)
{
    struct api_transcript *transcript = NULL;
    return transcribe(handle, samples, count, SPEECH_RATE, 0, &transcript) == 0 ? transcript : NULL;
}

/* What the library makes at its first run is made here, once for all children. */
static bool warm_up(void)
{
    static float silence[WARM_SAMPLES];
    bool fine = run(gate, silence, WARM_SAMPLES) && run(model, silence, WARM_SAMPLES);
    malloc_trim(0);
    return fine;
}

static bool load_handles(void *library, const char *dir)
{
    static const struct api_option of_gate[] = {
        {"skip_transcription", "true"}, {"vad_threshold", "0.5"}, {"return_audio_data", "false"}};
    static const struct api_option of_model[] = {
        {"vad_threshold", "0.0"}, {"vad_max_segment_duration", "30"}, {"return_audio_data", "false"}};
    load_fn *load_transcriber = NULL;
    *(void **)&load_transcriber = dlsym(library, "moonshine_load_transcriber_from_files");
    *(void **)&transcribe = dlsym(library, "moonshine_transcribe_without_streaming");
    if (load_transcriber == NULL || transcribe == NULL)
        return false;
    gate = load_transcriber(dir, ARCH_TINY, of_gate, NELEMS(of_gate), API_VERSION);
    model = load_transcriber(dir, ARCH_TINY, of_model, NELEMS(of_model), API_VERSION);
    return moonshine_loaded() && warm_up();
}

/* A second thread of the runtime would not exist in forked children. Large blocks come from the system one by
 * one, so that a stream holds little between its utterances. Returns why it failed (free()), NULL if it did
 * not. */
static char *load(const struct options *options)
{
    char *dir CLEANUP(free_char) = moonshine_dir(options);
    char *path CLEANUP(free_char) = xasprintf("%s/" MOONSHINE_LIBRARY, dir);
    setenv("MOONSHINE_ORT_SINGLE_THREAD", "1", 1);
    mallopt(M_MMAP_THRESHOLD, LARGE);
    mallopt(M_TRIM_THRESHOLD, KEPT_FREE);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library && load_handles(library, dir))
        return NULL;
    transcribe = NULL;
    return library ? xasprintf("%s: its model cannot be loaded", dir) : xstrdup(dlerror());
}

bool moonshine_load(const struct options *options, char **ret_reason)
{
    if (!moonshine_loaded() && refusal == NULL)
        refusal = load(options);
    if (refusal)
        *ret_reason = xstrdup(refusal);
    return refusal == NULL;
}

/* ---- text ---- */

/* The samples as the library takes them (free()), brought to one level: the gate misses quiet speech. */
static float *scaled(const int16_t *samples, size_t count)
{
    float *out = xmalloc((count + 1) * sizeof *out), peak = PEAK_LEAST;
    for (size_t i = 0; i < count; i++) {
        out[i] = (float)samples[i] / 32768;
        peak = out[i] > peak ? out[i] : -out[i] > peak ? -out[i] : peak;
    }
    for (size_t i = 0; peak > PEAK_LEAST && i < count; i++)
        out[i] *= LEVEL / peak;
    return out;
}

/* Appends a line: no invalid characters, no controls, single spaces, no comma twice. */
static void append_line(struct buf *to, const char *text)
{
    size_t left = strlen(text), n;
    if (to->len)
        buf_append_char(to, ' ');
    for (; left > 0; text += n, left -= n) {
        char last = to->len ? to->data[to->len - 1] : ' ';
        n = utf8_length((const unsigned char *)text, left);
        if (n == 0)
            n = 1;
        else if ((unsigned char)*text <= ' ' && last != ' ')
            buf_append_char(to, ' ');
        else if ((unsigned char)*text > ' ' && !(*text == ',' && last == ','))
            buf_append(to, text, n);
    }
    while (to->len && to->data[to->len - 1] == ' ')
        to->len--;
}

char *moonshine_text(const int16_t *samples, size_t count)
{
    struct buf text = BUF_INIT;
    float *level = scaled(samples, count);
    const struct api_transcript *heard = run(gate, level, count), *said = heard;
    if (heard && heard->count)
        said = run(model, level, count);
    for (uint64_t i = 0; said && said != heard && i < said->count; i++)
        append_line(&text, said->lines[i].text ? said->lines[i].text : "");
    free(level);
    malloc_trim(0);
    if (said)
        return buf_take_string(&text);
    buf_free(&text);
    return NULL;
}
