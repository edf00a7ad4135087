/* Calling a function of 85_domain.lua, for domain.c and services.c. Loop thread of the process that holds
 * the connection. */
#pragma once

#include "tasks/queue.h"

#define DOMAIN_ARGS_MAX 4

/* `answer`: what the function returned, NULL when it failed or Redis did not answer (logged). */
typedef void domain_reply_fn(void *ctx, const redisReply *answer);
/* Calls `function` ("th1_…") on the shard of `owner`. */
void domain_call(struct queue *queue, const char *owner, const char *function, const struct span *args,
                 size_t count, domain_reply_fn *fn, void *ctx);
