/* Services that running tasks reach through task_call(): the few things that need Redis. One const
 * table; both the hub (for light tasks) and the worker parent (for heavy ones) answer from it. Loop
 * thread of the process that holds the connection. */
#pragma once

#include "tasks/queue/queue.h"

#include <jansson.h>

/* `answer` is the service's to give away (taken by fn); NULL = failed. */
typedef void service_reply_fn(void *ctx, json_t *answer);
struct service {
    const char *name;
    const char *task; /* the only task type that may call it */
    void (*call)(struct queue *queue, const char *owner, const json_t *args, service_reply_fn *fn, void *ctx);
};
/* NULL if there is none or `task` may not call it. */
const struct service *service_find(const char *name, const char *task);
