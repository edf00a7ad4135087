/* SPDX-License-Identifier: MIT */
/* Normalisation of text. Owns the tables of accents and of spellings; number words are flite's. */
#include "tasks/speech/normalize.h"

#include "hub/base/buf.h"

#include <ctype.h>
#include <flite/flite.h>

/* From libflite_usenglish, whose header omits them: the words of a whole number, and of each of its
 * digits. */
cst_val *en_exp_number(const char *digits);
cst_val *en_exp_digits(const char *digits);

#define DIGITS_MAX 9 /* longer numbers are read digit by digit */

/* Accented letters of Latin-1 and Latin Extended-A as plain ones, in the order of their code points from
 * U+00C0; a space is no letter. */
static const char plain[] = "aaaaaaaceeeeiiiidnooooo ouuuuytsaaaaaaaceeeeiiiidnooooo ouuuuyty"
                            "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllll"
                            "lllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

static const char *const spellings[][2] = {
    {"mr", "mister"}, {"mrs", "missus"},   {"dr", "doctor"},    {"ok", "okay"},      {"til", "till"},
    {"gray", "grey"}, {"color", "colour"}, {"honor", "honour"}, {"favor", "favour"}, {"labor", "labour"},
};

static void add(struct word_list *words, size_t max, const char *text, size_t length)
{
    while (length && *text == '\'') { /* quotes around a word do not belong to it */
        text++;
        length--;
    }
    while (length && text[length - 1] == '\'')
        length--;
    if (length == 0 || words->count >= max)
        return;
    if ((words->count & (words->count + 1)) == 0) /* grows at 0, 1, 3, 7, … */
        words->list = xrealloc(words->list, (2 * words->count + 1) * sizeof(*words->list));
    words->list[words->count++] = xstrndup(text, length);
}

static void spell_number(struct word_list *words, size_t max, const char *digits)
{
    size_t length = strlen(digits);
    bool singly = length > DIGITS_MAX || (length > 1 && digits[0] == '0');
    cst_val *spelled = singly ? en_exp_digits(digits) : en_exp_number(digits);
    for (const cst_val *word = spelled; word; word = val_cdr(word))
        add(words, max, val_string(val_car(word)), strlen(val_string(val_car(word))));
    delete_val(spelled);
}

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

static bool is_group(const char *text)
{
    return text[0] == ',' && isdigit((unsigned char)text[1]) && isdigit((unsigned char)text[2]) &&
           isdigit((unsigned char)text[3]) && !isdigit((unsigned char)text[4]);
}

/* Reads a whole number, also "12,000"; returns the bytes consumed. */
static size_t take_number(const char *text, size_t max, struct word_list *words)
{
    struct buf digits = BUF_INIT;
    size_t i = 0;
    while (isdigit((unsigned char)text[i]) || (i && is_group(text + i))) {
        if (text[i] != ',')
            buf_append_char(&digits, text[i]);
        i++;
    }
    char *plain_digits CLEANUP(free_char) = buf_take_string(&digits);
    spell_number(words, max, plain_digits);
    return i;
}

void normalize_text(const char *text, size_t max, struct word_list *ret_words)
{
    struct buf word = BUF_INIT;
    *ret_words = (struct word_list){NULL, 0};
    while (*text && ret_words->count < max) {
        size_t size = 0;
        char letter = isdigit((unsigned char)*text) ? ' ' : letter_at((const unsigned char *)text, &size);
        if (letter != ' ') {
            buf_append_char(&word, letter);
        } else if (word.len) {
            add(ret_words, max, word.data, word.len);
            buf_clear(&word);
        }
        text += size ? size : take_number(text, max, ret_words);
    }
    if (word.len)
        add(ret_words, max, word.data, word.len);
    buf_free(&word);
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
    if (strcmp(a, b) == 0)
        return true;
    for (size_t i = 0; i < NELEMS(spellings); i++) {
        const char *one = spellings[i][0], *other = spellings[i][1];
        if ((strcmp(a, one) == 0 && strcmp(b, other) == 0) || (strcmp(a, other) == 0 && strcmp(b, one) == 0))
            return true;
    }
    return false;
}
