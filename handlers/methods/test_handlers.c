/* The handlers from a message to its answer: JSON-RPC, batches, auth, order of answers and events, errors,
 * admin. */
#include "tests/lib/handlers_fixture.h"

/* ---- JSON-RPC ---- */

static void test_envelope(void)
{
    struct conn *c = user_conn("u1", 0);
    static const struct {
        const char *name, *text, *part;
    } rows[] = {
        {"no JSON", "{", "\"id\":null,\"error\":{\"code\":-32700,"},
        {"two documents", "{}{}", "-32700"},
        {"duplicate names", "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}", "-32700"},
        {"U+0000", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\\u0000ng\"}", "-32700"},
        {"a scalar", "7", "\"id\":null,\"error\":{\"code\":-32600,"},
        {"no version", "{\"id\":5,\"method\":\"ping\"}", "\"id\":5,\"error\":{\"code\":-32600,"},
        {"another version", "{\"jsonrpc\":\"1.0\",\"id\":5,\"method\":\"ping\"}", "-32600"},
        {"method is a number", "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":5}", "-32600"},
        {"id is an object", "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}",
         "\"id\":null,\"error\":{\"code\":-32600,"},
        {"id is null", "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", "-32600"},
        {"id is a fraction", "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}", "-32600"},
        {"another member", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"extra\":1}", "-32600"},
        {"params are text", CALL("1", "ping", "\"x\""), "-32600"},
        {"params are a list", CALL("1", "ping", "[]"), "-32602"},
        {"unknown method", CALL("1", "nope", "{}"), "-32601"},
        {"unknown parameter", CALL("1", "ping", "{\"a\":1}"),
         "\"code\":\"invalid_params\",\"status\":422,\"field\":\"a\""},
        {"a big id is echoed", CALL("9007199254740993", "ping", "{}"),
         "\"id\":9007199254740993,\"result\":{\"time\":\""},
        {"a text id is echoed", CALL("\"\\u00e4-1\"", "ping", "{}"), "\"id\":\"\\u00e4-1\",\"result\""},
        {"a missing parameter is named", CALL("1", "task.get", "{}"), "\"field\":\"task_id\""},
        {"a malformed id is named", CALL("1", "task.get", "{\"task_id\":\"x\"}"), "\"field\":\"task_id\""},
        {"a role is missing", CALL("1", "admin.stats", "{}"), "-32003"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        says(c, rows[i].text);
        hears_part(c, rows[i].part, rows[i].name);
    }
    says(c, "{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}");
    says(c, "{\"jsonrpc\":\"2.0\",\"method\":\"nope\"}");
    hears(c, "", "a notification has no answer");
    c->slow_rate = true;
    says(c, CALL("4", "ping", "{}"));
    hears_part(c, "\"id\":4,\"error\":{\"code\":-32029,", "too many messages");
    close_conn(c);
}

static void test_batches(void)
{
    fake_reset();
    fake.seq = 100;
    struct conn *c = user_conn("b1", 0);
    says(c, "[]");
    hears_part(c, "\"id\":null,\"error\":{\"code\":-32600,", "an empty batch");
    says(c, "[1,2,3,4,5]");
    hears_part(c, "A batch holds 1 to 4 requests", "a batch has a bound");
    says(c, "[1,\"x\"]");
    ok(c->log[0] == '[', "garbage in a batch is answered as a batch");
    c->log[0] = '\0';
    says(c, "[" CALL("1", "ping", "{}") "," CALL("2", "auth", "{\"token\":\"x\"}") "]");
    hears_part(c, "\"id\":2,\"error\":{\"code\":-32600,\"message\":\"Not possible inside a batch\"",
               "auth not in a batch");
    says(c, "[{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}]");
    hears(c, "", "a batch of notifications has no answer");

    struct conn *other = user_conn("b1", 0);
    says(c, "[" SUBMIT("1", "quick") "," SUBMIT("2", "heavy") "]");
    wait_for(&fake.fuses.count, 1);
    fake_fused(0, QUEUE_OK);
    hears(c, "", "a batch waits for its last answer");
    hears(other, "", "and so do the events of its tasks");
    fake_submitted(0, QUEUE_OK);
    char want[2000];
    snprintf(
        want, sizeof want,
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"task_id\":\"%s\",\"status\":\"pending\",\"seq\":100}},"
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"task_id\":\"%s\",\"status\":\"pending\",\"seq\":102}}]\n"
        "event C 101 {\"task_id\":\"%s\",\"task\":\"quick\",\"user_id\":\"b1\",\"type\":\"completed\"}\n",
        fake.fuses.at[0].id, fake.submits.at[0].id, fake.fuses.at[0].id);
    hears(c, want, "one array, then the events");
    is_int((int)c->told, 102, "the heavy task was told by its reply");
    snprintf(want, sizeof want,
             "event C 101 {\"task_id\":\"%s\",\"task\":\"quick\",\"user_id\":\"b1\",\"type\":\"completed\"}\n"
             "event A 102 {\"task_id\":\"%s\",\"task\":\"heavy\",\"user_id\":\"b1\",\"type\":\"accepted\"}\n",
             fake.fuses.at[0].id, fake.submits.at[0].id);
    hears(other, want, "the owner's other socket gets both events");
    close_conn(other);
    close_conn(c);
}

static void test_large_batch(void)
{
    size_t size = 600u << 10;
    char *task = xmalloc(size + 1);
    memset(task, '1', size);
    task[size] = '\0';
    struct conn *c = user_conn("b2", 0);
    fake.task = task;
#define GET CALL("1", "task.get", "{\"task_id\":\"01980000-0000-7000-8000-000000000001\"}")
    says(c, "[" GET "]");
    ok(c->last_size > size && c->last_size < size + 100, "one large answer fits a batch");
    says(c, "[" GET "," GET "," CALL("2", "ping", "{}") "," GET "]");
    ok(c->last_size > size && c->last_size < size + 1000, "of several, those beyond the bound are refused");
    c->log[0] = '\0';
    fake.task = NULL;
    free(task);
    close_conn(c);
}

/* ---- auth ---- */

/* The token of the upgrade waits for its turn: others have used up this one. */
static void test_upgrade_token(void)
{
    char *token = token_for("up1", 0);
    struct conn *busy = user_conn("busy", 0), *c = fake_conn_open(&app);
    char *other = token_for("busy", 0), text[1200];
    snprintf(text, sizeof text, CALL("3", "auth.refresh", "{\"token\":\"%s\"}"), other);
    do { /* until one is not answered at once */
        busy->log[0] = '\0';
        says(busy, text);
    } while (busy->log[0]);
    ops.on_open(c, span_of(token));
    says(c, CALL("1", "auth", "{}"));
    hears(c, "", "auth without a token waits for that of the upgrade");
    uint64_t until = clock_mono_ms() + 5000;
    while (c->log[0] == '\0' && clock_mono_ms() < until)
        turn();
    hears_part(c, "\"id\":1,\"result\":{\"user_id\":\"up1\"", "and is answered when it was verified");
    close_conn(c);
    close_conn(busy);
    free(token);
    free(other);
}

static void test_auth(void)
{
    fake_reset();
    fake.seq = 41;
    struct conn *c = open_conn();
    says(c, SUBMIT("1", "quick"));
    hears(c, ERROR("1", "-32001", "Not authenticated", "\"code\":\"unauthenticated\",\"status\":401"),
          "nothing without a token");
    ops.on_binary(c, SPAN("\0\0\0\1x"));
    hears(c, "close 4401\n", "a binary frame before auth");
    close_conn(c);

    c = open_conn();
    says(c, CALL("1", "auth", "{\"token\":\"a.b.c\"}"));
    ok(strstr(c->log, "\"id\":1,\"error\":{\"code\":-32001,") && strstr(c->log, "close 4401"),
       "a bad token is answered, then the connection closes");
    close_conn(c);

    c = open_conn();
    authenticate(c, "a1", ROLE_ADMIN, "");
    ok(strstr(c->log, "\"result\":{\"user_id\":\"a1\",\"roles\":[\"admin\"],\"expires_at\":\"") != NULL,
       "auth tells who one is");
    hears_part(c, "\"epoch\":\"e1\",\"seq\":41,\"resumed\":\"none\",\"limits\":{\"message_bytes\":",
               "and where the log stands");
    authenticate(c, "a1", 0, "");
    hears_part(c, "-32009", "once");
    char *token = token_for("u2", 0), text[1200];
    snprintf(text, sizeof text, CALL("3", "auth.refresh", "{\"token\":\"%s\"}"), token);
    for (int i = 0; i < 4; i++)
        says(c, text);
    hears_part(c, "another user's", "a refresh must be of the same user");
    says(c, text);
    hears_part(c, "close 4401", "and five bad ones are enough");
    free(token);
    close_conn(c);

    c = open_conn();
    authenticate(c, "crowd", 0, "");
    hears_part(c, "close 4429", "too many connections of a user");
    close_conn(c);
}

static void test_auth_resume(void)
{
    struct conn *c = open_conn();
    authenticate(c, "a1", 0, ",\"resume\":{\"epoch\":\"e0\",\"seq\":3}");
    uint64_t until = clock_mono_ms() + 10000;
    while (c->log[0] == '\0' && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
    hears_part(c, "\"resumed\":\"gap\",\"snapshot\":[]", "another epoch is a gap with a snapshot");
    close_conn(c);

    c = open_conn();
    authenticate(c, "a1", 0, ",\"resume\":{\"epoch\":\"e1\"}");
    hears_part(c, "\"field\":\"seq\"", "resume has a shape");
    app.redis_ready = false;
    authenticate(c, "a1", 0, "");
    hears_part(c, "\"code\":-32053,\"message\":\"Server is busy, please try again later\"",
               "no Redis, no auth");
    app.redis_ready = true;
    authenticate(c, "a1", 0, "");
    hears_part(c, "\"resumed\":\"none\"", "but another try");
    close_conn(c);
}

/* ---- order ---- */

static void test_order(void)
{
    fake_reset();
    fake.seq = 10;
    struct conn *c = user_conn("o1", 0), *other = user_conn("o1", 0), *stranger = user_conn("o2", 0);
    char want[1000];
    says(c, SUBMIT("1", "quick"));
    wait_for(&fake.fuses.count, 1);
    hears(c, "", "nothing before Redis has it");
    fake_fused(0, QUEUE_OK);
    const char *id = fake.fuses.at[0].id;
    snprintf(
        want, sizeof want,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"task_id\":\"%s\",\"status\":\"pending\",\"seq\":10}}\n"
        "event C 11 {\"task_id\":\"%s\",\"task\":\"quick\",\"user_id\":\"o1\",\"type\":\"completed\"}\n",
        id, id);
    hears(c, want, "the answer, then the end");
    hears_part(other, "event C 11", "the owner's other socket gets the end");

    says(c, SUBMIT("2", "heavy"));
    id = fake.submits.at[0].id;
    struct event *started = event_new('S', 13, 0, 1, span_of(id), SPAN("{}"));
    owners_event(app.owners, "o1", started, NULL);
    event_unref(&started);
    hears(c, "", "a quick worker's event waits for the answer");
    fake.seq = 11;
    fake_submitted(0, QUEUE_OK);
    snprintf(
        want, sizeof want,
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"task_id\":\"%s\",\"status\":\"pending\",\"seq\":12}}\n"
        "event S 13 {}\n",
        id);
    hears(c, want, "the answer stands for accepted, then the event");
    ok(strstr(other->log, "event A 12") && strstr(other->log, "event S 13"), "the other gets both");
    other->log[0] = '\0';

    close_conn(c);
    close_conn(other);
    close_conn(stranger);
}

static void test_refusals(void)
{
    fake_reset();
    fake.seq = 12;
    struct conn *c = user_conn("o1", 0), *other = user_conn("o1", 0), *stranger = user_conn("o2", 0);
    says(c, SUBMIT("3", "heavy"));
    fake_submitted(0, QUEUE_USER_LIMIT);
    hears(c,
          ERROR("3", "-32029", "Maximum 5 concurrent tasks per user exceeded",
                "\"code\":\"user_limit\",\"status\":429,\"retry_ms\":1000"),
          "the limit in words");
    says(c, SUBMIT("4", "heavy"));
    fake_submitted(1, QUEUE_GLOBAL_LIMIT);
    hears(c,
          ERROR("4", "-32053", "Server is busy, please try again later",
                "\"code\":\"busy\",\"status\":503,\"retry_ms\":1000"),
          "and the global one");
    fake.seq = 13;
    says(c, SUBMIT("5", "quick"));
    close_conn(c);
    wait_for(&fake.fuses.count, 1);
    fake_fused(0, QUEUE_OK);
    hears_part(other, "event C 14", "the submitter left: its owner still hears");
    hears(stranger, "", "a stranger hears nothing of it all");
    says(other, CALL("1", "task.retry", "{\"task_id\":\"01980000-0000-7000-8000-000000000001\"}"));
    hears_part(other,
               "\"status\":\"pending\",\"retry_of\":\"01980000-0000-7000-8000-000000000001\",\"seq\":15}",
               "a retry is a new task");
    close_conn(other);
    close_conn(stranger);
}

/* A submission that nobody answers is told of by its event. */
static void test_notified_submit(void)
{
#define NOTIFY "{\"jsonrpc\":\"2.0\",\"method\":\"task.submit\",\"params\":{\"task\":\"heavy\"}}"
    fake_reset();
    fake.seq = 50;
    struct conn *c = user_conn("n1", 0);
    char want[1000];
    says(c, NOTIFY);
    says(c, "[" NOTIFY "," SUBMIT("1", "heavy") "]");
    for (size_t i = 0; i < 3; i++)
        fake_submitted(i, QUEUE_OK);
    snprintf(
        want, sizeof want,
        "event A 51 {\"task_id\":\"%s\",\"task\":\"heavy\",\"user_id\":\"n1\",\"type\":\"accepted\"}\n"
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"task_id\":\"%s\",\"status\":\"pending\",\"seq\":53}}]\n"
        "event A 52 {\"task_id\":\"%s\",\"task\":\"heavy\",\"user_id\":\"n1\",\"type\":\"accepted\"}\n",
        fake.submits.at[0].id, fake.submits.at[2].id, fake.submits.at[1].id);
    hears(c, want, "without an id the event tells of the task, also in a batch");
    is_int((int)c->told, 53, "with one the answer does");
    close_conn(c);
}

/* ---- Redis hangs ---- */

#define UNAVAILABLE(id)                                                                                      \
    ERROR(id, "-32053", "Server is busy, please try again later",                                            \
          "\"code\":\"unavailable\",\"status\":503,\"retry_ms\":1000")

static void test_stall(void)
{
    fake_reset();
    fake.seq = 20;
    struct conn *c = user_conn("h1", 0), *late = open_conn();
    says(c, SUBMIT("1", "heavy"));
    says(c, SUBMIT("2", "quick"));
    says(c, "[" CALL("3", "ping", "{}") "," SUBMIT("4", "heavy") "]");
    wait_for(&fake.fuses.count, 1);
    hears(c, "", "they wait for Redis");
    source_hangs = true;
    authenticate(late, "h2", 0, "");
    hears(late, "", "and so does auth");
    fake.on_stall(fake.stall_ctx);
    ok(strstr(c->log, UNAVAILABLE("1")) && strstr(c->log, UNAVAILABLE("2")),
       "when it hangs, whoever waits is answered");
    hears_part(c, ",{\"jsonrpc\":\"2.0\",\"id\":4,\"error\":{\"code\":-32053,", "a batch is completed");
    hears(late, UNAVAILABLE("0"), "auth is answered, too");
    fake.stalled = true;
    says(c, SUBMIT("5", "heavy"));
    says(c, CALL("6", "task.get", "{\"task_id\":\"01980000-0000-7000-8000-000000000001\"}"));
    hears(c, UNAVAILABLE("5") UNAVAILABLE("6"), "new requests are answered at once");
    authenticate(late, "h2", 0, "");
    hears(late, UNAVAILABLE("0"), "and auth");
    says(c, CALL("7", "ping", "{}"));
    hears_part(c, "\"id\":7,\"result\"", "what needs no Redis works");
    fake.stalled = false;
    source_answers();
    hears(late, "", "a late position is no second answer");
    fake_submitted(0, QUEUE_OK);
    fake_fused(0, QUEUE_OK);
    fake_submitted(1, QUEUE_UNAVAILABLE);
    char want[1000];
    snprintf(want, sizeof want,
             "event A 21 {\"task_id\":\"%s\",\"task\":\"heavy\",\"user_id\":\"h1\",\"type\":\"accepted\"}\n"
             "event C 22 {\"task_id\":\"%s\",\"task\":\"quick\",\"user_id\":\"h1\",\"type\":\"completed\"}\n",
             fake.submits.at[0].id, fake.fuses.at[0].id);
    hears(c, want, "late outcomes are no second answer, but events");
    authenticate(late, "h2", 0, "");
    hears_part(late, "\"resumed\":\"none\"", "auth works again");
    close_conn(late);
    close_conn(c);
}

static void test_errors(void)
{
    struct conn *c = user_conn("u1", 0);
    static const struct {
        enum queue_code code;
        const char *part;
    } rows[] = {
        {QUEUE_NOT_FOUND, "\"code\":-32004,\"message\":\"Task not found\""},
        {QUEUE_FORBIDDEN, "\"code\":-32003,\"message\":\"Access denied\""},
        {QUEUE_STATE, "\"code\":-32009"},
        {QUEUE_INPUT_GONE, "\"code\":\"input_gone\""},
        {QUEUE_UNAVAILABLE, "\"code\":-32053"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        fake.outcome = rows[i].code;
        says(c, CALL("1", "task.get", "{\"task_id\":\"01980000-0000-7000-8000-000000000001\"}"));
        hears_part(c, rows[i].part, "an outcome of the queue has its error");
    }
    fake.outcome = QUEUE_OK;
    says(c, CALL("1", "task.list", "{\"since\":\"2026-01-31T10:20:30Z\",\"limit\":7}"));
    hears_part(c, "{\"owner\":\"u1\",\"limit\":7,\"since\":1769854830000}",
               "a list is of the caller's tasks");
    says(c, CALL("1", "task.list", "{\"since\":\"yesterday\"}"));
    hears_part(c, "\"field\":\"since\"", "a time has a form");
    says(c, CALL("1", "task.list", "{\"user_id\":\"u2\"}"));
    hears_part(c, "\"field\":\"user_id\"", "nobody lists another user's tasks");
    says(c, CALL("1", "task.submit", "{\"task\":\"quick\",\"idempotency_key\":\"a\\nb\"}"));
    hears_part(c, "\"field\":\"idempotency_key\"", "a key is printable");
    close_conn(c);
}

/* ---- admin ---- */

static void test_admin_retry(void)
{
    struct conn *admin = user_conn("root", ROLE_ADMIN), *owner = user_conn("u3", 0);
    fake.retry_owner = "u3";
    says(admin, CALL("1", "task.retry", "{\"task_id\":\"01980000-0000-7000-8000-000000000001\"}"));
    fake.retry_owner = NULL;
    ok(strstr(admin->log, "\"retry_of\"") && !strstr(admin->log, "event A"), "an admin retries for another");
    hears_part(owner, "event A", "who hears of it at once");
    close_conn(admin);
    close_conn(owner);
}

/* A role is used, and that logged, only where the task is another owner's. */
static void test_admin_acts(void)
{
    struct conn *admin = user_conn("root", ROLE_ADMIN), *viewer = user_conn("eye", ROLE_VIEWER);
#define ONE_TASK(method) CALL("1", method, "{\"task_id\":\"01980000-0000-7000-8000-000000000001\"}")
    fake.refusals = 0;
    says(admin, ONE_TASK("task.get"));
    says(admin, ONE_TASK("task.retry"));
    is_int(fake.refusals, 0, "an own task is an own task");
    fake.foreign = true;
    admin->log[0] = '\0';
    says(admin, ONE_TASK("task.get"));
    hears_part(admin, "{\"task_id\":\"x\",", "an admin sees another owner's");
    says(admin, ONE_TASK("task.cancel"));
    hears_part(admin, "\"status\":\"cancelled\"", "and cancels it");
    says(viewer, ONE_TASK("task.why"));
    hears_part(viewer, "{\"task_id\":\"x\",", "a viewer sees it");
    is_int(fake.refusals, 3, "each by virtue of the role");
    says(viewer, ONE_TASK("task.cancel"));
    hears_part(viewer, "-32003", "but may not cancel it");
    is_int(fake.refusals, 4, "the role is not even tried");
    fake.foreign = false;
    close_conn(admin);
    close_conn(viewer);
}

static void test_admin(void)
{
    struct conn *admin = user_conn("root", ROLE_ADMIN), *viewer = user_conn("eye", ROLE_VIEWER);
    says(admin, CALL("1", "admin.tasks", "{\"user_id\":\"u2\"}"));
    hears_part(admin, "{\"owner\":\"u2\"", "an admin lists anybody's tasks");
    says(viewer, CALL("1", "admin.tasks", "{}"));
    hears_part(viewer, "{\"owner\":\"*\"", "a viewer, too");
    says(admin, CALL("1", "admin.watch", "{\"task\":\"heavy\"}"));
    says(viewer, CALL("1", "admin.watch", "{\"owner\":\"u3\"}"));
    admin->log[0] = viewer->log[0] = '\0';
    struct event *event =
        event_new('C', 5, 0, 1, SPAN("01980000-0000-7000-8000-000000000001"), SPAN("{\"task\":\"heavy\"}"));
    app_admin_event(&app, "u2", event);
    event_unref(&event);
    hears(admin, "{\"jsonrpc\":\"2.0\",\"method\":\"admin.event\",\"params\":{\"task\":\"heavy\"}}\n",
          "who watches sees events of all owners");
    hears(viewer, "", "that the filter lets through");
    ok(!list_empty(&app.watchers), "two watch");
    says(viewer, CALL("1", "admin.unwatch", "{}"));
    close_conn(admin);
    ok(list_empty(&app.watchers), "until they say so or leave");
    close_conn(viewer);
}

int main(void)
{
    fixture_begin();
    test_envelope();
    test_batches();
    test_large_batch();
    test_auth();
    test_auth_resume();
    test_upgrade_token();
    test_order();
    test_refusals();
    test_notified_submit();
    test_stall();
    test_errors();
    test_admin();
    test_admin_retry();
    test_admin_acts();
    fixture_end();
    return done_testing();
}
