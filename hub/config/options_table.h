/* SPDX-License-Identifier: MIT */
/* The rows that options.def makes, for the files of the options module alone. Immutable; any thread. */
#pragma once

#include "hub/config/options.h"

enum option_kind { KIND_OPTION_STRING, KIND_OPTION_INT, KIND_OPTION_BOOL };

struct option_row {
    const char *key, *alias, *help;
    enum option_kind kind;
    size_t offset; /* of the member in struct options */
    unsigned flags;
    const char *text; /* default */
    int64_t min, max; /* of an integer */
};
extern const struct option_row option_rows[OPTION_IDS];

#define OPTION_NAME_MAX 80
/* Writes the name that a key has in a source: a.b_c in a file, TASKHUB_A_B_C in the environment, --a-b-c
 * as a flag; longer ones are cut. */
void option_name(const char *key, enum option_source source, char name[static OPTION_NAME_MAX]);
/* Returns the row that has this name (or alias) in a source, NULL if there is none. */
const struct option_row *option_find(struct span name, enum option_source source);
/* Whether `name` names a type's route in a source; appends the type. */
bool option_names_route(struct span name, enum option_source source, struct buf *ret_type);
/* Returns the key whose name in a source is most like `name`, NULL if none is near. *ret_distance (may be
 * NULL): Levenshtein's distance. */
const char *option_nearest(struct span name, enum option_source source, unsigned *ret_distance);

/* Checks what the table cannot express (words, addresses). NULL, or a static English reason. */
const char *option_check_text(enum option_id id, const char *value);
/* Checks options against each other, once all are set. NULL, or a static English reason that names the
 * key. */
const char *option_check_together(const struct options *options);

/* Sets one option from text; a file may do so once. NULL, or an English reason (free()) that names neither
 * key nor place. */
char *option_assign(struct options *options, const struct option_row *row, struct span value,
                    struct option_origin origin);
/* Sets `routes.<type>`, replacing what another source said. Same errors. */
char *option_assign_route(struct options *options, struct span type, struct span executor,
                          struct option_origin origin);
/* Sets the options that no source has set to their defaults. */
void option_fill_defaults(struct options *options);
