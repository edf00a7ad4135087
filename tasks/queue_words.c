/* Arguments of function calls; see queue_private.h. What people wrote becomes JSON strings here, so that the
 * functions need not escape anything. */
#include "tasks/queue_private.h"

#define WORD_MAX 32

void words_free(struct words *words)
{
    buf_free(&words->bytes);
    free(words->ends);
    *words = (struct words){0};
}

/* Ends the word that was appended to the bytes. */
static void words_end(struct words *words)
{
    if (words->count == words->cap) {
        words->cap = words->cap ? words->cap * 2 : 16;
        words->ends = xrealloc(words->ends, words->cap * sizeof *words->ends);
    }
    words->ends[words->count++] = words->bytes.len;
}

void words_add(struct words *words, struct span text)
{
    buf_append_span(&words->bytes, text);
    words_end(words);
}

void words_text(struct words *words, const char *text)
{
    words_add(words, span_of(text));
}

void words_number(struct words *words, uint64_t number)
{
    buf_append_u64(&words->bytes, number);
    words_end(words);
}

void words_signed(struct words *words, int64_t number)
{
    buf_append_i64(&words->bytes, number);
    words_end(words);
}

void words_quoted(struct words *words, struct span text, size_t max_bytes)
{
    if (text.n > max_bytes) {
        text.n = max_bytes;
        while (text.n > 0 && ((unsigned char)text.p[text.n] & 0xc0) == 0x80)
            text.n--; /* not within a character */
    }
    if (text.p)
        buf_append_json(&words->bytes, text);
    words_end(words);
}

void words_json(struct words *words, struct span json)
{
    size_t from = words->bytes.len;
    buf_append_span(&words->bytes, json);
    /* White space only: strings hold these escaped. Lines and tabs separate what the feed is made of. */
    if (json.n == 0) {
        words_end(words);
        return;
    }
    for (char *p = words->bytes.data + from, *end = words->bytes.data + words->bytes.len; p < end; p++)
        if (*p == '\n' || *p == '\r' || *p == '\t')
            *p = ' ';
    words_end(words);
}

void words_word(struct words *words, const char *text, size_t size)
{
    size_t n = size < WORD_MAX ? size : WORD_MAX;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool plain = c > ' ' && c < 127 && c != '"' && c != '\\';
        buf_append_char(&words->bytes, plain ? c : '_');
    }
    words_end(words);
}
