/* SPDX-License-Identifier: MIT */
/* Figures of a text; see text.h. One pass cuts words and sentences, a table counts the words. Characters
 * of Chinese, Japanese and Korean scripts count as words of their own. Any thread; no state between calls. */
#include "tasks/model/text.h"

#include "hub/base/mem.h"
#include "hub/base/table.h"
#include "hub/base/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

/* ---- characters ---- */

struct reader {
    const unsigned char *p, *end;
    uint32_t code; /* of the last character read */
};

static bool read_char(struct reader *r)
{
    if (r->p >= r->end)
        return false;
    unsigned char first = *r->p++;
    unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    r->code = more == 3 ? first & 7u : more == 2 ? first & 15u : more == 1 ? first & 31u : first;
    for (; more && r->p < r->end; more--)
        r->code = r->code << 6 | (*r->p++ & 63u);
    return true;
}

static bool in_ranges(uint32_t code, const uint32_t (*ranges)[2], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (code >= ranges[i][0] && code <= ranges[i][1])
            return true;
    return false;
}

/* Scripts without spaces between words. */
static bool is_ideograph(uint32_t code)
{
    static const uint32_t ranges[][2] = {{0x3040, 0x30ff}, {0x3400, 0x4dbf}, {0x4e00, 0x9fff},
                                         {0xac00, 0xd7af}, {0xf900, 0xfaff}, {0x20000, 0x3ffff}};
    return in_ranges(code, ranges, NELEMS(ranges));
}

static bool is_letter(uint32_t code)
{
    static const uint32_t not_letters[][2] = {{0x80, 0xa9},     {0xab, 0xb4},      {0xb6, 0xb9},
                                              {0xbb, 0xbf},     {0xd7, 0xd7},      {0xf7, 0xf7},
                                              {0x2000, 0x2bff}, {0x2e00, 0x303f},  {0xe000, 0xf8ff},
                                              {0xfe30, 0xffff}, {0x1f000, 0x1ffff}};
    if (code < 0x80)
        return isalnum((int)code);
    return !in_ranges(code, not_letters, NELEMS(not_letters)) && !is_ideograph(code);
}

static bool is_terminator(uint32_t code)
{
    return code == '.' || code == '!' || code == '?' || code == 0x2026 || code == 0x3002 || code == 0xff01 ||
           code == 0xff1f;
}

static bool is_closing(uint32_t code)
{
    return code == '"' || code == '\'' || code == ')' || code == ']' || code == 0x201d || code == 0x2019 ||
           code == 0xbb;
}

/* Lower case of ASCII, Latin-1, Greek and Cyrillic capitals; others have none or stay as they are. */
static uint32_t lower(uint32_t code)
{
    if (code < 0x80)
        return (uint32_t)tolower((int)code);
    if ((code >= 0xc0 && code <= 0xde && code != 0xd7) || (code >= 0x391 && code <= 0x3a9) ||
        (code >= 0x410 && code <= 0x42f))
        return code + 32;
    return code >= 0x400 && code <= 0x40f ? code + 80 : code;
}

/* ---- words ---- */

struct word {
    char text[TEXT_WORD_MAX + 1]; /* lower case, cut */
    size_t bytes, letters;
};

static void word_add(struct word *word, uint32_t code)
{
    unsigned char utf8[4];
    size_t n = utf8_encode(lower(code), utf8);
    word->letters++;
    if (word->bytes + n > TEXT_WORD_MAX)
        return;
    memcpy(word->text + word->bytes, utf8, n);
    word->bytes += n;
    word->text[word->bytes] = '\0';
}

/* Groups of vowels, without a silent e at the end; at least one. The usual estimate for English. */
static unsigned syllables(const struct word *word)
{
    unsigned count = 0;
    bool before = false;
    for (size_t i = 0; i < word->bytes; i++) {
        bool vowel = strchr("aeiouy", word->text[i]) != NULL;
        count += vowel && !before;
        before = vowel;
    }
    if (count > 1 && word->bytes > 2 && word->text[word->bytes - 1] == 'e' &&
        word->text[word->bytes - 2] != 'l')
        count--;
    return count ? count : 1;
}

/* Abbreviations whose dot does not end a sentence. */
static bool is_abbreviation(const struct word *word)
{
    static const char *const words[] = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e", "g"};
    for (size_t i = 0; i < NELEMS(words); i++)
        if (strcmp(word->text, words[i]) == 0)
            return true;
    return false;
}

/* ---- counting words ---- */

struct entry {
    struct table_node node;
    unsigned count;
    size_t first; /* position of its first use */
};

/* Whether a word says nothing about a text. */
static bool is_stop_word(const char *word, const char *language)
{
    static const char english[] = " a about above after again all also am an and any are as at be because "
                                  "been before being below between "
                                  "both but by can could did do does doing down during each few for from "
                                  "further had has have having he her "
                                  "here hers him his how i if in into is it its itself just let like me more "
                                  "most my no nor not now of off on "
                                  "once one only or other our ours out over own same she should so some such "
                                  "than that the their theirs them "
                                  "then there these they this those through to too under until up upon us "
                                  "very was we were what when where "
                                  "which while who whom why will with would you your yours s t don ll re ve ";
    char framed[TEXT_WORD_MAX + 3];
    if (strcasecmp(language, "en") != 0)
        return strlen(word) < 4;
    snprintf(framed, sizeof framed, " %s ", word);
    return strlen(word) < 2 || strstr(english, framed) != NULL;
}

