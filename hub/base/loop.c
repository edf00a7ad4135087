/* SPDX-License-Identifier: MIT */
/* The event loop and its per-turn hooks; see loop.h. */
#include "hub/base/loop.h"

#define CLOSING_TURNS 16 /* handles that are not closed within these turns must not delay the exit */

static void on_check(uv_check_t *handle)
{
    loop_flush(handle->data);
}

static void on_prepare(uv_prepare_t *handle)
{
    loop_flush(handle->data);
}

int loop_init(struct loop *loop)
{
    memset(loop, 0, sizeof *loop);
    int rc = uv_loop_init(&loop->uv);
    if (rc < 0)
        return rc;
    uv_check_init(&loop->uv, &loop->check);
    uv_prepare_init(&loop->uv, &loop->prepare);
    loop->check.data = loop->prepare.data = loop;
    uv_check_start(&loop->check, on_check);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_unref((uv_handle_t *)&loop->check);
    uv_unref((uv_handle_t *)&loop->prepare);
    return 0;
}

void loop_hook(struct loop *loop, enum loop_stage stage, void (*fn)(void *ctx), void *ctx)
{
    for (size_t i = 0; i < NELEMS(loop->hooks[stage]); i++) {
        if (loop->hooks[stage][i].fn == NULL) {
            loop->hooks[stage][i].fn = fn;
            loop->hooks[stage][i].ctx = ctx;
            return;
        }
    }
    abort();
}

void loop_unhook(struct loop *loop, enum loop_stage stage, void (*fn)(void *ctx), void *ctx)
{
    size_t kept = 0;
    for (size_t i = 0; i < NELEMS(loop->hooks[stage]); i++)
        if (loop->hooks[stage][i].fn != fn || loop->hooks[stage][i].ctx != ctx)
            loop->hooks[stage][kept++] = loop->hooks[stage][i];
    for (; kept < NELEMS(loop->hooks[stage]); kept++)
        loop->hooks[stage][kept].fn = NULL;
}

void loop_flush(struct loop *loop)
{
    for (size_t stage = 0; stage < LOOP_STAGES; stage++)
        for (size_t i = 0; i < NELEMS(loop->hooks[stage]) && loop->hooks[stage][i].fn; i++)
            loop->hooks[stage][i].fn(loop->hooks[stage][i].ctx);
}

void loop_signals(struct loop *loop, const int *numbers, uv_signal_cb fn, void *data)
{
    for (; *numbers; numbers++) {
        if (loop->signal_count == NELEMS(loop->signals))
            abort();
        uv_signal_t *signal = &loop->signals[loop->signal_count++];
        uv_signal_init(&loop->uv, signal);
        signal->data = data;
        uv_signal_start(signal, fn, *numbers);
    }
}

int loop_deinit(struct loop *loop)
{
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    for (size_t i = 0; i < loop->signal_count; i++)
        uv_close((uv_handle_t *)&loop->signals[i], NULL);
    for (int turn = 0; turn < CLOSING_TURNS && uv_run(&loop->uv, UV_RUN_NOWAIT); turn++)
        ;
    return uv_loop_close(&loop->uv);
}

uv_timer_t *loop_timer(struct loop *loop, void *data)
{
    uv_timer_t *timer = xcalloc(1, sizeof *timer);
    uv_timer_init(&loop->uv, timer);
    timer->data = data;
    return timer;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

void loop_timer_within(uv_timer_t *timer, uv_timer_cb fn, uint64_t in_ms)
{
    if (!uv_is_active((uv_handle_t *)timer) || in_ms < uv_timer_get_due_in(timer))
        uv_timer_start(timer, fn, in_ms, 0);
}

void loop_close(void *handle)
{
    uv_close(handle, free_handle);
}
