/* SPDX-License-Identifier: MIT */
/* Writes JSON objects member by member: adds commas and quotes where needed; braces are the caller's. Any
 * thread. */
#pragma once

#include "hub/base/buf.h"

/* Writes the member's name (plain letters) and its colon; the caller appends the value. */
void json_member(struct buf *to, const char *name);
/* Writes plain text, quoted and escaped; absent text becomes "". */
void json_member_text(struct buf *to, const char *name, struct span text);
/* Writes checked JSON text unchanged; `otherwise`, also JSON, if it is absent or empty. */
void json_member_raw(struct buf *to, const char *name, struct span json, const char *otherwise);
void json_member_int(struct buf *to, const char *name, int64_t number);
void json_member_bool(struct buf *to, const char *name, bool value);
/* Writes a wall time in ms since 1970 as RFC 3339 text; null for 0. */
void json_member_time(struct buf *to, const char *name, int64_t ms);
