/* SPDX-License-Identifier: MIT */
/* Writing JSON objects member by member: the comma and the quotes of the name are put where they belong;
 * braces are the caller's. Any thread. */
#pragma once

#include "hub/base/buf.h"

/* The member's name (plain letters) and its colon; the caller appends the value. */
void json_member(struct buf *to, const char *name);
/* Plain text, which is quoted and escaped; an absent one is "". */
void json_member_text(struct buf *to, const char *name, struct span text);
/* Checked JSON text as it is; `otherwise`, JSON too, where that is absent or empty. */
void json_member_raw(struct buf *to, const char *name, struct span json, const char *otherwise);
void json_member_int(struct buf *to, const char *name, int64_t number);
void json_member_bool(struct buf *to, const char *name, bool value);
/* A wall time in ms since 1970 as RFC 3339 text; null for 0. */
void json_member_time(struct buf *to, const char *name, int64_t ms);
