/* SPDX-License-Identifier: MIT */
/* Why Redis answers with an error: one word per reason, used by readiness, `taskhub check` and metrics
 * (docs/operations.md). Counts and logs the errors. Loop thread only. */
#pragma once

enum redis_refusal {
    REDIS_TAKES, /* it does what it is asked to */
    REDIS_NOPERM,
    REDIS_NOAUTH,
    REDIS_MOVED,
    REDIS_READONLY,
    REDIS_MISCONF,
    REDIS_OOM,
    REDIS_LOADING,
    REDIS_BUSY,
    REDIS_NOREPLICAS,
    REDIS_FUNCTION, /* the function library is missing */
    REDIS_OTHER,
    REDIS_REFUSALS,
};

/* The reason of an error text of Redis; REDIS_OTHER for an unknown text. */
enum redis_refusal redis_refusal_of(const char *error);
/* The word, a colon, what it means and what to do; English, static text. Not for REDIS_TAKES. */
const char *redis_refusal_text(enum redis_refusal refusal);
/* Counts an error that Redis answered with, by its kind, which is returned. Logs a kind when it begins, not
 * again while it lasts. */
enum redis_refusal redis_refused(const char *error);
