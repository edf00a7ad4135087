/* SPDX-License-Identifier: MIT */
/* The methods on a real queue, without sockets: answers, the order of answers and events, refusals, access to
 * another owner's task, and a Redis that hangs. */
#include "tests/lib/methods_hub.h"

#define SUBMIT(id, task) CALL(id, "task.submit", "{\"task\":\"" task "\"}")
#define ACCEPTED(id, task, seq)                                                                              \
    RESULT(id, "{\"task_id\":\"" task "\",\"status\":\"pending\",\"seq\":" seq "}")
#define UNKNOWN "01980000-0000-7000-8000-000000000001"

/* ---- tasks ---- */

static void test_order(void)
{
    struct reader *c = user("o1", 0), *second = user("o1", 0), *stranger = user("o2", 0);
    id_count = 0;
    says(c, SUBMIT("1", "quick"));
    is_text(heard(c), "", "nothing before Redis has it");
    hears(c, ACCEPTED("1", "#0", "0") "\nevent C 1 #0\n", "the answer, then the end");
    hears(second, "event C 1 #0\n", "the owner's second socket gets the end");
    says(c, SUBMIT("2", "heavy"));
    hears(c, ACCEPTED("2", "#1", "2") "\n", "the answer stands for accepted");
    hears(second, "event A 2 #1\n", "the second is told");
    saysf(c, CALL("3", "task.cancel", "{\"task_id\":\"%s\"}"), ids[1]);
    UNTIL(lines(buf_span(&c->log)) >= 2);
    const char *text = heard_ids(c);
    ok(strstr(text, RESULT("3", "{\"task_id\":\"#1\",\"status\":\"cancelled\",\"stage\":\"cancelled\"}")) !=
           NULL,
       "cancelled: %s", text);
    ok(strstr(text, "event K 3 #1") != NULL, "which is an event");
    hears(second, "event K 3 #1\n", "there, too");
    saysf(c, CALL("4", "task.retry", "{\"task_id\":\"%s\"}"), ids[1]);
    hears(c, RESULT("4", "{\"task_id\":\"#2\",\"status\":\"pending\",\"retry_of\":\"#1\",\"seq\":4}") "\n",
          "a retry is a new task");
    hears(second, "event A 4 #2\n", "of which the second is told");
    is_text(heard(stranger), "", "a stranger hears nothing of it all");
    says(c, SUBMIT("5", "quick"));
    reader_gone(c);
    hears(second, "event C 5 #3\n", "the submitter left: its owner still hears");
    reader_gone(second);
    reader_gone(stranger);
}

static void test_batch(void)
{
    struct reader *c = user("b1", 0), *second = user("b1", 0);
    id_count = 0;
    says(c,
         "[" SUBMIT(
             "1",
             "heavy") ",{\"jsonrpc\":\"2.0\",\"method\":\"task.submit\",\"params\":{\"task\":\"heavy\"}}]");
    hears(c, "[" ACCEPTED("1", "#0", "1") "]\nevent A 2 #1\n", "without an id the event tells of the task");
    hears(second, "event A 1 #0\nevent A 2 #1\n", "the second hears of both");
    reader_gone(c);
    reader_gone(second);
}

/* A worker reports before the answer is written. */
static void test_hold(void)
{
    struct reader *c = user("w1", 0);
    id_count = 0;
    says(c, SUBMIT("1", "heavy"));
    hears(c, ACCEPTED("1", "#0", "1") "\n", "recorded");
    owners_hold(app.owners, "w1", ids[0]);
    struct event *started = event_new('S', 2, 0, 1, span_of(ids[0]), SPAN("{}"));
    app_event(&app, "w1", started);
    event_unref(&started);
    is_text(heard(c), "", "its event waits for the answer");
    owners_release(app.owners, ids[0]);
    is_text(heard_ids(c), "event S 2 #0\n", "then it comes");
    reader_gone(c);
}

/* A submission of "heavy" with this key, written as in JSON. */
static const char *keyed(const char *key)
{
    static char text[512];
    snprintf(text, sizeof text, CALL("5", "task.submit", "{\"task\":\"heavy\",\"idempotency_key\":\"%s\"}"),
             key);
    return text;
}

