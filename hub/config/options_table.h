/* SPDX-License-Identifier: MIT */
/* The rows that options.def makes, shared by the files of the options module and by nobody else.
 * Immutable; any thread. */
#pragma once

#include "hub/config/options.h"

enum option_kind { KIND_OPTION_STRING, KIND_OPTION_INT, KIND_OPTION_BOOL };

struct option_row {
    const char *key, *alias, *help;
    enum option_kind kind;
    size_t offset; /* of the member in struct options */
    unsigned flags;
    const char *text; /* default of a string */
    int64_t number;   /* default of an integer or boolean */
    int64_t min, max; /* of an integer */
};
extern const struct option_row option_rows[OPTION_IDS];

#define OPTION_NAME_MAX 80
/* "--a-b-c" and "TASKHUB_A_B_C" of the key "a.b_c"; longer keys are cut. */
void option_flag_name(const char *key, char name[static OPTION_NAME_MAX]);
void option_env_name(const char *key, char name[static OPTION_NAME_MAX]);
/* The row of `key`, NULL if there is none. */
const struct option_row *option_find(struct span key);
/* The key most like `key`, "" if none is near. */
const char *option_nearest(struct span key);
/* Whether the two differ by no more than a slip of the pen. */
bool option_is_slip(struct span a, const char *b);

/* Checks what the table cannot say (words, addresses). NULL, or a fixed English reason. */
const char *option_check_text(enum option_id id, const char *value);
/* Checks what several options say together, once all are set. NULL, or a fixed English reason that names
 * the key. */
const char *option_check_together(const struct options *options);

/* Sets one option from text. NULL, or an English reason (free()) that names neither key nor place. */
char *option_assign(struct options *options, const struct option_row *row, struct span value,
                    struct option_origin origin);
/* Sets `routes.<type>`, replacing an earlier one. Same errors. */
char *option_assign_route(struct options *options, struct span type, struct span executor);
/* Whether `routes.<type>` was set. */
bool option_has_route(const struct options *options, struct span type);
/* The default of every option that was not set. */
void option_fill_defaults(struct options *options);
