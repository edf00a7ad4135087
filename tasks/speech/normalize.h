/* SPDX-License-Identifier: MIT */
/* Text as comparable words: lower case, no punctuation, accents folded, written forms as they are read
 * (readings.h), some spelling variants unified. Any thread. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct word_list {
    char **list; /* [a-z'] only */
    size_t count;
};

/* All ways to read a text: each word leads from one node to a later one, from node 0 to the last. Words stand
 * in the order of the nodes they lead to; of those that lead to one node the usual one is first. */
struct lattice {
    struct lattice_word {
        char *text;    /* [a-z'] only */
        uint32_t key;  /* the same for spellings of one word */
        size_t offset; /* of its written form in the text */
        unsigned from, to;
    } * list;
    size_t count, nodes;
    size_t usual, others; /* words of the usual way, and of all others */
    bool cut;             /* the text went on */
};

/* Reads UTF-8 text until its usual way has `max` words (the last form may bring some more). Other ways are
 * left out once they have 2000 words, so that work and memory are bounded. Give it back with lattice_free().
 */
void lattice_read(const char *text, size_t max, struct lattice *ret);
void lattice_free(struct lattice *lattice);

/* The words of UTF-8 text as it is usually read; at most `max` of them. Give them back with word_list_free().
 */
void normalize_text(const char *text, size_t max, struct word_list *ret_words);
/* Appends a copy. */
void word_list_add(struct word_list *words, const char *text);
void word_list_free(struct word_list *words);
/* Whether two normalised words are spellings of the same word ("mr", "mister"). */
bool normalize_same(const char *a, const char *b);