static void test_idempotency(void)
{
    struct reader *c = user("k1", 0);
    id_count = 0;
#define KEYED(id, task, key)                                                                                 \
    CALL(id, "task.submit", "{\"task\":\"" task "\",\"idempotency_key\":\"" key "\"}")
    says(c, KEYED("1", "heavy", "k"));
    hears(c, ACCEPTED("1", "#0", "1") "\n", "a submission with a key");
    says(c, KEYED("2", "heavy", "k"));
    hears(c, RESULT("2", "{\"task_id\":\"#0\",\"status\":\"pending\",\"seq\":1,\"duplicate\":true}") "\n",
          "again: the older task");
    says(c, KEYED("3", "quick", "k"));
    hears_part(c, "\"code\":\"idempotency_mismatch\"", "the same key for another task");
    static const char *const scripts[] = {"заказ-17", "注文 十七", "\\u0637\\u0644\\u0628",
                                          "a=b & \\\"c\\\""};
    for (size_t i = 0; i < NELEMS(scripts); i++) {
        says(c, keyed(scripts[i]));
        hears_part(c, "\"status\"", "a key in any script");
        says(c, keyed(scripts[i]));
        hears_part(c, "\"duplicate\":true", "names one task");
    }
    static const char *const bad[] = {"a\\n", "", "\\u009b2J", "a\\u2028b", "\\u202ea"};
    for (size_t i = 0; i < NELEMS(bad); i++) {
        says(c, keyed(bad[i]));
        hears_part(c, "\"field\":\"idempotency_key\"", "a key is printable");
    }
    reader_gone(c);
}

static void test_refusals(void)
{
    struct reader *c = user("r1", 0), *second = user("r2", 0);
    for (int i = 0; i < 5; i++) {
        says(c, SUBMIT("1", "heavy"));
        hears_part(c, "\"result\"", "a task");
    }
    says(c, SUBMIT("2", "heavy"));
    hears(c,
          "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32029,\"message\":\"Maximum 5 concurrent tasks "
          "per user "
          "exceeded\",\"data\":{\"code\":\"user_limit\",\"status\":429,\"retry_ms\":1000}}}\n",
          "the limit in words");
    struct reader *others[] = {second, user("r3", 0)};
    for (int i = 0; i < 10; i++)
        says(others[i % 2], SUBMIT("1", "heavy"));
    hears_part(second, "\"code\":\"busy\",\"status\":503,\"retry_ms\":1000", "and the global one");
    says(second, SUBMIT("4", "nope"));
    hears_part(second, "\"code\":\"unknown_task\"", "no such task");
    says(second, SUBMIT("5", "speech"));
    hears_part(second, "\"code\":\"needs_stream\"", "a task that takes a stream");
    reader_gone(others[1]);
    reader_gone(c);
    reader_gone(second);
}

static void test_errors(void)
{
    static const struct {
        const char *name, *text, *part;
    } rows[] = {
        {"no such task", CALL("1", "task.get", "{\"task_id\":\"" UNKNOWN "\"}"),
         "\"code\":-32004,\"message\":\"Task not found\""},
        {"a malformed id", CALL("1", "task.get", "{\"task_id\":\"x\"}"), "\"field\":\"task_id\""},
        {"a list of the caller's tasks", CALL("1", "task.list", "{\"since\":\"2026-01-31T10:20:30Z\"}"),
         "\"tasks\":["},
        {"a time has a form", CALL("1", "task.list", "{\"since\":\"yesterday\"}"), "\"field\":\"since\""},
        {"a cursor has a form", CALL("1", "task.list", "{\"cursor\":\"1\"}"), "\"field\":\"cursor\""},
        {"nobody lists another's", CALL("1", "task.list", "{\"user_id\":\"u2\"}"), "\"field\":\"user_id\""},
        {"an impression", CALL("1", "impression.record", "{\"resource_id\":\"r\"}"),
         RESULT("1", "{\"ok\":true}")},
        {"of a resource", CALL("1", "impression.record", "{\"resource_id\":\"a b\"}"),
         "\"field\":\"resource_id\""},
        {"a rating", CALL("1", "rating.submit", "{\"resource_id\":\"r\",\"stars\":3}"), "\"result\":"},
        {"notifications", CALL("1", "notification.list", "{}"), "\"notifications\":[]"},
        {"read ones", CALL("1", "notification.read", "{\"ids\":[1]}"), "\"field\":\"ids\""},
        {"the time", CALL("1", "ping", "{}"), "\"result\":{\"time\":\""},
        {"no session asks", CALL("1", "auth", "{\"token\":\"x\"}"), "\"code\":\"authenticated\""},
        {"nor refreshes", CALL("1", "auth.refresh", "{\"token\":\"x\"}"), "\"code\":\"authenticated\""},
    };
    struct reader *c = user("e1", 0);
    for (size_t i = 0; i < NELEMS(rows); i++) {
        says(c, rows[i].text);
        hears_part(c, rows[i].part, rows[i].name);
    }
    reader_gone(c);
}

