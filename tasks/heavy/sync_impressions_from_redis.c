/* SPDX-License-Identifier: MIT */
/* Type sync_impressions_from_redis: moves counted impressions from Redis into the database, exactly once
 * even if it is killed midway. Redis cuts off a batch under an id and keeps it until it is dropped; the
 * database adds a batch and remembers its id in one transaction. A run after a crash gets the same batch
 * again, and adding it twice adds nothing. */
#include "hub/base/clock.h"
#include "hub/base/id.h"
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"
#include "tasks/store/impressions.h"

#include <stdio.h>

struct sums {
    int64_t started_ms; /* marks all rows of this run */
    int64_t impressions;
    int64_t entries, left; /* counters moved, counters still in Redis */
};

static json_t *take(struct task_ctx *ctx)
{
    char id[ID_SIZE];
    id_new(id);
    return task_call(ctx, "impressions_take", json_pack("{s:s}", "id", id));
}

static bool drop(struct task_ctx *ctx, const char *batch_id)
{
    json_t *answer = task_call(ctx, "impressions_drop", json_pack("{s:s}", "id", batch_id));
    json_decref(answer);
    return answer != NULL;
}

static void tell(struct task_ctx *ctx, const struct sums *sums)
{
    char message[80];
    int64_t total = sums->entries + sums->left;
    snprintf(message, sizeof message, "%lld of %lld counters", (long long)sums->entries, (long long)total);
    task_progress(ctx, total ? (int)(sums->entries * 100 / total) : 100, "writing", message);
}

/* Adds one batch to the database, then drops it in Redis. False after task_fail(). */
static bool move(struct task_ctx *ctx, struct db *db, json_t *batch, struct sums *sums)
{
    const char *id = json_string_value(json_object_get(batch, "id"));
    json_t *counts = json_object_get(batch, "counts");
    int64_t added;
    if (id == NULL || counts == NULL) {
        task_fail(ctx, (struct task_error){"internal", false}, "the batch is malformed");
        return false;
    }
    if (impressions_add(db, span_of(id), counts, sums->started_ms, &added) != 0) {
        task_fail_db(ctx, db);
        return false;
    }
    if (!drop(ctx, id)) {
        task_fail(ctx, (struct task_error){"unavailable", true}, "Redis did not answer");
        return false;
    }
    sums->impressions += added;
    sums->entries += (int64_t)json_object_size(counts);
    sums->left = json_integer_value(json_object_get(batch, "left"));
    return true;
}

static void finish(struct task_ctx *ctx, struct db *db, const struct sums *sums)
{
    int64_t resources;
    if (impressions_resources(db, sums->started_ms, &resources) != 0) {
        task_fail_db(ctx, db);
        return;
    }
    task_finish(ctx, json_pack("{s:I, s:I}", "impressions", (json_int_t)sums->impressions, "resources",
                               (json_int_t)resources));
}

static void run(struct task_ctx *ctx)
{
    struct sums sums = {.started_ms = clock_wall_ms()};
    struct db *db = task_db(ctx);
    if (db == NULL)
        return;
    task_progress(ctx, 0, "reading", NULL);
    while (!task_cancelled(ctx)) {
        json_t *batch = take(ctx);
        bool empty = batch && json_object_size(json_object_get(batch, "counts")) == 0;
        if (empty)
            finish(ctx, db, &sums);
        else if (batch == NULL)
            task_fail(ctx, (struct task_error){"unavailable", true}, "Redis did not answer");
        bool go_on = batch && !empty && move(ctx, db, batch, &sums);
        json_decref(batch);
        if (!go_on)
            return;
        tell(ctx, &sums);
    }
}

const struct task_type task_type_sync_impressions_from_redis = {
    .name = "sync_impressions_from_redis",
    .title = "Moves counted impressions into the database",
    .kind = TASK_HEAVY,
    .queue = "default",
    .reach = TASK_REACH_DB,
    .admin = true,
    .run = run,
};
