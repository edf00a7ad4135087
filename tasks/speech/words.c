/* SPDX-License-Identifier: MIT */
/* The list of words. Owns its memory; knows no engine. */
#include "tasks/speech/words.h"

#include "hub/base/buf.h"

#include <math.h>

struct word *spoken_add(struct words *words, const char *text, size_t length)
{
    if (words->count == words->capacity) {
        words->capacity = words->capacity ? 2 * words->capacity : 32;
        words->list = xrealloc(words->list, words->capacity * sizeof(*words->list));
    }
    struct word *word = &words->list[words->count++];
    memset(word, 0, sizeof(*word));
    word->confidence = -1;
    if (length > WORD_MAX)
        for (length = WORD_MAX; length && ((unsigned char)text[length] & 0xc0) == 0x80;)
            length--;
    memcpy(word->text, text, length);
    return word;
}

void spoken_append(struct words *words, const struct words *more)
{
    for (size_t i = 0; i < more->count; i++)
        *spoken_add(words, "", 0) = more->list[i];
}

void spoken_free(struct words *words)
{
    free(words->list);
    *words = WORDS_INIT;
}

void spoken_spread(struct words *words, const char *text, double start, double end)
{
    size_t total = 0, at = 0;
    for (const char *p = text; *p; p++)
        total += *p != ' ';
    for (size_t length; *text; text += length) {
        text += strspn(text, " ");
        length = strcspn(text, " ");
        if (length == 0)
            break;
        struct word *word = spoken_add(words, text, length);
        word->start = start + (end - start) * (double)at / (double)total;
        at += length;
        word->end = start + (end - start) * (double)at / (double)total;
        word->estimated = true;
    }
}

static void read_word(struct words *words, const json_t *item, double offset)
{
    const json_t *start = json_object_get(item, "start"), *end = json_object_get(item, "end");
    const char *text = json_string_value(json_object_get(item, "word"));
    if (text == NULL || !json_is_number(start) || !json_is_number(end))
        return;
    size_t length = strlen(text + strspn(text, " "));
    text += strspn(text, " ");
    while (length && text[length - 1] == ' ')
        length--;
    if (length == 0)
        return;
    struct word *word = spoken_add(words, text, length);
    word->start = offset + fmin(WORDS_TIME_MAX, fmax(0, json_number_value(start)));
    word->end = fmax(word->start, offset + fmin(WORDS_TIME_MAX, json_number_value(end)));
    const json_t *confidence = json_object_get(item, "confidence");
    if (!json_is_number(confidence))
        confidence = json_object_get(item, "probability");
    if (json_is_number(confidence))
        word->confidence = fmax(0, fmin(1, json_number_value(confidence)));
}

void spoken_read_json(struct words *words, const json_t *object, double offset)
{
    size_t i;
    json_t *item;
    const json_t *list = json_object_get(object, "words");
    json_array_foreach(list, i, item) read_word(words, item, offset);
    if (list == NULL) {
        list = json_object_get(object, "segments");
        json_array_foreach(list, i, item) spoken_read_json(words, item, offset);
    }
}

char *spoken_text(const struct words *words)
{
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < words->count; i++) {
        if (i)
            buf_append_char(&text, ' ');
        buf_append_text(&text, words->list[i].text);
    }
    return buf_take_string(&text);
}

json_t *json_hundredths(double value)
{
    return json_real(round(value * 100) / 100);
}

json_t *spoken_json(const struct words *words, size_t max)
{
    json_t *list = json_array();
    for (size_t i = 0; i < words->count && i < max; i++) {
        const struct word *word = &words->list[i];
        json_t *confidence = word->confidence >= 0 ? json_hundredths(word->confidence) : NULL;
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o*, s:o*}", "word", word->text, "start",
                                              json_hundredths(word->start), "end", json_hundredths(word->end),
                                              "confidence", confidence, "estimated",
                                              word->estimated ? json_true() : NULL));
    }
    return list;
}
