/* SPDX-License-Identifier: MIT */
/* Type calculate_all_ratings: calculates every resource's rating, in batches of one transaction each. Safe
 * to restart from the beginning: repeating a finished batch changes nothing. */
#include "hub/base/clock.h"
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"
#include "tasks/store/ratings.h"

#include <stdio.h>

static const struct json_field args[] = {
    {.name = "since", .kinds = KIND_STRING, .min = 1, .max = 40},
};

static bool check(const struct span *values, struct json_field_error *ret_error)
{
    char text[41];
    if (values[0].p == NULL ||
        (json_string_copy(values[0], text, sizeof text) && clock_parse(text, strlen(text)) >= 0))
        return true;
    return json_refuse(ret_error, SPAN("since"), "must be a time like 2026-01-31T10:20:30Z");
}

static void tell(struct task_ctx *ctx, int64_t done, int64_t total)
{
    char message[80];
    task_meta(ctx, json_pack("{s:I, s:I}", "current", (json_int_t)done, "total", (json_int_t)total));
    snprintf(message, sizeof message, "%lld of %lld resources", (long long)done, (long long)total);
    task_progress(ctx, total > 0 ? (int)(done < total ? done * 100 / total : 100) : 100, "calculating",
                  message);
}

static void run(struct task_ctx *ctx)
{
    const char *since = task_arg_text(ctx, "since");
    struct ratings_batch batch = {.now_ms = clock_wall_ms()};
    int64_t total, done = 0, changed = 0;
    struct db *db = task_db(ctx);
    if (since)
        batch.since_ms = clock_parse(since, strlen(since));
    if (db == NULL)
        return;
    if (ratings_count(db, batch.since_ms, &total) != 0 || ratings_prior(db, &batch.prior_mean) != 0) {
        task_fail_db(ctx, db);
        return;
    }
    do {
        tell(ctx, done, total);
        if (task_cancelled(ctx))
            return;
        if (ratings_calculate_batch(db, &batch) != 0) {
            task_fail_db(ctx, db);
            return;
        }
        done += batch.done;
        changed += batch.changed;
    } while (batch.done == RATINGS_BATCH);
    task_finish(ctx, json_pack("{s:I, s:I}", "resources", (json_int_t)done, "changed", (json_int_t)changed));
}

const struct task_type task_type_calculate_all_ratings = {
    .name = "calculate_all_ratings",
    .title = "Calculates the ratings of all resources",
    .kind = TASK_HEAVY,
    .queue = "default",
    .reach = TASK_REACH_DB,
    .admin = true,
    .args = args,
    .arg_count = NELEMS(args),
    .check = check,
    .run = run,
};
