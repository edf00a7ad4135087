/* The fuzzed hub's other half; see fake_hub.h. One connection, one thread. It stands in for hub/conn.c,
 * hub/owners.c, tasks/manager.c and tasks/queue.c, so only their headers are used. */
#include "tests/fuzz/fake_hub.h"

#include "handlers/app.h"
#include "hub/log.h"
#include "hub/options_table.h"
#include "tasks/domain.h"
#include "tasks/event_body.h"
#include "tasks/store/requests.h"
#include "tests/fuzz/fuzz.h"

#include <sodium.h>

#define TASK "0198d3a0-0000-7000-8000-00000000000f"

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

const struct task_type store_rating_submit, store_notification_list, store_notification_read;

/* ---- answers that come one turn later ------------------------------------------------------------- */

struct later {
    struct list node;
    void (*run)(struct later *later);
    queue_answer_fn *answer;
    queue_done_fn *done;
    queue_audio_fn *audio;
    task_reply_fn *submitted;
    manager_internal_fn *internal;
    owners_join_fn *joined;
    void *ctx;
    uint64_t received;
    bool stream;
    char id[ID_SIZE];
};
static struct list answers = {&answers, &answers};

static uint32_t next_fate(uint32_t below)
{
    fate = fate * 1664525u + 1013904223u;
    return (fate >> 16) % below;
}

static struct later *later_new(void (*run)(struct later *later), void *ctx)
{
    struct later *later = xcalloc(1, sizeof *later);
    later->run = run;
    later->ctx = ctx;
    list_append(&answers, &later->node);
    return later;
}

/* QUEUE_OK more often than not. */
static enum queue_code some_code(void)
{
    static const enum queue_code codes[] = {QUEUE_NOT_FOUND, QUEUE_FORBIDDEN,   QUEUE_STATE,
                                            QUEUE_LOST,      QUEUE_UNAVAILABLE, QUEUE_INPUT_GONE};
    return next_fate(3) ? QUEUE_OK : codes[next_fate(NELEMS(codes))];
}

static void run_answer(struct later *later)
{
    static const char *const texts[] = {"{\"tasks\":[],\"user_id\":\"fuzz\"}",
                                        "{\"tasks\":[{\"task_id\":\"" TASK "\"}],\"workers\":1}",
                                        "{\"user_id\":\"other\",\"result\":{\"a\":[1,{}]}}"};
    struct queue_answer answer = {.code = some_code(), .seq = next_fate(100)};
    memcpy(answer.id, TASK, ID_SIZE);
    memcpy(answer.status, "processing", sizeof "processing");
    memcpy(answer.stage, "cancelling", sizeof "cancelling");
    if (answer.code == QUEUE_OK)
        answer.json = span_of(texts[next_fate(NELEMS(texts))]);
    later->answer(later->ctx, &answer);
}

static void run_done(struct later *later)
{
    if (later->done)
        later->done(later->ctx, some_code());
}

static void run_audio(struct later *later)
{
    struct queue_audio audio = {
        .code = some_code(), .received = later->received + next_fate(2), .ended = next_fate(8) == 0};
    later->audio(later->ctx, &audio);
}

static void run_submitted(struct later *later)
{
    static const struct task_type type = {.name = "fuzz", .kind = TASK_LIGHT};
    struct task_reply reply = {.refusal = next_fate(3) ? TASK_ACCEPTED : next_fate(TASK_NO_STREAM + 1)};
    struct event *event = NULL;
    reply.owner = "fuzz";
    reply.type = &type;
    reply.made_id = later->id;
    memcpy(reply.id, later->id, ID_SIZE);
    memcpy(reply.status, "pending", sizeof "pending");
    memcpy(reply.error.field, "args", sizeof "args");
    reply.seq = next_fate(1000);
    if (reply.refusal == TASK_ACCEPTED && !later->stream && next_fate(2))
        event = reply.ended = event_new('C', reply.seq + 1, 0, 1, span_of(later->id), SPAN("{}"));
    later->submitted(later->ctx, &reply);
    event_unref(&event);
}