static void count_word(struct table *counted, struct span word, size_t position)
{
    struct table_node *node = table_find(counted, word);
    struct entry *entry = node ? container_of(node, struct entry, node) : NULL;
    if (entry == NULL) {
        entry = table_new(counted, sizeof *entry, word);
        entry->first = position;
    }
    entry->count++;
}

static int by_count(const void *a, const void *b)
{
    const struct entry *x = *(const struct entry *const *)a, *y = *(const struct entry *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Fills the keywords and empties the table. */
static void take_keywords(struct table *counted, struct text_figures *ret)
{
    size_t count = 0;
    struct entry **entries = xcalloc(counted->count, sizeof(struct entry *));
    for (size_t i = 0; i < counted->size; i++)
        for (struct table_node *node = counted->buckets[i]; node; node = node->next)
            entries[count++] = container_of(node, struct entry, node);
    qsort(entries, count, sizeof(struct entry *), by_count);
    for (size_t i = 0; i < count; i++) {
        if (i < TEXT_KEYWORDS) {
            struct text_keyword *keyword = &ret->keywords[ret->keyword_count++];
            snprintf(keyword->word, sizeof keyword->word, "%s", entries[i]->node.key.p);
            keyword->count = entries[i]->count;
        }
        free(entries[i]);
    }
    free(entries);
    table_free(counted);
}

/* ---- the pass ---- */

struct pass {
    struct text_figures *figures;
    struct table counted;
    const char *language;
    struct word word;  /* the one being read */
    struct word last;  /* the one before */
    bool open;         /* the sentence has words */
    uint32_t ended_by; /* a terminator was read and only closing marks since, else 0 */
};

static void end_word(struct pass *pass)
{
    if (pass->word.letters == 0)
        return;
    pass->figures->words++;
    pass->figures->syllables += syllables(&pass->word);
    pass->figures->long_words += pass->word.letters > 6;
    if (!is_stop_word(pass->word.text, pass->language) && !isdigit((unsigned char)pass->word.text[0]))
        count_word(&pass->counted, span_of(pass->word.text), (size_t)pass->figures->words);
    pass->last = pass->word;
    pass->word = (struct word){.bytes = 0};
    pass->open = true;
}

static void end_sentence(struct pass *pass)
{
    bool abbreviation = pass->ended_by == '.' && is_abbreviation(&pass->last);
    pass->ended_by = 0;
    if (!pass->open || abbreviation)
        return;
    pass->figures->sentences++;
    pass->open = false;
}

static void take_char(struct pass *pass, uint32_t code)
{
    pass->figures->characters++;
    if (is_letter(code) || (code == '\'' && pass->word.letters) || (code == 0x2019 && pass->word.letters)) {
        pass->ended_by = 0;  /* "3.5", "example.org": no end */
        if (is_letter(code)) /* the apostrophe of "don't" is part of the word */
            word_add(&pass->word, code);
        return;
    }
    end_word(pass);
    if (is_ideograph(code)) {
        if (pass->ended_by)
            end_sentence(pass);
        word_add(&pass->word, code);
        end_word(pass);
    } else if (is_terminator(code)) {
        pass->ended_by = code;
    } else if (pass->ended_by && !is_closing(code)) {
        end_sentence(pass);
    }
}

static void derive(struct text_figures *f)
{
    /* Silent reading of English non-fiction: 238 words per minute (M. Brysbaert, "How many words do we read
     * per minute?", Journal of Memory and Language 109, 2019). */
    f->reading_time_s = (double)f->words * 60 / 238;
    if (f->words == 0)
        return;
    double words = (double)f->words, sentences = (double)(f->sentences ? f->sentences : 1);
    double per_word = (double)f->syllables / words;
    f->words_per_sentence = words / sentences;
    /* R. Flesch, "A new readability yardstick", 1948; J. P. Kincaid et al., 1975; LIX: C.-H. Björnsson, 1968.
     */
    f->flesch = 206.835 - 1.015 * f->words_per_sentence - 84.6 * per_word;
    f->grade = 0.39 * f->words_per_sentence + 11.8 * per_word - 15.59;
    f->lix = f->words_per_sentence + 100 * (double)f->long_words / words;
}

void text_measure(struct span text, const char *language, struct text_figures *ret)
{
    struct reader reader = {(const unsigned char *)text.p, (const unsigned char *)text.p + text.n, 0};
    struct pass pass = {.figures = ret, .language = language ? language : "en"};
    memset(ret, 0, sizeof *ret);
    while (read_char(&reader))
        take_char(&pass, reader.code);
    end_word(&pass);
    pass.ended_by = pass.open ? '!' : 0; /* the end of the text ends a sentence */
    end_sentence(&pass);
    take_keywords(&pass.counted, ret);
    derive(ret);
}
