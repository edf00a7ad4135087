/* The table of connections: slots with generations, connections per user, spare buffers, deadlines.
 * Loop thread only. Never writes to a socket itself. */
#include "hub/base/clock.h"
#include "hub/base/metrics.h"
#include "hub/net/conn_private.h"

#include <stdio.h>

static void flush_dirty(void *ctx)
{
    struct conns *conns = ctx;
    struct list now;
    list_init(&now);
    list_splice(&now, &conns->dirty);
    for (struct list *node; (node = list_pop(&now));) {
        struct conn *conn = container_of(node, struct conn, dirty);
        if (conn->kill)
            ws_drop(conn);
        else
            ws_flush(conn);
    }
}

static void free_dead(void *ctx)
{
    struct conns *conns = ctx;
    for (struct list *node; (node = list_pop(&conns->dead));)
        free(container_of(node, struct conn, dirty));
}

struct conns *conns_new(struct loop *loop, const struct options *options, struct conn_ops ops, void *app)
{
    struct conns *conns = xcalloc(1, sizeof *conns);
    conns->loop = loop;
    conns->options = options;
    conns->ops = ops;
    conns->app = app;
    list_init(&conns->dirty);
    list_init(&conns->dead);
    loop_hook(loop, LOOP_STAGE_CONN, flush_dirty, conns);
    loop_hook(loop, LOOP_STAGE_FREE, free_dead, conns);
    return conns;
}

void conns_free(struct conns **conns)
{
    struct conns *dying = *conns;
    if (dying == NULL)
        return;
    *conns = NULL;
    loop_unhook(dying->loop, LOOP_STAGE_CONN, flush_dirty, dying);
    loop_unhook(dying->loop, LOOP_STAGE_FREE, free_dead, dying);
    free_dead(dying);
    for (size_t i = 0; i < dying->spare_count; i++)
        buf_free(&dying->spares[i]);
    table_free(&dying->users);
    free(dying->slots);
    free(dying);
}

uint64_t conns_now(const struct conns *conns)
{
    return uv_now(&conns->loop->uv);
}

/* ---- slots ----------------------------------------------------------------------------------------- */
static uint32_t take_slot(struct conns *conns)
{
    if (conns->free_slot == conns->slot_count) {
        uint32_t more = conns->slot_count ? conns->slot_count * 2 : 64;
        conns->slots = xrealloc(conns->slots, more * sizeof conns->slots[0]);
        for (uint32_t i = conns->slot_count; i < more; i++)
            conns->slots[i] = (struct conn_slot){.next_free = i + 1};
        conns->slot_count = more;
    }
    uint32_t slot = conns->free_slot;
    conns->free_slot = conns->slots[slot].next_free;
    conns->slots[slot].generation++;
    return slot;
}

struct conn *conn_new(struct conns *conns, struct lws *wsi, struct peer *peer)
{
    struct conn *conn = xcalloc(1, sizeof *conn);
    conn->conns = conns;
    conn->wsi = wsi;
    conn->peer = peer;
    conn->slot = take_slot(conns);
    conns->slots[conn->slot].conn = conn;
    list_init(&conn->dirty);
    uint64_t now = conns_now(conns);
    conn->heard_at = conn->rate_at = now;
    conn->rate_ok = true;
    conn->rate_tokens = conns->options->messages_burst * 1000;
    conn->auth_due = now + (uint64_t)conns->options->auth_deadline_ms;
    conns->count++;
    metric_set(METRIC_CONNECTIONS, conns->count);
    conn_schedule(conn);
    return conn;
}

static void leave_user(struct conn *conn)
{
    struct conn_user *user = conn->user;
    conn->user = NULL;
    if (user && --user->count == 0) {
        table_remove(&conn->conns->users, &user->node);
        free(user);
    }
}

void conn_free(struct conn *conn)
{
    struct conns *conns = conn->conns;
    struct conn_slot *slot = &conns->slots[conn->slot];
    slot->conn = NULL;
    slot->due = 0;
    slot->next_free = conns->free_slot;
    conns->free_slot = conn->slot;
    conns->count--;
    metric_set(METRIC_CONNECTIONS, conns->count);
    leave_user(conn);
    member_free(&conn->member);
    principal_clear(&conn->who);
    outbox_free(&conn->outbox);
    conns_give_buf(conns, &conn->in);
    conn->wsi = NULL;
    list_remove(&conn->dirty);
    list_append(&conns->dead, &conn->dirty);
}

struct conn_handle conn_handle(const struct conn *conn)
{
    return (struct conn_handle){conn->slot, conn->conns->slots[conn->slot].generation};
}

struct conn *conn_find(struct conns *conns, struct conn_handle handle)
{
    if (handle.slot >= conns->slot_count || handle.generation == 0)
        return NULL;
    struct conn_slot *slot = &conns->slots[handle.slot];
    return slot->generation == handle.generation ? slot->conn : NULL;
}

void conn_mark_dirty(struct conn *conn)
{
    if (list_empty(&conn->dirty) && conn->wsi)
        list_append(&conn->conns->dirty, &conn->dirty);
}