static void run_internal(struct later *later)
{
    bool failed = next_fate(3) == 0;
    later->internal(later->ctx, failed, "database",
                    failed ? SPAN("it is locked") : SPAN("{\"notifications\":[],\"unread\":0}"));
}

static void run_joined(struct later *later)
{
    struct owner_position at = {.ok = true, .epoch = "k3v9", .head = 41};
    if (conn.open) /* owners_leave() cancels it */
        later->joined(later->ctx, (enum owners_joined)next_fate(4), &at);
}

static void later_answer(queue_answer_fn *fn, void *ctx)
{
    later_new(run_answer, ctx)->answer = fn;
}

static void later_audio(uint64_t received, queue_audio_fn *fn, void *ctx)
{
    struct later *later = later_new(run_audio, ctx);
    later->audio = fn;
    later->received = received;
}

/* ---- hub/conn.h ------------------------------------------------------------------------------------ */

void *conn_app(const struct conn *of)
{
    (void)of;
    return &app;
}
struct conn_handle conn_handle(const struct conn *of)
{
    (void)of;
    return (struct conn_handle){1, 1};
}
struct conn *conn_find(struct conns *conns, struct conn_handle handle)
{
    (void)conns;
    (void)handle;
    return conn.open ? &conn : NULL;
}
const struct principal *conn_who(const struct conn *of)
{
    return of->known ? &of->who : NULL;
}
bool conn_set_who(struct conn *of, struct principal *who)
{
    if (next_fate(16) == 0)
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
    return next_fate(64) != 0;
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

/* ---- hub/owners.h ---------------------------------------------------------------------------------- */

void owners_join(struct owners *owners, struct conn *of, struct owners_resume resume, owners_join_fn *fn,
                 void *ctx)
{
    (void)owners;
    (void)of;
    (void)resume;
    later_new(run_joined, ctx)->joined = fn;
}
void owners_start(struct owners *owners, struct conn *of, uint64_t seq)
{
    (void)owners;
    (void)of;
    (void)seq;
}
void owners_leave(struct owners *owners, struct conn *of)
{
    (void)owners;
    (void)of;
}
void owners_event(struct owners *owners, const char *owner, struct event *event, struct conn *except)
{
    (void)owners;
    (void)except;
    HOLDS(owner && event->refs);
}
void owners_told(struct owners *owners, const char *owner, uint64_t seq, struct conn *told)
{
    (void)owners;
    (void)seq;
    (void)told;
    HOLDS(owner);
}
bool owners_listening(struct owners *owners, const char *owner, const struct conn *except)
{
    (void)owners;
    (void)owner;
    (void)except;
    return next_fate(2);
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

/* ---- tasks/manager.h, tasks/task_type.h, tasks/domain.h
 * ---------------------------------------------------------------- */

void task_manager_submit(struct manager *manager, const struct task_request *request, task_reply_fn *fn,
                         void *ctx)
{
    (void)manager;
    HOLDS(request->who && request->priority <= 9);
    struct later *later = later_new(run_submitted, ctx);
    later->submitted = fn;
    later->stream = request->stream;
    id_new(later->id);
}
const struct task_type *task_type_find(const char *name)
{
    static const struct json_field args[] = {
        {.name = "resource_id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 128},
        {.name = "format", .kinds = KIND_OBJECT},
    };
    static const struct task_type type = {
        .name = "process_speak_audio", .kind = TASK_HEAVY, .stream = true, .args = args, .arg_count = 2};
    return strcmp(name, type.name) == 0 ? &type : NULL;
}
bool manager_run_internal(struct manager *manager, const struct task_type *type, const char *owner,
                          struct span args, manager_internal_fn *fn, void *ctx)
{
    const char *reason;
    (void)manager;
    HOLDS(type && owner && json_check(args, JSON_LIMITS, &reason) == KIND_OBJECT);
    if (next_fate(4) == 0)
        return false;
    later_new(run_internal, ctx)->internal = fn;
    return true;
}
bool manager_cancel_local(struct manager *manager, const char *id)
{
    (void)manager;
    return id_valid(span_of(id)) && next_fate(2);
}
void manager_redis_up(struct manager *manager)
{
    (void)manager;
}
void domain_impression(struct queue *queue, const char *resource_id, const char *kind, queue_done_fn *fn,
                       void *ctx)
{
    (void)queue;
    HOLDS(resource_id && (kind == NULL || *kind));
    later_new(run_done, ctx)->done = fn;
}
void domain_session(struct queue *queue, const char *owner, const char *session, int64_t expires_at_s)
{
    (void)queue;
    HOLDS(owner && session && expires_at_s > 0);
}

/* ---- tasks/queue.h --------------------------------------------------------------------------------- */

#define ONE_TASK(name)                                                                                       \
    void name(struct queue *queue, const struct queue_caller *who, const char *id, queue_answer_fn *fn,      \
              void *ctx)                                                                                     \
    {                                                                                                        \
        (void)queue;                                                                                         \
        HOLDS(who->owner &&id_valid(span_of(id)));                                                           \
        later_answer(fn, ctx);                                                                               \
    }
ONE_TASK(queue_get)
ONE_TASK(queue_cancel)
ONE_TASK(queue_why)

void queue_retry(struct queue *queue, const struct queue_caller *who, const char *id, const char *new_id,
                 queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(who->owner && id_valid(span_of(id)) && id_valid(span_of(new_id)));
    later_answer(fn, ctx);
}
void queue_list(struct queue *queue, const struct queue_filter *filter, queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(filter->limit >= 1 && filter->limit <= 200 && filter->since_ms >= -1 && filter->until_ms >= -1);
    later_answer(fn, ctx);
}
void queue_snapshot(struct queue *queue, const char *owner, queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(owner);
    later_answer(fn, ctx);
}
void queue_stats(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    later_answer(fn, ctx);
}
void queue_workers(struct queue *queue, queue_answer_fn *fn, void *ctx)
{
    (void)queue;
    later_answer(fn, ctx);
}
void queue_feed_watch(struct queue_feed *feed, bool on)
{
    (void)feed;
    (void)on;
}
void queue_audio_append(struct queue *queue, const char *owner, const char *id, uint64_t offset,
                        struct span bytes, queue_audio_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(owner && id_valid(span_of(id)) && bytes.n);
    later_audio(offset + bytes.n, fn, ctx);
}
void queue_audio_end(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(owner && id_valid(span_of(id)));
    later_audio(0, fn, ctx);
}
void queue_audio_state(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(owner && id_valid(span_of(id)));
    later_audio(next_fate(1000), fn, ctx);
}
void queue_audio_fail(struct queue *queue, const char *owner, const char *id, const char *code,
                      const char *error, queue_done_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(owner && id && code && error);
    later_new(run_done, ctx)->done = fn;
}
void queue_audio_keep(struct queue *queue, const char *const *ids, size_t count, uint64_t keep_ms)
{
    (void)queue;
    HOLDS(keep_ms);
    for (size_t i = 0; i < count; i++)
        HOLDS(id_valid(span_of(ids[i])));
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
    ops = app_conn_ops();
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
    struct list due;
    loop_flush(&loop);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    list_init(&due);
    list_splice(&due, &answers);
    for (struct list *node; (node = list_pop(&due)) != NULL;) {
        struct later *later = container_of(node, struct later, node);
        later->run(later);
        free(later);
    }
}

void fake_close(void)
{
    conn.open = false;
    ops.on_close(&conn);
    HOLDS(conn.user == NULL);
    for (int i = 0; i < 100 && (i < 2 || !list_empty(&answers)); i++)
        fake_turn();
    app_stop(&app);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    principal_clear(&conn.who);
}

uint32_t fake_stream(void)
{
    return stream;
}
