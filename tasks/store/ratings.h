/* SPDX-License-Identifier: MIT */
/* Votes and ratings. Any thread with a database of its own; every function returns 0, or -1 with
 * db_error(). Times are milliseconds since 1970. */
#pragma once

#include "hub/sql/db.h"

#include <stdbool.h>

struct rating {
    double rating; /* Bayesian average, 1 to 5 */
    int64_t votes;
    double lower_bound; /* Wilson, 0 to 1 */
};
/* The figures of `votes` votes with `stars` stars in all, where an average resource has prior_mean. */
struct rating rating_of(int64_t votes, int64_t stars, double prior_mean);

/* One vote; a second one of the same user replaces the first. */
int ratings_vote(struct db *db, struct span resource, struct span user, int stars, int64_t now_ms) MUSTCHECK;
/* Mean stars of all votes, 3 while there is none. */
int ratings_prior(struct db *db, double *ret) MUSTCHECK;
/* Calculates and stores one resource's rating (a resource without votes is not stored). */
int ratings_calculate(struct db *db, struct span resource, double prior_mean, int64_t now_ms,
                      struct rating *ret, bool *ret_changed) MUSTCHECK;
/* How many resources got votes since `since_ms` (0 = ever). */
int ratings_count(struct db *db, int64_t since_ms, int64_t *ret) MUSTCHECK;

#define RATINGS_BATCH 100
/* Calculates the next RATINGS_BATCH of those resources behind `after` in one transaction and moves
 * `after` to the last of them; without meaning after an error. */
struct ratings_batch {
    char after[257]; /* "" at the beginning */
    int64_t since_ms, now_ms;
    double prior_mean;
    int64_t done, changed; /* of this batch; done < RATINGS_BATCH: it was the last */
};
int ratings_calculate_batch(struct db *db, struct ratings_batch *batch) MUSTCHECK;
