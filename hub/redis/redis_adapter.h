/* hiredis on libuv: watches the socket of one asynchronous context. Reading is always armed once hiredis
 * asks for it; writing is armed only while connecting and while bytes remain after a flush, so that
 * commands cost no system call when they are issued. Loop thread only; hub/redis/redis.c is the one user. */
#pragma once

#include "hub/base/loop.h"

#include <hiredis/async.h>
#include <stdbool.h>

struct redis_adapter;

/* Takes over the context's event hooks; lives until hiredis gives the context up. */
struct redis_adapter *redis_adapter_attach(struct loop *loop, redisAsyncContext *ac);
/* Writes what was issued since the last flush, in one system call if the socket takes it. The adapter
 * and the context may be gone afterwards. */
void redis_adapter_flush(struct redis_adapter *adapter);