/* ---- roles ---- */

/* A role is used only for another owner's task. */
static void test_roles(void)
{
    struct reader *c = user("t1", 0), *second = user("t2", 0), *viewer = user("eye", ROLE_VIEWER);
    struct reader *admin = user("root", ROLE_ADMIN);
    id_count = 0;
    says(c, SUBMIT("1", "heavy"));
    hears(c, ACCEPTED("1", "#0", "1") "\n", "a task");
    saysf(second, CALL("1", "task.get", "{\"task_id\":\"%s\"}"), ids[0]);
    hears_part(second, "-32003", "is its owner's");
    saysf(viewer, CALL("2", "task.why", "{\"task_id\":\"%s\"}"), ids[0]);
    hears_part(viewer, "\"id\":2,\"result\"", "a viewer sees it");
    saysf(viewer, CALL("3", "task.cancel", "{\"task_id\":\"%s\"}"), ids[0]);
    hears_part(viewer, "-32003", "but may not cancel it");
    saysf(admin, CALL("4", "task.cancel", "{\"task_id\":\"%s\"}"), ids[0]);
    hears_part(admin, "\"status\":\"cancelled\"", "an admin may");
    hears(c, "event K 2 #0\n", "its owner hears of it");
    saysf(viewer, CALL("5", "task.retry", "{\"task_id\":\"%s\"}"), ids[0]);
    hears_part(viewer, "-32003", "to see is not to retry");
    saysf(admin, CALL("6", "task.retry", "{\"task_id\":\"%s\"}"), ids[0]);
    hears(admin, RESULT("6", "{\"task_id\":\"#1\",\"status\":\"pending\",\"retry_of\":\"#0\"}") "\n",
          "an admin retries for another");
    hears(c, "event A 3 #1\n", "who hears of it at once");
    says(admin, CALL("7", "admin.tasks", "{\"user_id\":\"t1\"}"));
    hears_part(admin, "\"user_id\":\"t1\"", "an admin lists anybody's tasks");
    says(viewer, CALL("8", "admin.stats", "{}"));
    hears_part(viewer, "\"id\":8,\"result\":{", "a viewer sees the figures");
    says(c, CALL("9", "admin.stats", "{}"));
    hears_part(c, "-32003", "others do not");
    reader_gone(c);
    reader_gone(second);
    reader_gone(viewer);
    reader_gone(admin);
}

