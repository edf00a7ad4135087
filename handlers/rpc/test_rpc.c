/* SPDX-License-Identifier: MIT */
/* JSON-RPC without a socket and without methods of the product: envelopes, batches, notifications, and the
 * order of answers and what follows them. */
#include "hub/config/options.h"
#include "tests/lib/reader.h"
#include "tests/lib/tap.h"

static struct loop loop;
static struct options options = {.batch = 4};
static struct app app;
static struct request *waiting[8]; /* requests of the method "later" */
static unsigned waits;
static uint64_t seq; /* seq of the newest event */

/* ---- stand-in: a log, and methods of the test ---- */

static void attach(void *ctx, const char *owner, owner_position_fn *fn, void *fn_ctx)
{
    (void)ctx, (void)owner;
    const struct owner_position at = {.ok = true, .epoch = "e1", .head = seq};
    fn(fn_ctx, &at);
}

static void detach(void *ctx, const char *owner)
{
    (void)ctx, (void)owner;
}

static const struct owner_source source = {.attach = attach, .detach = detach};

static void run_now(struct request *request, const struct span *values)
{
    bool given = request->handler->param_count && values[0].p;
    request_reply(request, given ? values[0] : SPAN("{}"));
}

static void run_later(struct request *request, const struct span *values)
{
    (void)values;
    request_waits(request, NULL);
    waiting[waits++] = request;
}

/* Answers a recorded task; `end`: it has ended already, which is reported after the answer. */
static void record(struct request *request, bool end)
{
    static const char id[] = "01980000-0000-7000-8000-000000000001";
    struct event *event = event_new(end ? 'C' : 'A', ++seq, 0, 1, span_of(id), SPAN("{}"));
    const struct owner_news news = {"u1", id, event, end ? 0 : seq, false};
    request_reply_then(request, end ? SPAN("\"ended\"") : SPAN("\"recorded\""), &news);
    event_unref(&event);
}

static const struct json_field now_params[] = {{.name = "value", .kinds = KIND_STRING}};
static const struct handler methods[] = {
    {"now", AUTHENTICATED, IN_BATCH, now_params, 1, run_now},
    {"later", AUTHENTICATED, IN_BATCH, NULL, 0, run_later},
    {"alone", AUTHENTICATED, 0, NULL, 0, run_now},
    {"stays", AUTHENTICATED, NEEDS_CLIENT, NULL, 0, run_now},
    {"admin", ADMIN, IN_BATCH, NULL, 0, run_now},
    {"viewer", VIEWER, IN_BATCH, NULL, 0, run_now},
    {"anyone", ANYONE, IN_BATCH, now_params, 1, run_now},
};

/* ---- helpers ---- */

static void on_joined(void *ctx, enum owners_joined result, const struct owner_position *at)
{
    struct reader *reader = ctx;
    is_int(result, OWNERS_NONE, "joined");
    owners_start(reader->member, at->head);
}

static struct reader *joined(void)
{
    struct reader *reader = reader_new(&app, "u1", 0);
    owners_join(app.owners, "u1", reader->member, (struct owners_resume){.seq = 0}, on_joined, reader);
    return reader;
}

static void hears_part(struct reader *reader, const char *part, const char *name)
{
    const char *text = heard(reader);
    if (!ok(strstr(text, part) != NULL, "%s", name))
        diag("heard: %.300s", text);
}

/* ---- tests ---- */

