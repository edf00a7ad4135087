/* SPDX-License-Identifier: MIT */
/* One Redis connection on the loop. It owns its socket: commands issued during a turn leave in one write at
 * LOOP_STAGE_REDIS, hiredis parses what comes. It connects again by backoff_connection, of several
 * addresses to the one that is a primary, or where its Sentinels say. A hub has three or four
 * (commands, subscriptions, a probe; what replicas confirm), a worker parent two. Loop thread only. Knows no
 * task. */
#pragma once

#include "hub/base/loop.h"
#include "hub/base/span.h"
#include "hub/config/redis_url.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>

struct redis;

/* Gets a reply, which is freed afterwards; NULL: the connection was lost, whether the command ran is unknown.
 */
typedef void redis_reply_fn(void *ctx, const redisReply *reply);

struct redis_hooks {
    /* After each connect: AUTH and SELECT are done, commands may be issued. */
    void (*on_up)(void *ctx);
    /* After each loss, and after each failed attempt; `reason` is English. */
    void (*on_down)(void *ctx, const char *reason);
    void *ctx;
};

/* Begins to connect. `url` is copied. `timeout_ms`: a command without an answer for so long drops the
 * connection (0 = never); an attempt to connect has as long, at most 5 s. With subscriptions Redis is asked
 * for a sign of life when nothing came for half of that. */
struct redis *redis_new(struct loop *loop, const struct redis_url *url, unsigned timeout_ms,
                        struct redis_hooks hooks);
/* Closes; pending callbacks get NULL. Sets *redis to NULL. */
void redis_free(struct redis **redis);
/* Whether commands reach Redis now; NULL, a connection that is closed, is not up. */
bool redis_is_up(const struct redis *redis);
/* `redis` connects where `leader` is, and anew when that goes elsewhere or left a replica: two connections of
 * one process speak to one Redis. At most three may follow; either may be freed first. */
void redis_follow(struct redis *redis, struct redis *leader);
/* Asks for the role, as each connect does: a connection to a replica is dropped, and the next address tried.
 * Where Redis does not tell, nothing happens. Asks the Sentinels, too: a primary that they replaced is left.
 */
void redis_check_role(struct redis *redis);
/* Drops the connection, which goes to the next address; nothing if there is none. */
void redis_leave(struct redis *redis, const char *reason);

/* From now on answers wait until `replicas` (at least 1) replicas have what was written: behind the commands
 * of a turn goes one WAIT, which holds up those of the next turn. If fewer have it within `wait_ms`, the
 * callbacks of the turn get NULL, whatever Redis answered, and fell_short is called. Call it before the first
 * command. */
void redis_confirm(struct redis *redis, unsigned replicas, unsigned wait_ms, void (*fell_short)(void *ctx),
                   void *ctx);

/* Returns how many commands have no answer yet. */
size_t redis_in_flight(const struct redis *redis);

/* Asks to be told when Redis hangs: fn is called once per stall, when commands are under way, none was
 * answered for 0.8 to 0.9 of `silence_ms` (at least 10), and `probe` (borrowed, as long-lived) did not answer
 * either: a connection that does nothing else, so that many or costly commands on this one are no hang. NULL:
 * this one alone tells. Costs ten beats of a timer per `silence_ms` while commands are under way. */
void redis_on_stall(struct redis *redis, struct redis *probe, unsigned silence_ms, void (*fn)(void *ctx),
                    void *ctx);
/* Whether that is so now: up, but silent. Ends with the next answer, or when the connection is dropped. */
bool redis_is_stalled(const struct redis *redis);
/* Sends a PING if nothing else is under way, so that a stall shows. */
void redis_probe(struct redis *redis);

/* Issues a command; `lengths` NULL = the words end with a NUL. fn may be NULL; while the connection is down
 * it is called with NULL before this returns. Words of 1 KiB and more are not copied: they must stay as they
 * are until fn is called (without fn all are copied). */
void redis_call(struct redis *redis, redis_reply_fn *fn, void *ctx, int argc, const char *const *argv,
                const size_t *lengths);
/* The same with NUL-terminated words, the list ended by NULL. */
#define redis_callv(redis, fn, ctx, ...)                                                                     \
    redis_call(redis, fn, ctx, (int)NELEMS(((const char *const[]){__VA_ARGS__})) - 1,                        \
               (const char *const[]){__VA_ARGS__}, NULL)
/* Calls fn once with "subscribe", then for every message of the channel (an array: "message", channel, text),
 * at last with NULL when the connection is lost: then the caller subscribes again in on_up. */
void redis_subscribe(struct redis *redis, redis_reply_fn *fn, void *ctx, struct span channel);
/* fn is not called any more. */
void redis_unsubscribe(struct redis *redis, struct span channel);
