/* SPDX-License-Identifier: MIT */
/* Services that running tasks reach through task_call(): the few things that need Redis. One const table;
 * the hub (for light tasks) and the worker's parent (for heavy ones) answer from it. Loop thread of the
 * process that holds the connection. */
#pragma once

#include "tasks/queue/queue.h"

/* `json` is borrowed; SPAN_NONE = failed. */
typedef void service_reply_fn(void *ctx, struct span json);
struct service {
    const char *name;
    const char *task; /* the only task type that may call it */
    /* `args`: an object that json_check() accepted, borrowed during the call. Calls fn once, perhaps
     * before this returns; never if the queue is freed first. */
    void (*call)(struct queue *queue, struct span args, service_reply_fn *fn, void *ctx);
};
/* Returns NULL if there is no such service or `task` may not call it. */
const struct service *service_find(const char *name, const char *task);
