/* Request objects, answers and batches; see request.h. Loop thread. Knows no method. */
#include "handlers/rpc/request.h"

#include "handlers/rpc/app.h"
#include "handlers/rpc/rpc.h"

#define FREE_MAX 1024          /* request objects kept for reuse */
#define BATCH_BYTES (1u << 20) /* answers of one batch; beyond, only small ones and the first */
#define SMALL_BYTES 1024       /* what tells of a new task is never refused */

struct request {
    struct list node; /* in the free list, or among those that wait for Redis */
    void (*undo)(struct request *request);
    struct app *app;
    struct conn_handle conn;
    struct batch *batch;
    const struct handler *handler;
    size_t id_size; /* 0 = a notification */
    char id[RPC_ID_MAX];
};

struct follower { /* a request_after of a batch element, kept until the batch is answered */
    struct list node;
    struct request_after after;
    bool read; /* the batch's answer tells of it */
    char owner[USER_ID_MAX + 1];
    char task_id[ID_SIZE];
};

struct batch {
    struct app *app;
    struct conn_handle conn;
    unsigned open; /* requests not answered yet, and one for batch_begin() */
    struct buf out;
    struct list followers;
};

static struct list free_requests = {&free_requests, &free_requests};
static unsigned free_count;
static struct list waiting = {&waiting, &waiting};
static struct buf scratch; /* the answer being built */

/* ---- the object ---------------------------------------------------------------------------------- */

struct request *request_new(struct conn *conn, struct batch *batch, const struct handler *handler,
                            struct span id)
{
    struct list *node = list_pop(&free_requests);
    struct request *request;
    if (node) {
        request = container_of(node, struct request, node);
        free_count--;
    } else {
        request = xmalloc(sizeof *request);
        list_init(&request->node);
    }
    request->app = conn_app(conn);
    request->conn = conn_handle(conn);
    request->batch = batch;
    request->handler = handler;
    request->id_size = id.n;
    if (id.n)
        memcpy(request->id, id.p, id.n);
    if (batch)
        batch->open++;
    return request;
}

struct app *request_app(const struct request *request)
{
    return request->app;
}

struct conn *request_conn(const struct request *request)
{
    return conn_find(request->app->conns, request->conn);
}

struct conn *request_reader(const struct request *request)
{
    return request->id_size ? request_conn(request) : NULL;
}

const struct principal *request_who(const struct request *request)
{
    const struct conn *conn = request_conn(request);
    return conn ? conn_who(conn) : NULL;
}

const struct handler *request_handler(const struct request *request)
{
    return request->handler;
}

/* ---- batches ------------------------------------------------------------------------------------- */

/* Delivers what follows an answer that was just written to `conn` (NULL: to nobody). */
static void deliver_after(struct app *app, const struct request_after *after, struct conn *conn)
{
    const struct member *told = after->told_seq ? conn_member(conn) : NULL;
    if (after->event)
        owners_event(app->owners, after->owner, after->event, told);
    else if (after->told_seq)
        owners_told(app->owners, after->owner, after->told_seq, told);
    if (after->held)
        owners_release(app->owners, after->owner, after->task_id);
}

/* The answer is not written yet: events of the task wait, whoever brings them. */
static void keep_after(struct batch *batch, const struct request_after *after, bool read)
{
    struct follower *follower = xmalloc(sizeof *follower);
    follower->after = *after;
    follower->read = read;
    memcpy(follower->owner, after->owner, strlen(after->owner) + 1);
    memcpy(follower->task_id, after->task_id, strlen(after->task_id) + 1);
    follower->after.owner = follower->owner;
    follower->after.task_id = follower->task_id;
    if (after->event)
        event_ref(after->event);
    if (!after->held) {
        owners_hold(batch->app->owners, follower->owner, follower->task_id);
        follower->after.held = true;
    }
    list_append(&batch->followers, &follower->node);
}

struct batch *batch_begin(struct conn *conn)
{
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->app = conn_app(conn);
    batch->conn = conn_handle(conn);
    batch->open = 1;
    list_init(&batch->followers);
    return batch;
}

