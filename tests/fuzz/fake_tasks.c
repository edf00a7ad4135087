/* The fuzzed hub's tasks: manager, queue and domain data that answer one turn later what the input's fate
 * says; see fake_hub.h. One thread. */
#include "tests/fuzz/fake_private.h"

#include "tests/fuzz/fuzz.h"

#define TASK "0198d3a0-0000-7000-8000-00000000000f"

const struct task_type store_rating_submit, store_notification_list, store_notification_read;

/* ---- answers that come one turn later ------------------------------------------------------------- */

static struct list answers = {&answers, &answers};

struct later *later_new(void (*run)(struct later *later), void *ctx)
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
    return fake_fate(3) ? QUEUE_OK : codes[fake_fate(NELEMS(codes))];
}

static void run_answer(struct later *later)
{
    static const char *const texts[] = {"{\"tasks\":[],\"user_id\":\"fuzz\"}",
                                        "{\"tasks\":[{\"task_id\":\"" TASK "\"}],\"workers\":1}",
                                        "{\"user_id\":\"fuzz\",\"task\":\"noop\",\"task_id\":\"" TASK "\"}",
                                        "{\"user_id\":\"other\",\"task\":\"x\",\"result\":{\"a\":[1,{}]}}"};
    struct queue_answer answer = {.code = some_code(), .seq = fake_fate(100)};
    memcpy(answer.id, TASK, ID_SIZE);
    memcpy(answer.status, "processing", sizeof "processing");
    memcpy(answer.stage, "cancelling", sizeof "cancelling");
    if (answer.code == QUEUE_OK)
        answer.json = span_of(texts[fake_fate(NELEMS(texts))]);
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
        .code = some_code(), .received = later->received + fake_fate(2), .ended = fake_fate(8) == 0};
    later->audio(later->ctx, &audio);
}

static void run_submitted(struct later *later)
{
    static const struct task_type type = {.name = "fuzz", .kind = TASK_LIGHT};
    struct task_reply reply = {.refusal = fake_fate(3) ? TASK_ACCEPTED : fake_fate(TASK_NO_STREAM + 1)};
    struct event *event = NULL;
    reply.news.owner = "fuzz";
    reply.type = &type;
    reply.news.task_id = later->id;
    memcpy(reply.id, later->id, ID_SIZE);
    memcpy(reply.status, "pending", sizeof "pending");
    memcpy(reply.error.field, "args", sizeof "args");
    reply.seq = fake_fate(1000);
    if (reply.refusal == TASK_ACCEPTED && !later->stream && fake_fate(2))
        event = reply.news.event = event_new('C', reply.seq + 1, 0, 1, span_of(later->id), SPAN("{}"));
    later->submitted(later->ctx, &reply);
    event_unref(&event);
}

static void run_internal(struct later *later)
{
    bool failed = fake_fate(3) == 0;
    later->internal(later->ctx, failed, "database",
                    failed ? SPAN("it is locked") : SPAN("{\"notifications\":[],\"unread\":0}"));
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

/* Everything that was asked before this call is answered. */
void later_run(void)
{
    struct list due;
    list_init(&due);
    list_splice(&due, &answers);
    for (struct list *node; (node = list_pop(&due)) != NULL;) {
        struct later *later = container_of(node, struct later, node);
        later->run(later);
        free(later);
    }
}

bool later_any(void)
{
    return !list_empty(&answers);
}

/* ---- tasks/manager/manager.h, tasks/model/task_type.h, tasks/queue/usage.h ----------------------------- */

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
enum task_refusal manager_run_internal(struct manager *manager, const struct task_type *type,
                                       const char *owner, struct span args, manager_internal_fn *fn,
                                       void *ctx)
{
    const char *reason;
    (void)manager;
    HOLDS(type && owner && json_check(args, JSON_LIMITS, &reason) == KIND_OBJECT);
    if (fake_fate(4) == 0)
        return fake_fate(2) ? TASK_BUSY : TASK_USER_LIMIT;
    later_new(run_internal, ctx)->internal = fn;
    return TASK_ACCEPTED;
}
void manager_cancel_local(struct manager *manager, const char *id)
{
    (void)manager;
    HOLDS(id_valid(span_of(id)));
}
void manager_redis(struct manager *manager, bool up)
{
    (void)manager;
    (void)up;
}
void usage_impression(struct queue *queue, const char *resource_id, const char *kind, queue_done_fn *fn,
                      void *ctx)
{
    (void)queue;
    HOLDS(resource_id && (kind == NULL || *kind));
    later_new(run_done, ctx)->done = fn;
}
void usage_session(struct queue *queue, const char *owner, const char *session, int64_t expires_at_s)
{
    (void)queue;
    HOLDS(owner && session && expires_at_s > 0);
}

/* ---- tasks/queue/queue.h ------------------------------------------------------------------------------- */

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
                 const char *own_arg, queue_answer_fn *fn, void *ctx)
{
    (void)own_arg;
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
void queue_audio_take(struct queue *queue, const char *owner, const char *id, queue_audio_fn *fn, void *ctx)
{
    (void)queue;
    HOLDS(owner && id_valid(span_of(id)));
    later_audio(fake_fate(1000), fn, ctx);
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
