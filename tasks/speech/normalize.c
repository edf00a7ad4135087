/* SPDX-License-Identifier: MIT */
/* Normalisation of text. Owns the tables of accents and of spellings. */
#include "tasks/speech/normalize.h"

#include "hub/base/buf.h"
#include "tasks/speech/readings.h"

#include <ctype.h>

#define OTHERS_MAX 2000 /* words of readings beside the usual ones, in one text */

/* Accented letters of Latin-1 and Latin Extended-A as plain ones, in the order of their code points from
 * U+00C0; a space is no letter. */
static const char plain[] = "aaaaaaaceeeeiiiidnooooo ouuuuytsaaaaaaaceeeeiiiidnooooo ouuuuyty"
                            "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll"
                            "lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

/* A spelling, and the one that stands for all of the same word. */
static const char *const spellings[][2] = {
    {"mr", "mister"},
    {"mrs", "missus"},
    {"dr", "doctor"},
    {"ok", "okay"},
    {"til", "till"},
    {"gray", "grey"},
    {"color", "colour"},
    {"honor", "honour"},
    {"favor", "favour"},
    {"labor", "labour"},
    {"oh", "zero"},
    {"o", "zero"},
    {"meter", "metre"},
    {"meters", "metres"},
    {"liter", "litre"},
    {"liters", "litres"},
    {"kilometer", "kilometre"},
    {"kilometers", "kilometres"},
    {"center", "centre"},
    {"theater", "theatre"},
    {"centimeter", "centimetre"},
    {"gram", "gramme"},
    {"grams", "grammes"},
    {"centimeters", "centimetres"},
    {"fourths", "quarters"},
    {"fourty", "forty"},
    {"millimeters", "millimetres"},
};

/* The letter at `p`, lower case and without accent; ' for an apostrophe, a space for anything else.
 * *ret_size = its bytes. */
static char letter_at(const unsigned char *p, size_t *ret_size)
{
    *ret_size = 1;
    if (p[0] < 0x80)
        return isalpha(p[0]) ? (char)tolower(p[0]) : p[0] == '\'' ? '\'' : ' ';
    if ((p[0] & 0xe0) == 0xc0 && (p[1] & 0xc0) == 0x80) {
        unsigned code = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        *ret_size = 2;
        return code >= 0xc0 && code - 0xc0 < sizeof(plain) - 1 ? plain[code - 0xc0] : ' ';
    }
    if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0x98 || p[2] == 0x99)) { /* ‘ and ’ */
        *ret_size = 3;
        return '\'';
    }
    return ' '; /* the remaining bytes of the sequence become spaces */
}

static const char *usual_spelling(const char *word)
{
    for (size_t i = 0; i < NELEMS(spellings); i++)
        if (strcmp(word, spellings[i][0]) == 0)
            return spellings[i][1];
    return word;
}

static uint32_t hash(const char *word)
{
    uint32_t value = 2166136261u; /* FNV-1a */
    for (; *word; word++)
        value = (value ^ (unsigned char)*word) * 16777619u;
    return value;
}

static void add(struct lattice *to, const char *text, size_t length, size_t at, size_t from, size_t end)
{
    if ((to->count & (to->count + 1)) == 0) /* grows at 0, 1, 3, 7, … */
        to->list = xrealloc(to->list, (2 * to->count + 1) * sizeof(*to->list));
    struct lattice_word *word = &to->list[to->count++];
    *word = (struct lattice_word){xstrndup(text, length), 0, at, (unsigned)from, (unsigned)end};
    word->key = hash(usual_spelling(word->text));
}

static void add_word(struct lattice *to, const char *text, size_t length, size_t at)
{
    while (length && *text == '\'') { /* quotes around a word do not belong to it */
        text++;
        length--;
    }
    while (length && text[length - 1] == '\'')
        length--;
    if (length == 0)
        return;
    add(to, text, length, at, to->nodes - 1, to->nodes);
    to->nodes++;
    to->usual++;
}

