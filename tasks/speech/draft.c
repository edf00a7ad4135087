/* SPDX-License-Identifier: MIT */
/* Owns the draft child and its two pipes; one thread. The parent's side never blocks: the pipe to the
 * child holds a whole utterance. The child decodes until its input ends and has no descriptor but its
 * pipes. */
#include "tasks/speech/draft.h"

#include "hub/base/buf.h"
#include "tasks/speech/endpoint.h"
#include "tasks/speech/fence.h"
#include "tasks/speech/sphinx.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)     /* 32 s of samples */
#define PIECE (SPEECH_RATE / 10) /* samples decoded at a time */
#define MEAN_SAMPLES SPEECH_RATE /* speech needed for a first mean of the voice */

struct draft {
    struct fence *child;
    bool deaf;           /* its pipe was full or broken: the text no longer changes */
    struct buf received; /* lines "samples text"; the last complete one counts */
    char *text;
    size_t samples;
};

/* ---- the child ---- */

/* Reads one piece; false at the end of the input. */
static bool read_piece(int16_t *samples)
{
    size_t have = 0;
    while (have < PIECE * sizeof(*samples)) {
        ssize_t n = read(STDIN_FILENO, (char *)samples + have, PIECE * sizeof(*samples) - have);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0)
            have += (size_t)n;
    }
    return true;
}

/* Decodes what was heard so far again, with the mean it yields. */
static void restart(const int16_t *heard, size_t count)
{
    struct sphinx_mean mean = {.frames = 0};
    struct words forgotten = WORDS_INIT;
    sphinx_end(0, &forgotten);
    spoken_free(&forgotten);
    sphinx_mean_add(&mean, heard, count);
    sphinx_begin(&mean);
    for (size_t i = 0; i < count; i += PIECE)
        sphinx_audio(heard + i, PIECE);
}

static void decode_until_end(void)
{
    static int16_t heard[MEAN_SAMPLES];
    int16_t piece[PIECE];
    size_t count = 0, total = 0;
    char *shown = xstrdup("");
    sphinx_begin(&(struct sphinx_mean){.frames = 0});
    while (read_piece(piece)) {
        sphinx_audio(piece, PIECE);
        total += PIECE;
        if (count < MEAN_SAMPLES) {
            memcpy(heard + count, piece, sizeof(piece));
            count += PIECE;
            if (count == MEAN_SAMPLES)
                restart(heard, count);
        }
        char *text = sphinx_partial();
        if (strcmp(text, shown) != 0 && dprintf(STDOUT_FILENO, "%zu %s\n", total, text) < 0)
            break;
        free(shown);
        shown = text;
    }
    free(shown);
}

/* ---- the parent ---- */

struct draft *draft_start(void)
{
    const struct fence_spec spec = {
        .run = decode_until_end, .file = -1, .cpu_s = 3600, .wall_s = 7200, .pipe_bytes = PIPE_BYTES};
    char *reason = NULL;
    struct fence *child = fence_start(&spec, &reason);
    free(reason);
    if (child == NULL)
        return NULL;
    struct draft *draft = xcalloc(1, sizeof(*draft));
    *draft = (struct draft){.child = child, .text = xstrdup("")};
    return draft;
}

void draft_audio(struct draft *draft, const int16_t *samples, size_t count)
{
    size_t size = count * sizeof(*samples);
    if (!draft->deaf)
        draft->deaf = fence_write(draft->child, samples, size) != (ssize_t)size;
}

const char *draft_text(struct draft *draft, size_t *ret_samples)
{
    char chunk[4096];
    ssize_t n;
    while ((n = fence_read(draft->child, chunk, sizeof(chunk))) > 0)
        buf_append(&draft->received, chunk, (size_t)n);
    size_t end = draft->received.len;
    while (end > 0 && draft->received.data[end - 1] != '\n')
        end--;
    if (end > 0) {
        size_t start = end - 1;
        while (start > 0 && draft->received.data[start - 1] != '\n')
            start--;
        free(draft->text);
        char *line = xstrndup(draft->received.data + start, end - 1 - start), *text;
        draft->samples = strtoul(line, &text, 10);
        draft->text = xstrdup(text + strspn(text, " "));
        free(line);
        buf_consume(&draft->received, end);
    }
    *ret_samples = draft->samples;
    return draft->text;
}

void draft_stop(struct draft **draft)
{
    struct draft *it = *draft;
    if (it == NULL)
        return;
    *draft = NULL;
    fence_close(&it->child);
    buf_free(&it->received);
    free(it->text);
    free(it);
}
