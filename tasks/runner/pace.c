/* SPDX-License-Identifier: MIT */
/* Finds streams that are slower than real time: when they hold more than half of a lane's places, the slowest
 * of them fail. Judges by the bytes that Redis has, not by those the task has read. Loop thread. */
#include "hub/base/clock.h"
#include "hub/config/options.h"
#include "hub/json/json.h"
#include "tasks/runner/runner_private.h"

#define SOUND_RATE 16000      /* samples per second, if the format does not say */
#define SAMPLE_BYTES 1.5      /* three quarters of 16 bits */
#define FILE_BYTES_PER_S 1000 /* less than any speech codec produces */

static int64_t number(struct span object, const char *name, int64_t otherwise)
{
    int64_t value;
    return json_int(json_get(object, name), &value) ? value : otherwise;
}

static uint64_t least_bytes(const struct run *run, uint64_t ms)
{
    struct span format = json_get(run->args, "format");
    if (format.p == NULL || !json_string_is(json_get(format, "encoding"), "pcm_s16le"))
        return FILE_BYTES_PER_S * ms / 1000;
    double samples =
        (double)number(format, "sample_rate", SOUND_RATE) * (double)number(format, "channels", 1);
    return (uint64_t)(SAMPLE_BYTES * samples * (double)ms / 1000);
}

/* A stream whose window is full is not slow: its task does not read. */
static bool is_slow(const struct run *run, uint64_t ms)
{
    const struct run_pace *pace = &run->pace;
    return !pace->ended && run->read - run->taken < STREAM_WINDOW && pace->grown < least_bytes(run, ms);
}

/* True if the run was judged now. */
static bool measure(struct run *run, uint64_t now, uint64_t every_ms)
{
    struct run_pace *pace = &run->pace;
    uint64_t ms = now - pace->since_ms;
    if (pace->since_ms == 0 || ms < every_ms)
        return false;
    pace->grown = pace->total - pace->before;
    pace->slow = is_slow(run, ms);
    pace->since_ms = now;
    pace->before = pace->total;
    return true;
}

/* The slowest of the slow streams in a lane, NULL if there is none, and how many there are. */
static struct run *find_slowest(const struct run_lane *lane, unsigned *ret_count)
{
    struct run *slowest = NULL;
    *ret_count = 0;
    list_for_each (node, &lane->runner->leased) {
        struct run *run = container_of(node, struct run, node);
        if (run->lane != lane || run->state != RUN_LEASED || !run->pace.slow)
            continue;
        ++*ret_count;
        if (slowest == NULL || run->pace.grown < slowest->pace.grown)
            slowest = run;
    }
    return slowest;
}

/* The queue fails the task and sends the stop back. If that call fails, the next interval is judged again. */
static void fail_slowest(const struct run_lane *lane)
{
    struct engine_health health = {0};
    struct run *slowest;
    unsigned count;
    lane->engine->table->health(lane->engine->self, lane->number, &health);
    while ((slowest = find_slowest(lane, &count)) != NULL && count > health.total / 2) {
        slowest->pace.slow = false;
        queue_audio_fail(lane->runner->config.queue, slowest->owner, slowest->id, "too_slow",
                         "The stream was slower than real time for too long", NULL, NULL);
    }
}

void run_note_stream(struct run *run, uint64_t total, bool ended)
{
    if (run->pace.since_ms == 0)
        run->pace.since_ms = clock_mono_ms();
    if (total > run->pace.total)
        run->pace.total = total;
    run->pace.ended = ended;
}

void runs_check_pace(struct runner *runner)
{
    uint64_t now = clock_mono_ms(), every_ms = (uint64_t)runner->config.options->audio_pace_ms;
    bool measured = false;
    list_for_each (node, &runner->leased) {
        struct run *run = container_of(node, struct run, node);
        if (run->type->stream && run->state == RUN_LEASED)
            measured |= measure(run, now, every_ms);
    }
    for (size_t i = 0; measured && i < runner->lane_count; i++)
        fail_slowest(&runner->lanes[i]);
}
