/* SPDX-License-Identifier: MIT */
/* Type calculate_rating: calculates one resource's rating from its votes and stores it. */
#include "hub/base/clock.h"
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"
#include "tasks/store/ratings.h"

static const struct json_field args[] = {
    {.name = "resource_id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 128},
};

static json_t *result_of(const char *resource, const struct rating *rating)
{
    return json_pack("{s:s, s:f, s:I, s:f}", "resource_id", resource, "rating", rating->rating, "votes",
                     (json_int_t)rating->votes, "lower_bound", rating->lower_bound);
}

static void run(struct task_ctx *ctx)
{
    const char *resource = task_arg_text(ctx, "resource_id");
    struct rating rating;
    double prior_mean;
    bool changed;
    struct db *db = task_db(ctx);
    if (db == NULL)
        return;
    task_progress(ctx, 10, "calculating", NULL);
    if (ratings_prior(db, &prior_mean) != 0 ||
        ratings_calculate(db, span_of(resource), prior_mean, clock_wall_ms(), &rating, &changed) != 0)
        task_fail_db(ctx, db);
    else
        task_finish(ctx, result_of(resource, &rating));
}

const struct task_type task_type_calculate_rating = {
    .name = "calculate_rating",
    .title = "Calculates the rating of a resource",
    .kind = TASK_LIGHT,
    .repeatable = true,
    .args = args,
    .arg_count = NELEMS(args),
    .run = run,
};
