/* SPDX-License-Identifier: MIT */
/* The one event loop of a process (libuv), and hooks that run once per turn, after its callbacks and again
 * before the loop sleeps. They send what was staged during the turn: jobs to the pool, commands to Redis,
 * frames to sockets. Loop thread only. */
#pragma once

#include "hub/base/mem.h"

#include <uv.h>

enum loop_stage {                   /* the order of the hooks within a turn */
                  LOOP_STAGE_POOL,  /* staged light tasks go to their threads */
                  LOOP_STAGE_QUEUE, /* staged task transitions become function calls */
                  LOOP_STAGE_REDIS, /* staged commands are sent in one write per connection */
                  LOOP_STAGE_CONN,  /* staged frames are sent in one write per socket */
                  LOOP_STAGE_FREE,  /* objects closed during the turn are freed */
                  LOOP_STAGES,
};

struct loop {
    uv_loop_t uv;
    uv_check_t check;
    uv_prepare_t prepare;
    struct {
        void (*fn)(void *ctx);
        void *ctx;
    } hooks[LOOP_STAGES][8];
    uv_signal_t signals[3];
    size_t signal_count;
};

/* Returns 0 or an error of libuv (a negative errno). */
int loop_init(struct loop *loop) MUSTCHECK;
/* Adds a hook (at most 8 per stage, aborts beyond). A hook must be cheap when nothing is staged. */
void loop_hook(struct loop *loop, enum loop_stage stage, void (*fn)(void *ctx), void *ctx);
/* Removes a hook; do not call while hooks of its stage run. */
void loop_unhook(struct loop *loop, enum loop_stage stage, void (*fn)(void *ctx), void *ctx);
/* Runs every hook now, stage by stage. */
void loop_flush(struct loop *loop);
/* Returns a stopped timer with this data; release it with loop_close(). */
uv_timer_t *loop_timer(struct loop *loop, void *data);
/* Runs the timer once, in in_ms; a timer that is due earlier stays as it is. */
void loop_timer_within(uv_timer_t *timer, uv_timer_cb fn, uint64_t in_ms);
/* Closes a handle that has an allocation of its own (malloc(3)), and frees that when libuv is done with
 * it. */
void loop_close(void *handle);
/* Calls fn, with `data` in its handle, for each of the signals (ended by 0), until the loop ends. */
void loop_signals(struct loop *loop, const int *numbers, uv_signal_cb fn, void *data);
/* Ends the loop after its users have closed their handles: 0, or UV_EBUSY if a handle is still open. */
int loop_deinit(struct loop *loop);
