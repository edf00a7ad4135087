/* Arguments of function calls; see queue_private.h. What people wrote becomes JSON strings here, so that the
 * functions need not escape anything. */
#include "tasks/queue/queue_private.h"

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

void text_quoted(struct buf *to, struct span text, size_t max_bytes)
{
    if (text.n > max_bytes) {
        text.n = max_bytes;
        while (text.n > 0 && ((unsigned char)text.p[text.n] & 0xc0) == 0x80)
            text.n--; /* not within a character */
    }
    if (text.p)
        buf_append_json(to, text);
}

void words_quoted(struct words *words, struct span text, size_t max_bytes)
{
    text_quoted(&words->bytes, text, max_bytes);
    words_end(words);
}

void text_json(struct buf *to, struct span json)
{
    size_t from = to->len;
    if (json.n == 0)
        return;
    buf_append_span(to, json);
    /* White space only: strings hold these escaped. Lines and tabs separate what the feed is made of. */
    for (char *p = to->data + from, *end = to->data + to->len; p < end; p++)
        if (*p == '\n' || *p == '\r' || *p == '\t')
            *p = ' ';
}

void words_json(struct words *words, struct span json)
{
    text_json(&words->bytes, json);
    words_end(words);
}

size_t text_word(char to[static WORD_SIZE], const char *text, size_t size)
{
    size_t n = size < WORD_SIZE - 1 ? size : WORD_SIZE - 1;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool plain = c > ' ' && c < 127 && c != '"' && c != '\\';
        to[i] = plain ? c : '_';
    }
    to[n] = '\0';
    return n;
}

void words_word(struct words *words, const char *text, size_t size)
{
    char word[WORD_SIZE];
    buf_append(&words->bytes, word, text_word(word, text, size));
    words_end(words);
}