static void test_watch(void)
{
    struct reader *admin = user("root", ROLE_ADMIN), *viewer = user("eye", ROLE_VIEWER);
    says(admin, CALL("1", "admin.watch", "{\"task\":\"heavy\"}"));
    says(viewer, "[" CALL("1", "admin.watch", "{\"owner\":\"u3\"}") "]");
    is_text(heard(admin), "", "watching is not promised before Redis knows of it");
    hears_part(admin, "{\"watching\":true}", "then it is");
    hears_part(viewer, "{\"watching\":true}", "to each");
    says(admin, CALL("1", "admin.watch", "{\"task\":\"heavy\"}"));
    hears_part(admin, "{\"watching\":true}", "once more, which is soon said");
    struct event *event = event_new('C', 5, 0, 1, SPAN(UNKNOWN), SPAN("{\"task\":\"heavy\"}"));
    app_admin_event(&app, "u2", event);
    is_text(heard(admin),
            "{\"jsonrpc\":\"2.0\",\"method\":\"admin.event\",\"params\":{\"task\":\"heavy\"}}\n",
            "who watches sees events of all owners");
    is_text(heard(viewer), "", "that the filter lets through");
    admin->who.roles = 0;
    app_admin_event(&app, "u2", event);
    is_text(heard(admin), "", "not without the role");
    event_unref(&event);
    ok(!list_empty(&app.watchers), "one watches still");
    reader_gone(viewer);
    ok(list_empty(&app.watchers), "until it leaves");
    reader_gone(admin);
}

/* ---- stand-in: another envelope, as HTTP will be ---- */

static char answered[300];

static void other_answer(struct answerer *to, struct span tag, const struct request_error *error,
                         struct span result)
{
    (void)to;
    snprintf(answered, sizeof answered, "%.*s %d %.*s", SPAN_ARG(tag), error ? (int)error->code : 0,
             SPAN_ARG(result));
}

static void other_free(struct answerer *to)
{
    (void)to;
    snprintf(answered, sizeof answered, "let go");
}

static const struct answerer_ops other_ops = {.answer = other_answer, .free = other_free};

/* ---- one request, one answer, nobody who stays ---- */

/* A method need not know the envelope. */
static void test_envelope(void)
{
    struct reader *c = user("h2", 0);
    struct answerer once = {.ops = &other_ops, .app = &app, .who = &c->who, .refs = 1};
    id_count = 0;
    dispatch(&once, "task.submit", SPAN("{\"task\":\"quick\"}"), SPAN("GET"));
    hears(c, "event C 1 #0\n", "a socket of the owner hears");
    char want[200];
    snprintf(want, sizeof want, "GET 0 {\"task_id\":\"%s\",\"status\":\"pending\",\"seq\":0}", ids[0]);
    is_text(answered, want, "the answer has another form");
    dispatch(&once, "audio.end", SPAN("{\"stream\":1}"), SPAN(""));
    is_text(answered, " -32600 ", "what needs a client that stays is refused");
    dispatch(&once, "task.get", SPAN("{\"task_id\":\"" UNKNOWN "\"}"), SPAN("x"));
    answered[0] = '\0';
    answerer_gone(&once);
    UNTIL(answered[0]);
    is_text(answered, "let go", "who has left is not answered");
    reader_gone(c);
}

/* ---- Redis hangs ---- */

static void test_stall(void)
{
    struct reader *c = user("h1", 0);
    id_count = 0;
    kill(server.pid, SIGSTOP);
    says(c, SUBMIT("1", "heavy"));
    says(c, "[" CALL("2", "ping", "{}") "," SUBMIT("3", "heavy") "]");
    hears_part(c, ",{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":-32053,", "whoever waits is answered");
    says(c, CALL("4", "task.get", "{\"task_id\":\"" UNKNOWN "\"}"));
    ok(strstr(heard(c), "\"id\":4,\"error\":{\"code\":-32053,") != NULL, "new requests at once");
    says(c, CALL("5", "ping", "{}"));
    ok(strstr(heard(c), "\"id\":5,\"result\"") != NULL, "what needs no Redis works");
    kill(server.pid, SIGCONT);
    hears(c, "event A 1 #0\nevent A 2 #1\n", "late outcomes are no second answer, but events");
    says(c, SUBMIT("6", "quick"));
    hears(c, ACCEPTED("6", "#2", "2") "\nevent C 3 #2\n", "and all is as before");
    reader_gone(c);
}

int main(void)
{
    hub_begin();
    test_errors();
    test_order();
    test_batch();
    test_hold();
    test_idempotency();
    test_stall();
    test_roles();
    test_watch();
    test_envelope();
    test_refusals();
    hub_end();
    return done_testing();
}
