/* The fuzzed hub's connection and its owner's events; see fake_hub.h. One connection, one thread. With
 * fake_tasks.c it stands in for hub/net/conn.c, hub/owners/owners.c, hub/redis/redis.c and everything in
 * tasks/. */
#include "tests/fuzz/fake_private.h"

#include "hub/base/log.h"
#include "hub/config/options_table.h"
#include "tests/fuzz/fuzz.h"

#include <sodium.h>

struct conn {
    bool open, known;
    struct principal who;
    void *user;
};

static struct app app;
static struct loop loop;
static struct options options;
static struct conn conn;
static struct conn_ops ops;
static uint32_t fate, stream;

uint32_t fake_fate(uint32_t below)
{
    fate = fate * 1664525u + 1013904223u;
    return (fate >> 16) % below;
}

/* ---- hub/net/conn.h ------------------------------------------------------------------------------------ */

void *conn_app(const struct conn *of)
{
    (void)of;
    return &app;
}
const struct principal *conn_who(const struct conn *of)
{
    return of->known ? &of->who : NULL;
}
bool conn_set_who(struct conn *of, struct principal *who)
{
    if (fake_fate(16) == 0)
        return false;
    of->who = *who;
    of->known = true;
    *who = (struct principal){0};
    return true;
}
void conn_refresh_who(struct conn *of, struct principal *who)
{
    principal_clear(&of->who);
    of->who = *who;
    *who = (struct principal){0};
}
void conn_set_user(struct conn *of, void *user)
{
    of->user = user;
}
void *conn_user(const struct conn *of)
{
    return of->user;
}
void conn_send(struct conn *of, struct span text)
{
    const char *reason = NULL;
    int64_t number;
    enum json_kind kind = json_check(text, JSON_LIMITS, &reason);
    HOLDS(of->open);
    HOLDS(kind == KIND_OBJECT || kind == KIND_ARRAY);
    if (kind == KIND_ARRAY)
        return;
    HOLDS(json_string_is(json_get(text, "jsonrpc"), "2.0"));
    struct span result = json_get(text, "result");
    if (result.p && json_kind_of(result) == KIND_OBJECT && json_int(json_get(result, "stream"), &number))
        stream = (uint32_t)number;
}
void conn_send_droppable(struct conn *of, struct span text)
{
    conn_send(of, text);
}
uint64_t conn_given_seq(const struct conn *of)
{
    (void)of;
    return UINT64_MAX;
}
bool conn_rate_ok(const struct conn *of)
{
    (void)of;
    return fake_fate(64) != 0;
}
const char *conn_address(const struct conn *of)
{
    (void)of;
    return "fuzz";
}
void conn_close(struct conn *of, unsigned code, const char *reason)
{
    (void)of;
    HOLDS(code >= 1000 && code < 5000 && reason);
}

/* ---- hub/owners/owners.h ------------------------------------------------------------------------------- */

static struct later *joining; /* NULL: nobody is, or owners_leave() cancelled it */

static void run_joined(struct later *later)
{
    struct owner_position at = {.ok = true, .epoch = "k3v9", .head = 41};
    if (later != joining)
        return;
    joining = NULL;
    if (conn.open)
        later->joined(later->ctx, (enum owners_joined)fake_fate(4), &at);
}

struct member *conn_member(const struct conn *of)
{
    (void)of;
    return NULL;
}
void owners_join(struct owners *owners, const char *owner, struct member *member, struct owners_resume resume,
                 owners_join_fn *fn, void *ctx)
{
    (void)owners;
    (void)member;
    HOLDS(owner);
    (void)resume;
    joining = later_new(run_joined, ctx);
    joining->joined = fn;
}
void owners_start(struct member *member, uint64_t seq)
{
    (void)member;
    (void)seq;
}
void owners_leave(struct member *member)
{
    (void)member;
    joining = NULL;
}
void owners_event(struct owners *owners, const char *owner, struct event *event, const struct member *except)
{
    (void)owners;
    (void)except;
    HOLDS(owner && event->refs);
}
void owners_replied(struct owners *owners, const char *owner, uint64_t seq, const struct member *told)
{
    (void)owners;
    (void)seq;
    (void)told;
    HOLDS(owner);
}
void owners_news(struct owners *owners, const struct owner_news *news, const struct member *reader)
{
    (void)owners;
    (void)reader;
    HOLDS(news->owner && (news->event == NULL || news->event->refs));
}
bool owners_listening(struct owners *owners, const char *owner, const struct member *except)
{
    (void)owners;
    (void)owner;
    (void)except;
    return fake_fate(2);
}
void owners_hold(struct owners *owners, const char *owner, const char *task_id)
{
    (void)owners;
    HOLDS(owner && task_id);
}
void owners_release(struct owners *owners, const char *owner, const char *task_id)
{
    (void)owners;
    HOLDS(owner && task_id);
}
void owners_reconnected(struct owners *owners)
{
    (void)owners;
}

/* ---- hub/redis/redis.h: it hangs now and then ---------------------------------------------------------- */

static void (*on_stall)(void *ctx);

struct redis *queue_redis(struct queue *queue)
{
    (void)queue;
    return NULL;
}
void redis_on_stall(struct redis *redis, void (*fn)(void *ctx), void *ctx)
{
    (void)redis;
    HOLDS(ctx == &app);
    on_stall = fn;
}
bool redis_is_stalled(const struct redis *redis)
{
    (void)redis;
    return fake_fate(32) == 0;
}
void redis_probe(struct redis *redis)
{
    (void)redis;
}

/* ---- the life of the connection --------------------------------------------------------------------- */

static void start_once(void)
{
    char *reason = NULL;
    if (app.options)
        return;
    if (sodium_init() < 0 || loop_init(&loop) < 0)
        abort();
    log_setup("fuzz", LOG_ERROR, LOG_LOGFMT);
    option_fill_defaults(&options);
    app.keyring = keyring_parse(SPAN("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"), &reason);
    app.options = &options;
    app.loop = &loop;
    app.redis_ready = true;
    HOLDS(app.keyring);
    ops = session_conn_ops();
}

void fake_open(bool authenticated, unsigned roles, uint32_t seed)
{
    start_once();
    app_start(&app);
    fate = seed;
    stream = 0;
    conn = (struct conn){.open = true, .known = authenticated};
    conn.who.roles = roles;
    conn.who.expires_at = INT64_C(4000000000);
    memcpy(conn.who.user_id, "fuzz", sizeof "fuzz");
    ops.on_open(&conn, SPAN_NONE);
    struct session *session = conn.user;
    if (!authenticated)
        return;
    session->answerer.who = &conn.who;
    session_become(session, SESSION_VERIFYING);
    session_become(session, SESSION_KNOWN);
}

void fake_text(struct span message)
{
    ops.on_text(&conn, message);
}

void fake_binary(struct span frame)
{
    ops.on_binary(&conn, frame);
}

void fake_turn(void)
{
    loop_flush(&loop);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    if (on_stall && fake_fate(16) == 0)
        on_stall(&app);
    later_run();
}

void fake_close(void)
{
    conn.open = false;
    ops.on_close(&conn);
    HOLDS(conn.user == NULL);
    for (int i = 0; i < 100 && (i < 2 || later_any()); i++)
        fake_turn();
    app_stop(&app);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    principal_clear(&conn.who);
}

uint32_t fake_stream(void)
{
    return stream;
}
