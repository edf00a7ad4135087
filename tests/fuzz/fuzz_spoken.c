/* SPDX-License-Identifier: MIT */
/* Text and words from outside the speech task: what a user expects to be read, and what an engine's JSON
 * says was heard. */
#include "tasks/speech/normalize.h"
#include "tasks/speech/score.h"
#include "tasks/speech/words.h"
#include "tests/fuzz/fuzz.h"

#define MAX 200

static void check_words(const char *text)
{
    struct word_list words;
    normalize_text(text, MAX, &words);
    HOLDS(words.count <= MAX);
    for (size_t i = 0; i < words.count; i++)
        HOLDS(*words.list[i] &&
              strspn(words.list[i], "abcdefghijklmnopqrstuvwxyz'") == strlen(words.list[i]));
    word_list_free(&words);
}

/* A text is one of its own readings. */
static void check_match(const char *text)
{
    struct lattice lattice;
    struct match match;
    lattice_read(text, MAX, &lattice);
    HOLDS(lattice.count <= MAX + 2300 && lattice.nodes <= lattice.count + 1);
    for (size_t i = 0; i < lattice.count; i++) {
        HOLDS(lattice.list[i].from < lattice.list[i].to && lattice.list[i].to < lattice.nodes);
        HOLDS(i == 0 || lattice.list[i - 1].to <= lattice.list[i].to);
    }
    score_match(&lattice, &lattice, &match);
    HOLDS(match.extra == 0 && match.expected.count == match.heard.count);
    for (size_t i = 0; i < match.expected.count; i++)
        HOLDS(match.heard_at[i] == (int)i);
    match_free(&match);
    lattice_free(&lattice);
}

static void check_json(const char *text, size_t size)
{
    struct words words = WORDS_INIT;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    spoken_read_json(&words, object, 1);
    for (size_t i = 0; i < words.count; i++) {
        HOLDS(words.list[i].start >= 1 && words.list[i].end >= words.list[i].start);
        HOLDS(words.list[i].confidence <= 1 && strlen(words.list[i].text) <= WORD_MAX);
    }
    json_t *list = spoken_json(&words, MAX);
    HOLDS(json_array_size(list) <= MAX);
    char *dumped = json_dumps(list, JSON_COMPACT);
    HOLDS(dumped != NULL);
    free(dumped);
    json_decref(list);
    spoken_free(&words);
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct words words = WORDS_INIT;
    char *text = xstrndup(size ? (const char *)data : "", size);
    check_words(text);
    check_match(text);
    check_json(text, strlen(text));
    spoken_spread(&words, text, 0, 1);
    spoken_free(&words);
    free(text);
    return 0;
}
