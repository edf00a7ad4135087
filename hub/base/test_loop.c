/* SPDX-License-Identifier: MIT */
/* hub/base/loop.c: hooks run once per turn, in the order of their stages, and before the loop sleeps. */
#include "hub/base/loop.h"

#include "tests/lib/tap.h"

static char order[64];
static char free_mark[] = "f", conn_mark[] = "c", pool_mark[] = "p", redis_mark[] = "r", queue_mark[] = "q",
            last_mark[] = "Q", timer_mark[] = "t", staged_mark[] = "!";
static unsigned turns;

static void note(void *ctx)
{
    size_t n = strlen(order);
    if (n + 1 < sizeof order)
        order[n] = *(const char *)ctx;
}

static void count(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void stage_something(void *ctx)
{
    uv_timer_t *timer = ctx;
    if (turns == 0)
        return;
    turns = 0;
    uv_timer_stop(timer);
    note(staged_mark);
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
    note(timer_mark);
    turns = 1;
}

int main(void)
{
    static struct loop loop;
    uv_timer_t timer;
    unsigned flushes = 0;
    is_int(loop_init(&loop), 0, "starts");
    loop_hook(&loop, LOOP_STAGE_FREE, note, free_mark);
    loop_hook(&loop, LOOP_STAGE_CONN, note, conn_mark);
    loop_hook(&loop, LOOP_STAGE_POOL, note, pool_mark);
    loop_hook(&loop, LOOP_STAGE_REDIS, note, redis_mark);
    loop_hook(&loop, LOOP_STAGE_QUEUE, note, queue_mark);
    loop_hook(&loop, LOOP_STAGE_QUEUE, note, last_mark);
    loop_flush(&loop);
    is_text(order, "pqQrcf", "by stage, then by registration");

    memset(order, 0, sizeof order);
    loop_hook(&loop, LOOP_STAGE_POOL, count, &flushes);
    loop_hook(&loop, LOOP_STAGE_POOL, stage_something, &timer);
    uv_timer_init(&loop.uv, &timer);
    uv_timer_start(&timer, on_timer, 1, 1);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    ok(strchr(order, 't') && strchr(order, '!'), "what a callback staged is handled in the same run");
    ok(strchr(order, '!') && strchr(strchr(order, '!'), 'c') != NULL, "later stages see it in the same turn");
    ok(flushes >= 2, "hooks ran before sleeping and after the callbacks");

    loop_timer_within(&timer, on_timer, 50000);
    loop_timer_within(&timer, on_timer, 70000);
    ok(uv_timer_get_due_in(&timer) <= 50000, "a timer that is due before stays");
    loop_timer_within(&timer, on_timer, 30000);
    ok(uv_timer_get_due_in(&timer) <= 30000, "one that is due later comes earlier");
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "nothing is left open");
    return done_testing();
}