static void test_envelope(void)
{
    static const struct {
        const char *name, *text, *part;
    } rows[] = {
        {"no JSON", "{", "\"id\":null,\"error\":{\"code\":-32700,"},
        {"two documents", "{}{}", "-32700"},
        {"duplicate names", "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"now\"}", "-32700"},
        {"U+0000", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"no\\u0000w\"}", "-32700"},
        {"a scalar", "7", "\"id\":null,\"error\":{\"code\":-32600,"},
        {"no version", "{\"id\":5,\"method\":\"now\"}", "\"id\":5,\"error\":{\"code\":-32600,"},
        {"another version", "{\"jsonrpc\":\"1.0\",\"id\":5,\"method\":\"now\"}", "-32600"},
        {"method is a number", "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":5}", "-32600"},
        {"id is an object", "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"now\"}",
         "\"id\":null,\"error\":{\"code\":-32600,"},
        {"id is null", "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"now\"}", "-32600"},
        {"id is a fraction", "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"now\"}", "-32600"},
        {"another member", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"now\",\"extra\":1}", "-32600"},
        {"params are text", CALL("1", "now", "\"x\""), "-32600"},
        {"params are a list", CALL("1", "now", "[]"), "-32602"},
        {"unknown method", CALL("1", "nope", "{}"), "-32601"},
        {"unknown parameter", CALL("1", "later", "{\"a\":1}"),
         "\"code\":\"invalid_params\",\"status\":422,\"field\":\"a\""},
        {"a parameter of another kind", CALL("1", "now", "{\"value\":1}"), "\"field\":\"value\""},
        {"a big id is echoed", CALL("9007199254740993", "now", "{}"), RESULT("9007199254740993", "{}")},
        {"a text id is echoed", CALL("\"\\u00e4-1\"", "now", "{}"), RESULT("\"\\u00e4-1\"", "{}")},
        {"a parameter comes raw", CALL("1", "now", "{\"value\":\"\\u0041\"}"), RESULT("1", "\"\\u0041\"")},
        {"a role is missing", CALL("1", "admin", "{}"), "-32003"},
        {"another role is missing", CALL("1", "viewer", "{}"), "-32003"},
    };
    struct reader *reader = reader_new(&app, "u1", 0);
    for (size_t i = 0; i < NELEMS(rows); i++) {
        says(reader, rows[i].text);
        hears_part(reader, rows[i].part, rows[i].name);
    }
    says(reader, "{\"jsonrpc\":\"2.0\",\"method\":\"now\"}");
    says(reader, "{\"jsonrpc\":\"2.0\",\"method\":\"nope\"}");
    is_text(heard(reader), "", "a notification has no answer");
    rpc_refuse(&reader->answerer, SPAN(CALL("4", "now", "{}")), &ERROR_UNAVAILABLE);
    hears_part(reader, "\"id\":4,\"error\":{\"code\":-32053,", "a message that is not handled has its id");
    reader_gone(reader);
}

static void test_callers(void)
{
    struct reader *stranger = reader_new(&app, NULL, 0), *viewer = reader_new(&app, "v", ROLE_VIEWER);
    says(stranger, CALL("1", "now", "{}"));
    hears_part(stranger, "-32001", "nothing without authentication");
    says(stranger, CALL("1", "nope", "{}"));
    hears_part(stranger, "-32001", "not even which methods there are");
    says(stranger, CALL("1", "anyone", "{}"));
    is_text(heard(stranger), RESULT("1", "{}") "\n", "but what is for anyone");
    says(viewer, CALL("1", "viewer", "{}"));
    is_text(heard(viewer), RESULT("1", "{}") "\n", "a viewer's method");
    says(viewer, CALL("1", "stays", "{}"));
    is_text(heard(viewer), RESULT("1", "{}") "\n", "who stays may call what needs that");
    viewer->answerer.client = NULL;
    says(viewer, CALL("1", "stays", "{}"));
    hears_part(viewer, "-32600", "others not");
    reader_gone(stranger);
    reader_gone(viewer);
}

static void test_batches(void)
{
    struct reader *reader = reader_new(&app, "u1", 0);
    says(reader, "[]");
    hears_part(reader, "\"id\":null,\"error\":{\"code\":-32600,", "an empty batch");
    says(reader, "[1,2,3,4,5]");
    hears_part(reader, "A batch holds 1 to 4 requests", "a batch has a bound");
    says(reader, "[1,\"x\"]");
    ok(heard(reader)[0] == '[', "garbage in a batch is answered as a batch");
    says(reader, "[" CALL("1", "now", "{}") "," CALL("2", "alone", "{}") "]");
    hears_part(reader, "\"id\":2,\"error\":{\"code\":-32600,\"message\":\"Not possible inside a batch\"",
               "not every method");
    says(reader, "[{\"jsonrpc\":\"2.0\",\"method\":\"now\"}]");
    is_text(heard(reader), "", "a batch of notifications has no answer");
    says(reader, "[" CALL("1", "later", "{}") "," CALL("2", "now", "{}") "]");
    is_text(heard(reader), "", "a batch waits for its last answer");
    request_reply(waiting[--waits], SPAN("1"));
    is_text(heard(reader), "[" RESULT("2", "{}") "," RESULT("1", "1") "]\n", "and is one array");
    says(reader, "[" CALL("1", "later", "{}") "," CALL("2", "now", "{}") "]");
    reader_gone(reader);
    request_reply(waiting[--waits], SPAN("1")); /* a sanitizer checks this */
}