static void batch_release(struct batch *batch)
{
    if (--batch->open)
        return;
    struct conn *conn = conn_find(batch->app->conns, batch->conn);
    if (conn && batch->out.len) {
        buf_append_char(&batch->out, ']');
        conn_send(conn, buf_span(&batch->out));
    }
    for (struct list *node; (node = list_pop(&batch->followers)) != NULL;) {
        struct follower *follower = container_of(node, struct follower, node);
        deliver_after(batch->app, &follower->after, follower->read ? conn : NULL);
        event_unref(&follower->after.event);
        free(follower);
    }
    buf_free(&batch->out);
    free(batch);
}

void batch_end(struct batch *batch)
{
    batch_release(batch);
}

/* ---- answers ------------------------------------------------------------------------------------- */

/* Appends one answer: `name` is "result" or "error". */
static void write_answer(struct buf *to, struct span id, const char *name, struct span value)
{
    buf_append_span(to, SPAN("{\"jsonrpc\":\"2.0\",\"id\":"));
    buf_append_span(to, id);
    buf_append_span(to, SPAN(",\""));
    buf_append_text(to, name);
    buf_append_span(to, SPAN("\":"));
    buf_append_span(to, value);
    buf_append_char(to, '}');
}

static const struct request_error batch_full = {
    .code = RPC_TOO_LARGE, .message = "The answers of this batch are too large together"};

static void send_answer(struct conn *conn, struct batch *batch, struct span id, const char *name,
                        struct span value)
{
    if (batch) {
        bool fits = value.n <= SMALL_BYTES || batch->out.len == 0 || batch->out.len + value.n <= BATCH_BYTES;
        if (!fits) {
            rpc_refuse(conn, batch, id, &batch_full);
            return;
        }
        buf_append_char(&batch->out, batch->out.len ? ',' : '[');
        write_answer(&batch->out, id, name, value);
        return;
    }
    buf_clear(&scratch);
    write_answer(&scratch, id, name, value);
    conn_send(conn, buf_span(&scratch));
}

void request_drop(struct request *request)
{
    struct batch *batch = request->batch;
    list_remove(&request->node);
    if (free_count < FREE_MAX) {
        free_count++;
        list_append(&free_requests, &request->node);
    } else {
        free(request);
    }
    if (batch)
        batch_release(batch);
}

static void answer(struct request *request, const char *name, struct span value,
                   const struct request_after *after)
{
    struct conn *conn = request_reader(request);
    if (conn)
        send_answer(conn, request->batch, (struct span){request->id, request->id_size}, name, value);
    if (after && request->batch)
        keep_after(request->batch, after, conn != NULL);
    else if (after)
        deliver_after(request->app, after, conn);
    request_drop(request);
}

void request_reply(struct request *request, struct span result)
{
    answer(request, "result", result, NULL);
}

void request_reply_then(struct request *request, struct span result, const struct request_after *after)
{
    answer(request, "result", result, after);
}

void request_fail(struct request *request, const struct request_error *error)
{
    struct buf text = BUF_INIT;
    error_write(&text, error);
    answer(request, "error", buf_span(&text), NULL);
    buf_free(&text);
}

void rpc_refuse(struct conn *conn, struct batch *batch, struct span id, const struct request_error *error)
{
    struct buf text = BUF_INIT;
    error_write(&text, error);
    send_answer(conn, batch, id, "error", buf_span(&text));
    buf_free(&text);
}

/* ---- Redis hangs --------------------------------------------------------------------------------- */

void request_waits(struct request *request, void (*undo)(struct request *request))
{
    request->undo = undo;
    list_append(&waiting, &request->node);
}

void request_fail_early(struct request *request, const struct request_error *error)
{
    struct batch *batch = request->batch;
    struct conn *conn = request_reader(request);
    list_remove(&request->node);
    if (conn)
        rpc_refuse(conn, batch, (struct span){request->id, request->id_size}, error);
    request->conn = (struct conn_handle){0, 0};
    request->batch = NULL;
    if (batch)
        batch_release(batch);
}

void requests_stalled(void)
{
    for (struct list *node; (node = list_pop(&waiting)) != NULL;) {
        struct request *request = container_of(node, struct request, node);
        if (request->undo)
            request->undo(request);
        else
            request_fail_early(request, &error_unavailable);
    }
}
