/* SPDX-License-Identifier: MIT */
/* The head of an HTTP/1 request (RFC 9112), read strictly: what two parsers could read in two ways is no
 * request. Pure functions, any thread. */
#pragma once

#include "hub/base/mem.h"
#include "hub/base/span.h"

struct head { /* spans of the text that was parsed */
    struct span method;
    struct span path;    /* without the query; of "http://host/path" as well */
    struct span version; /* "HTTP/1.1", "HTTP/1.0" */
    struct span fields;  /* lines with their ends */
    size_t hosts;        /* how many of them are a Host */
};

/* Bytes of the head that `text` begins with, its empty line included; 0: it is not there yet. The first
 * `known` bytes were looked at before. */
size_t head_length(struct span text, size_t known);
/* Parses a whole head (empty lines in front are skipped). False: it is none. */
bool head_parse(struct span text, struct head *ret) MUSTCHECK;
/* Whether it says once for which host it is; HTTP/1.0 need not (RFC 9112 §3.2). */
bool head_names_host(const struct head *head);
/* The value of a field without blanks around it, SPAN_NONE if there is no such field. Those of several stand
 * in `joined`, with commas between them (RFC 9110 §5.3); what is too long for that comes out as "".
 * `name`: in any case. */
struct span head_value(const struct head *head, const char *name, char *joined, size_t size);
/* `text` without blanks and tabs around it. */
struct span head_trim(struct span text);
/* Whether a list with commas holds this word, in any case. */
bool head_lists(struct span list, const char *word);
