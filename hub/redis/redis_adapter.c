/* hiredis on libuv; see redis_adapter.h. */
#include "hub/redis/redis_adapter.h"

#include <sys/ioctl.h>

#define READS_PER_TURN 16

struct redis_adapter {
    uv_poll_t poll;
    redisAsyncContext *ac; /* NULL once hiredis has let go */
    bool staged;           /* commands stand in hiredis' buffer */
    bool flushing;         /* inside redisAsyncHandleWrite() */
    int wanted, armed;     /* UV_READABLE, UV_WRITABLE */
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void arm(struct redis_adapter *adapter)
{
    if (adapter->ac == NULL || adapter->wanted == adapter->armed)
        return;
    adapter->armed = adapter->wanted;
    if (adapter->wanted)
        uv_poll_start(&adapter->poll, adapter->wanted, on_poll);
    else
        uv_poll_stop(&adapter->poll);
}

static void write_now(struct redis_adapter *adapter)
{
    adapter->flushing = true;
    redisAsyncHandleWrite(adapter->ac);
    adapter->flushing = false; /* freed in a later turn at the earliest */
}

/* hiredis reads 16 KiB at a time; a busy feed must not wait a turn for each. */
static void read_now(struct redis_adapter *adapter)
{
    int waiting = 1;
    for (int i = 0; i < READS_PER_TURN && waiting > 0 && adapter->ac; i++) {
        int fd = adapter->ac->c.fd;
        redisAsyncHandleRead(adapter->ac);
        if (adapter->ac == NULL || ioctl(fd, FIONREAD, &waiting) != 0)
            return;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct redis_adapter *adapter = poll->data;
    if (status < 0) {
        /* libuv has stopped watching (refused, reset): let hiredis find out by trying. */
        events = adapter->armed;
        adapter->armed = 0;
    }
    if (events & UV_READABLE)
        read_now(adapter);
    if ((events & UV_WRITABLE) && adapter->ac)
        write_now(adapter);
    arm(adapter);
}

static void want(struct redis_adapter *adapter, int event, bool on)
{
    adapter->wanted = on ? adapter->wanted | event : adapter->wanted & ~event;
    arm(adapter);
}

static void add_read(void *data)
{
    want(data, UV_READABLE, true);
}

static void del_read(void *data)
{
    want(data, UV_READABLE, false);
}

static void add_write(void *data)
{
    struct redis_adapter *adapter = data;
    bool connecting = !(adapter->ac->c.flags & REDIS_CONNECTED);
    adapter->staged = true;
    if (connecting || adapter->flushing)
        want(adapter, UV_WRITABLE, true);
}

static void del_write(void *data)
{
    struct redis_adapter *adapter = data;
    adapter->staged = false;
    want(adapter, UV_WRITABLE, false);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Before hiredis closes the descriptor; it may come twice. */
static void cleanup(void *data)
{
    struct redis_adapter *adapter = data;
    if (adapter->ac == NULL)
        return;
    adapter->ac->ev.data = NULL;
    adapter->ac->ev.addRead = adapter->ac->ev.delRead = NULL;
    adapter->ac->ev.addWrite = adapter->ac->ev.delWrite = NULL;
    adapter->ac->ev.cleanup = NULL;
    adapter->ac = NULL;
    uv_poll_stop(&adapter->poll);
    uv_close((uv_handle_t *)&adapter->poll, on_closed);
}

struct redis_adapter *redis_adapter_attach(struct loop *loop, redisAsyncContext *ac)
{
    struct redis_adapter *adapter = xcalloc(1, sizeof *adapter);
    if (uv_poll_init(&loop->uv, &adapter->poll, ac->c.fd) != 0) {
        free(adapter);
        return NULL;
    }
    adapter->poll.data = adapter;
    adapter->ac = ac;
    ac->ev.data = adapter;
    ac->ev.addRead = add_read;
    ac->ev.delRead = del_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = del_write;
    ac->ev.cleanup = cleanup;
    return adapter;
}

void redis_adapter_flush(struct redis_adapter *adapter)
{
    if (adapter->ac && adapter->staged && !(adapter->armed & UV_WRITABLE))
        write_now(adapter);
}
