/* SPDX-License-Identifier: MIT */
/* Votes and ratings. Any thread with a database of its own. Functions that return int return 0, or -1 and
 * db_error(). Times are milliseconds since 1970. */
#pragma once

#include "hub/sql/db.h"

#include <stdbool.h>

struct rating {
    double rating; /* Bayesian average, 1 to 5 */
    int64_t votes;
    double lower_bound; /* Wilson, 0 to 1 */
};
/* Returns the figures for `votes` votes with `stars` stars in total, where the mean of all votes is
 * prior_mean. Sources of the formulas: see ratings.c. */
struct rating rating_of(int64_t votes, int64_t stars, double prior_mean);

/* Counts a vote of 1 to 5 stars; a second one of the same user replaces the first. Within a transaction. */
int ratings_vote(struct db *db, struct span resource, struct span user, int stars, int64_t now_ms) MUSTCHECK;
/* *ret: the mean of all votes, 3 while there are none. */
int ratings_prior(struct db *db, double *ret) MUSTCHECK;
/* Calculates a resource's rating and stores it if it changed; one without votes is not stored. */
int ratings_calculate(struct db *db, struct span resource, double prior_mean, int64_t now_ms,
                      struct rating *ret, bool *ret_changed) MUSTCHECK;
/* *ret: how many resources got votes since `since_ms` (0 = ever). */
int ratings_count(struct db *db, int64_t since_ms, int64_t *ret) MUSTCHECK;

#define RATINGS_BATCH 100
/* Calculates the next RATINGS_BATCH of those resources after `after` in one transaction and moves `after`
 * to the last of them; undefined after an error. */
struct ratings_batch {
    char after[257]; /* "" at the beginning */
    int64_t since_ms, now_ms;
    double prior_mean;
    int64_t done, changed; /* of this batch; done < RATINGS_BATCH: the last batch */
};
int ratings_calculate_batch(struct db *db, struct ratings_batch *batch) MUSTCHECK;
