/* SPDX-License-Identifier: MIT */
/* One Redis connection on the loop. It owns its socket: commands issued during a turn are sent in one write
 * at LOOP_STAGE_REDIS; hiredis parses the replies. It reconnects by backoff_connection: to the first of
 * several addresses that is a primary, or to the one its Sentinels name. A hub has three or four (commands,
 * subscriptions, a probe; commands confirmed by replicas), a worker's parent two. Loop thread only. Knows
 * nothing of tasks. */
#pragma once

#include "hub/base/loop.h"
#include "hub/base/span.h"
#include "hub/config/redis_url.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>

struct redis;

/* Receives a reply, borrowed during the call. NULL: the connection was lost, and whether the command was
 * carried out is unknown. */
typedef void redis_reply_fn(void *ctx, const redisReply *reply);

struct redis_hooks {
    /* After each connect, when AUTH and SELECT have succeeded: commands may be issued. */
    void (*on_up)(void *ctx);
    /* After each loss of the connection and each failed attempt; `reason` is English, borrowed. */
    void (*on_down)(void *ctx, const char *reason);
    void *ctx;
};

/* Starts to connect. Copies `url`. `timeout_ms`: the connection is dropped when a command is not answered for
 * this long (0 = never); an attempt to connect may take as long, at most 5 s. With subscriptions a PING is
 * sent when nothing came for half of that. Free with redis_free(). */
struct redis *redis_new(struct loop *loop, const struct redis_url *url, unsigned timeout_ms,
                        struct redis_hooks hooks);
/* Closes the connection; pending callbacks get NULL. Sets *redis to NULL; NULL is fine. */
void redis_free(struct redis **redis);
/* Whether commands can be sent now. NULL (a connection that was freed) is not up. */
bool redis_is_up(const struct redis *redis);
/* Makes `redis` connect to the address of `leader`, and reconnect when `leader` moves or leaves a replica, so
 * that two connections of a process use one Redis. At most three may follow a leader; either may be freed
 * first. */
void redis_follow(struct redis *redis, struct redis *leader);
/* Asks for the server's role, as each connect does: drops a connection to a replica and tries the next
 * address. Does nothing if Redis refuses to tell. Also asks the Sentinels: a primary that they replaced is
 * dropped. */
void redis_check_role(struct redis *redis);
/* Drops the connection and tries the next address; does nothing while there is no connection. */
void redis_leave(struct redis *redis, const char *reason);

/* Holds answers back until `replicas` (at least 1) replicas have the writes: one WAIT follows the commands of
 * each turn, and delays those of the next turn. If fewer replicas have them within `wait_ms`, the callbacks
 * of the turn get NULL, whatever Redis answered, and fell_short is called. Call before the first command. */
void redis_confirm(struct redis *redis, unsigned replicas, unsigned wait_ms, void (*fell_short)(void *ctx),
                   void *ctx);

/* Returns how many commands were not answered yet. */
size_t redis_in_flight(const struct redis *redis);

/* Calls fn once each time Redis hangs: when commands are under way, none was answered for 0.8 to 0.9 of
 * `silence_ms` (at least 10), and `probe` was not answered either. `probe` (borrowed, must live as long) is a
 * connection that does nothing else, so that many or slow commands on this one do not count as a hang; NULL:
 * only this connection decides. Costs ten timer events per `silence_ms` while commands are under way. */
void redis_on_stall(struct redis *redis, struct redis *probe, unsigned silence_ms, void (*fn)(void *ctx),
                    void *ctx);
/* Whether Redis hangs now: up, but silent. Ends with the next answer, or when the connection is dropped. */
bool redis_is_stalled(const struct redis *redis);
/* Sends a PING if nothing else is under way, so that a hang is noticed. */
void redis_probe(struct redis *redis);

/* Issues a command of `argc` words; `lengths` NULL = the words end with a NUL. fn may be NULL. While the
 * connection is down, fn is called with NULL before this returns. Words of 1 KiB and more are not copied and
 * must not change until fn is called (without fn all words are copied). */
void redis_call(struct redis *redis, redis_reply_fn *fn, void *ctx, int argc, const char *const *argv,
                const size_t *lengths);
/* The same with NUL-terminated words; the list ends with NULL. */
#define redis_callv(redis, fn, ctx, ...)                                                                     \
    redis_call(redis, fn, ctx, (int)NELEMS(((const char *const[]){__VA_ARGS__})) - 1,                        \
               (const char *const[]){__VA_ARGS__}, NULL)
/* Calls fn once with "subscribe", then for every message of the channel (an array: "message", channel, text),
 * and with NULL when the connection is lost: then subscribe again in on_up. Copies the channel's name. */
void redis_subscribe(struct redis *redis, redis_reply_fn *fn, void *ctx, struct span channel);
/* Unsubscribes: fn is not called any more. Does nothing if the channel was not subscribed. */
void redis_unsubscribe(struct redis *redis, struct span channel);
