/* SPDX-License-Identifier: MIT */
/* Why a Redis that answers does not do what it is asked: a word for each reason, which readiness, `taskhub
 * check` and metrics share (docs/operations.md). Counts and logs them; loop thread only. */
#pragma once

enum redis_refusal {
    REDIS_TAKES, /* it does what it is asked */
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

/* What an error of Redis means; text that is none is REDIS_OTHER. */
enum redis_refusal redis_refusal_of(const char *error);
/* The word, and behind a colon what it means and what to do; fixed English. Not for REDIS_TAKES. */
const char *redis_refusal_text(enum redis_refusal refusal);
/* Redis answered with this error: counts it by its kind. A kind is logged when it begins, not again while it
 * lasts. */
enum redis_refusal redis_refused(const char *error);