static void test_large_batch(void)
{
    size_t size = 600u << 10;
    char *value = xmalloc(size + 1);
    memset(value, '1', size);
    value[size] = '\0';
    struct reader *reader = reader_new(&app, "u1", 0);
    says(reader, "[" CALL("1", "later", "{}") "," CALL("2", "later", "{}") "," CALL("3", "now", "{}") "]");
    for (unsigned i = 0; i < 2; i++)
        request_reply(waiting[i], (struct span){value, size});
    waits = 0;
    const char *text = heard(reader);
    ok(strlen(text) > size && strlen(text) < size + 1000, "one large answer fits a batch, a second does not");
    ok(strstr(text, "\"id\":2,\"error\":{\"code\":-32013,") != NULL, "which is said");
    ok(strstr(text, RESULT("3", "{}")) != NULL, "small ones do");
    free(value);
    reader_gone(reader);
}

/* The answer comes first, then events on every socket of the owner, except those that the answer reports to
 * its reader. */
static void test_order(void)
{
    seq = 10;
    struct reader *reader = joined(), *other = joined();
#define ID " 01980000-0000-7000-8000-000000000001\n"
    says(reader, CALL("1", "later", "{}"));
    record(waiting[--waits], false);
    is_text(heard(reader), RESULT("1", "\"recorded\"") "\n", "the answer stands for accepted");
    is_text(heard(other), "event A 11" ID, "of which the other is told");
    says(reader, "{\"jsonrpc\":\"2.0\",\"method\":\"later\"}");
    record(waiting[--waits], false);
    is_text(heard(reader), "event A 12" ID, "without an id the event tells of it");
    heard(other);
    says(reader, CALL("2", "later", "{}"));
    record(waiting[--waits], true);
    is_text(heard(reader), RESULT("2", "\"ended\"") "\nevent C 13" ID, "the answer, then the end");
    is_text(heard(other), "event C 13" ID, "which the other hears, too");
    says(reader, "[" CALL("1", "later", "{}") "," CALL("2", "later", "{}") "]");
    record(waiting[1], true);
    is_text(heard(other), "", "events of a batch wait for its answer, also elsewhere");
    record(waiting[0], false);
    waits = 0;
    is_text(heard(reader), "[" RESULT("2", "\"ended\"") "," RESULT("1", "\"recorded\"") "]\nevent C 14" ID,
            "one array, then the events");
    is_text(heard(other), "event C 14" ID "event A 15" ID, "in order");
    says(reader, CALL("3", "later", "{}"));
    reader_gone(reader);
    record(waiting[--waits], false);
    is_text(heard(other), "event A 16" ID, "who asked has left: the owner still hears");
    reader_gone(other);
}

/* Redis hangs: every waiting request is answered once. */
static void test_stall(void)
{
    struct reader *reader = joined();
    heard(reader);
    says(reader, CALL("1", "later", "{}"));
    says(reader, "[" CALL("2", "now", "{}") "," CALL("3", "later", "{}") "]");
    is_text(heard(reader), "", "they wait");
    requests_stalled(app.requests);
    const char *text = heard(reader);
    ok(strstr(text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32053,") == text,
       "whoever waits is told");
    ok(strstr(text, ",{\"jsonrpc\":\"2.0\",\"id\":3,\"error\":{\"code\":-32053,"), "a batch is completed");
    record(waiting[0], false);
    record(waiting[1], true);
    waits = 0;
    is_text(heard(reader), "event A 17" ID "event C 18" ID, "late outcomes are no second answer, but events");
    reader_gone(reader);
}

int main(void)
{
    if (loop_init(&loop) != 0)
        abort();
    app =
        (struct app){.options = &options, .loop = &loop, .methods = methods, .method_count = NELEMS(methods)};
    app.requests = requests_new();
    app.owners = owners_new(&loop, source);
    test_envelope();
    test_callers();
    test_batches();
    test_large_batch();
    test_order();
    test_stall();
    owners_free(&app.owners);
    requests_free(&app.requests);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    return done_testing();
}