/* ---- buffers --------------------------------------------------------------------------------------- */
struct buf conns_take_buf(struct conns *conns)
{
    return conns->spare_count ? conns->spares[--conns->spare_count] : BUF_INIT;
}

void conns_give_buf(struct conns *conns, struct buf *buf)
{
    if (buf->data && conns->spare_count < CONN_SPARES && buf->cap <= CONN_SPARE_BYTES) {
        buf_clear(buf);
        conns->spares[conns->spare_count++] = *buf;
        *buf = BUF_INIT;
    } else {
        buf_free(buf);
    }
}

/* ---- users ----------------------------------------------------------------------------------------- */
static void set_deadlines(struct conn *conn)
{
    int64_t now_s = clock_wall_ms() / 1000;
    const struct principal *who = &conn->who;
    int64_t from = who->issued_at && who->issued_at < now_s ? who->issued_at : now_s;
    int64_t life = who->expires_at > from ? who->expires_at - from : 0;
    int64_t expiring_in = from + life - life / 5 - now_s;
    int64_t expiry_in = who->expires_at + AUTH_SKEW_S - now_s;
    uint64_t now = conns_now(conn->conns);
    conn->told_expiring = false;
    conn->expiring_due = now + (expiring_in > 0 ? (uint64_t)expiring_in * 1000 : 0);
    conn->expiry_due = now + (expiry_in > 0 ? (uint64_t)expiry_in * 1000 : 0);
    conn_schedule(conn);
}

bool conn_set_who(struct conn *conn, struct principal *who)
{
    struct conns *conns = conn->conns;
    struct table_node *node = table_find(&conns->users, span_of(who->user_id));
    struct conn_user *user = node ? container_of(node, struct conn_user, node) : NULL;
    if (user && user != conn->user && user->count >= conns->options->user_connections) {
        metric_add(METRIC_REFUSED_USER, 1);
        return false;
    }
    if (user == NULL) {
        user = xcalloc(1, sizeof *user);
        memcpy(user->id, who->user_id, sizeof user->id);
        user->node.key = span_of(user->id);
        table_insert(&conns->users, &user->node);
    }
    user->count++;
    if (conn->user == NULL)
        peer_authenticated(conn->peer);
    leave_user(conn);
    conn->user = user;
    if (conn->member == NULL)
        conn->member = member_new(&conn_member_ops, conn);
    conn->auth_due = 0;
    conn_refresh_who(conn, who);
    return true;
}

void conn_refresh_who(struct conn *conn, struct principal *who)
{
    principal_clear(&conn->who);
    conn->who = *who;
    memset(who, 0, sizeof *who);
    set_deadlines(conn);
}

/* ---- time ------------------------------------------------------------------------------------------- */
static void earlier(uint64_t *due, uint64_t other)
{
    if (other && other < *due)
        *due = other;
}

void conn_schedule(struct conn *conn)
{
    uint64_t due = conn->heard_at + (conn->pinged ? CONN_HANGUP_MS : CONN_PING_MS);
    earlier(&due, conn->message_due);
    earlier(&due, conn->auth_due);
    earlier(&due, conn->told_expiring ? 0 : conn->expiring_due);
    earlier(&due, conn->expiry_due);
    if (conn->closing)
        due = conn->close_due;
    conn->conns->slots[conn->slot].due = due;
}

static void tell_expiring(struct conn *conn)
{
    char at[CLOCK_TEXT_SIZE], text[160];
    clock_format(conn->who.expires_at * 1000, at);
    int n =
        snprintf(text, sizeof text,
                 "{\"jsonrpc\":\"2.0\",\"method\":\"auth.expiring\",\"params\":{\"expires_at\":\"%s\"}}", at);
    conn->told_expiring = true;
    conn_send(conn, (struct span){text, (size_t)n});
}

/* A deadline of the connection has come. */
static void on_due(struct conn *conn, uint64_t now)
{
    if (conn->closing || now >= conn->heard_at + CONN_HANGUP_MS) {
        conn->kill = true;
        conn_mark_dirty(conn);
        conn->close_due = now + CONN_CLOSE_MS;
    } else if (conn->auth_due && now >= conn->auth_due) {
        conn_close(conn, 4408, "no auth in time");
    } else if (conn->expiry_due && now >= conn->expiry_due) {
        conn_close(conn, 4401, "token expired");
    } else if (conn->message_due && now >= conn->message_due) {
        conn_close(conn, 1008, "message unfinished");
    } else if (conn->expiring_due && now >= conn->expiring_due && !conn->told_expiring) {
        tell_expiring(conn);
    } else if (!conn->pinged && now >= conn->heard_at + CONN_PING_MS) {
        conn->pinged = true;
        outbox_ping(&conn->outbox);
        conn_mark_dirty(conn);
    }
    conn_schedule(conn);
}

void conns_tick(struct conns *conns)
{
    uint64_t now = conns_now(conns);
    for (uint32_t i = 0; i < conns->slot_count; i++)
        if (conns->slots[i].conn && conns->slots[i].due <= now)
            on_due(conns->slots[i].conn, now);
}