static size_t words_of(const char *reading)
{
    size_t count = 1;
    for (; *reading; reading++)
        count += *reading == ' ';
    return count;
}

/* Adds ways side by side: first all their words but the last ones, then these, which end at one node, so that
 * words stand in the order of the nodes they end at. */
static void add_ways(struct lattice *to, const struct readings *ways, size_t count, size_t at)
{
    size_t from = to->nodes - 1, befores[READINGS_MAX];
    for (size_t i = 0; i < count; i++) {
        const char *word = ways->list[i];
        befores[i] = from;
        for (const char *space; (space = strchr(word, ' ')); word = space + 1) {
            add(to, word, (size_t)(space - word), at, befores[i], to->nodes);
            befores[i] = to->nodes++;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const char *space = strrchr(ways->list[i], ' '), *last = space ? space + 1 : ways->list[i];
        add(to, last, strlen(last), at, befores[i], to->nodes);
    }
    to->nodes++;
}

/* The first reading always, the others as long as there is room for them. */
static void add_readings(struct lattice *to, const struct readings *readings, size_t at)
{
    size_t count = 1;
    to->usual += words_of(readings->list[0]);
    for (; count < readings->count; count++) {
        size_t more = words_of(readings->list[count]);
        if (to->others + more > OTHERS_MAX)
            break;
        to->others += more;
    }
    add_ways(to, readings, count, at);
}

void lattice_read(const char *text, size_t max, struct lattice *ret)
{
    struct buf word = BUF_INIT;
    const char *p = text, *start = text;
    *ret = (struct lattice){.nodes = 1};
    while (*p && ret->usual < max) {
        struct readings readings = {.count = 0};
        size_t size = word.len == 0 || !isalpha((unsigned char)*p) ? readings_at(text, p, &readings) : 0;
        char letter = ' ';
        if (size == 0)
            letter = letter_at((const unsigned char *)p, &size);
        if (letter == ' ' && word.len) {
            add_word(ret, word.data, word.len, (size_t)(start - text));
            buf_clear(&word);
        }
        if (readings.count)
            add_readings(ret, &readings, (size_t)(p - text));
        if (letter != ' ') {
            start = word.len ? start : p;
            buf_append_char(&word, letter);
        }
        readings_free(&readings);
        p += size;
    }
    if (word.len && ret->usual < max)
        add_word(ret, word.data, word.len, (size_t)(start - text));
    ret->cut = ret->usual >= max && *p;
    buf_free(&word);
}

void lattice_free(struct lattice *lattice)
{
    for (size_t i = 0; i < lattice->count; i++)
        free(lattice->list[i].text);
    free(lattice->list);
    *lattice = (struct lattice){.nodes = 1};
}

void word_list_add(struct word_list *words, const char *text)
{
    if ((words->count & (words->count + 1)) == 0)
        words->list = xrealloc(words->list, (2 * words->count + 1) * sizeof(*words->list));
    words->list[words->count++] = xstrdup(text);
}

void normalize_text(const char *text, size_t max, struct word_list *ret_words)
{
    struct lattice all;
    lattice_read(text, max, &all);
    *ret_words = (struct word_list){NULL, 0};
    /* The usual way is the first one into each node: found from the end, so it is marked backwards. */
    bool *usual = xcalloc(all.count + 1, sizeof(*usual));
    for (size_t i = all.count, node = all.nodes - 1; i-- > 0;)
        if (all.list[i].to == node && (i == 0 || all.list[i - 1].to != node)) {
            usual[i] = true;
            node = all.list[i].from;
        }
    for (size_t i = 0; i < all.count && ret_words->count < max; i++)
        if (usual[i])
            word_list_add(ret_words, all.list[i].text);
    free(usual);
    lattice_free(&all);
}

void word_list_free(struct word_list *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->list[i]);
    free(words->list);
    *words = (struct word_list){NULL, 0};
}

bool normalize_same(const char *a, const char *b)
{
    return strcmp(usual_spelling(a), usual_spelling(b)) == 0;
}
