/* SPDX-License-Identifier: MIT */
/* audio.* from frames into a real Redis, without sockets: acknowledgements, credit, bounds, duplicates,
 * resume, time limits, and a Redis that goes away. */
#include "tests/lib/methods_hub.h"

#define START(key)                                                                                           \
    CALL("1", "audio.start",                                                                                 \
         "{\"task\":\"speech\",\"args\":{\"resource_id\":\"r\"},\"idempotency_key\":\"" key                  \
         "\",\"format\":{\"encoding\":\"pcm_s16le\",\"sample_rate\":16000,\"channels\":1}}")
#define STARTED(task) "{\"task_id\":\"" task "\",\"status\":\"pending\",\"seq\":1,\"stream\":1,\"credit\":64}"
#define ACK(received)                                                                                        \
    "{\"jsonrpc\":\"2.0\",\"method\":\"audio.ack\",\"params\":{\"stream\":1,\"received\":" received          \
    ",\"credit\":64}}\n"

static void sends(struct reader *reader, unsigned char stream, const char *bytes, size_t n)
{
    char frame[200] = {0, 0, 0, (char)stream};
    memcpy(frame + 4, bytes, n);
    audio_frame(&reader->client, (struct span){frame, n + 4}, false);
}

/* Opens stream 1 of task #0 for a user. */
static struct reader *streaming(const char *name)
{
    struct reader *reader = user(name, 0);
    id_count = 0;
    says(reader, START("k"));
    hears(reader, RESULT("1", STARTED("#0")) "\n", "a stream is open");
    return reader;
}

/* Whether the task has failed with this code, by its event. */
static void failed(struct reader *reader, const char *code)
{
    char part[64];
    UNTIL(log_has(reader, "event X "));
    heard(reader);
    saysf(reader, CALL("99", "task.get", "{\"task_id\":\"%s\"}"), ids[0]);
    snprintf(part, sizeof part, "\"code\":\"%s\"", code);
    hears_part(reader, part, code);
}

static void test_bytes(void)
{
    struct reader *c = streaming("a1");
    sends(c, 1, "abc", 3);
    sends(c, 1, "def", 3);
    is_text(heard(c), "", "no acknowledgement before Redis has the bytes");
    hears(c, ACK("6"), "one for all of a turn");
    sends(c, 1, "ghi", 3);
    says(c, CALL("2", "audio.end", "{\"stream\":1}"));
    hears(c, ACK("9") RESULT("2", "{\"received\":9}") "\n", "the end is answered when everything stands");
    sends(c, 1, "x", 1);
    hears_part(c, "-32004", "after it the stream is gone");
    audio_frame(&c->client, SPAN("\0\0\1"), false);
    hears_part(c, "-32602", "a frame without a number");
    says(c, CALL("3", "audio.end", "{\"stream\":9}"));
    hears_part(c, "\"message\":\"Stream not found\"", "no such stream");
    says(c, CALL("4", "audio.end", "{\"stream\":1}"));
    hears_part(c, "-32009", "it had this one, which has ended");
    says(c, CALL("5", "audio.abort", "{\"stream\":1}"));
    hears_part(c, "-32009", "nor can it be given up");
    reader_gone(c);
}

static void test_bounds(void)
{
    char many[100] = {0};
    struct reader *c = streaming("b1");
    sends(c, 1, many, 60);
    sends(c, 1, many, 5);
    ok(strstr(heard(c), "\"code\":\"flow\"") != NULL, "more than the credit");
    failed(c, "flow");
    reader_gone(c);

    c = streaming("b2");
    for (int i = 0; i < 4; i++) {
        sends(c, 1, many, 60);
        hears_part(c, "audio.ack", "bytes stand");
    }
    sends(c, 1, many, 60);
    ok(strstr(heard(c), "-32013") != NULL, "a stream has a bound");
    failed(c, "too_large");
    reader_gone(c);

    c = streaming("b3");
    audio_frame(&c->client, SPAN("\0\0\0\1x"), true);
    ok(strstr(heard(c), "\"code\":\"rate_limit\"") != NULL, "a frame that came too fast");
    failed(c, "rate_limit");
    reader_gone(c);
}

static void shell(const char *command)
{
    char text[300];
    snprintf(text, sizeof text, "cd '%s' && %s", server.dir, command);
    ok(system(text) == 0, "%s", command);
}

/* Stops and starts Redis; `between`: what happens to its files meanwhile. */
static void restart(struct reader *reader, const char *between)
{
    redis_server_kill(&server);
    UNTIL(!redis_is_up(hub.commands));
    app_redis(&app, false);
    hub.ready = hub.feed_ups = 0;
    shell(between);
    redis_server_start(&server);
    UNTIL(hub.ready && hub.feed_ups);
    is_text(heard(reader), "", "nothing is acknowledged while there is no Redis");
    app_redis(&app, true);
}

/* Redis comes back with an older state. */
static void test_lost(void)
{
    struct reader *c = streaming("l1");
    shell("cp -r appendonlydir old");
    sends(c, 1, "abcd", 4);
    hears(c, ACK("4"), "bytes stand");
    restart(c, "rm -r appendonlydir && mv old appendonlydir");
    sends(c, 1, "efgh", 4);
    failed(c, "input_lost");
    reader_gone(c);
}

static void test_refusals(void)
{
    struct reader *c = streaming("r1");
    says(c, START("2"));
    hears_part(c, "\"stream\":2", "a second one");
    says(c, START("3"));
    hears_part(c, "Maximum 2 audio streams per user exceeded", "a user has a bound of streams");
    says(c, CALL("9", "audio.abort", "{\"stream\":1}"));
    hears_part(c, "\"id\":9,\"result\":{\"received\":0}}", "a stream can be aborted");
    failed(c, "aborted");
    says(c, CALL("7", "audio.start",
                 "{\"task\":\"speech\",\"format\":{\"encoding\":\"pcm_s16le\",\"sample_rate\":0}}"));
    hears_part(c, "-32015", "another rate is refused");
    says(c, CALL("8", "audio.start",
                 "{\"task\":\"quick\",\"format\":{\"encoding\":\"file\",\"name\":\"a.wav\"}}"));
    hears_part(c, "\"code\":\"no_stream\"", "a task without a stream");
    says(c, START("4"));
    UNTIL(log_has(c, "\"stream\":3"));
    heard_ids(c);
    saysf(c, CALL("5", "audio.resume", "{\"task_id\":\"%s\"}"), ids[1]);
    hears_part(c, "\"id\":5,\"result\":{\"stream\":4,", "one that is resumed takes its own place");
    says(c, START("5"));
    hears_part(c, "Maximum 2 audio streams per user exceeded", "and no more");
    reader_gone(c);
}

/* The same idempotency key again. */
static void test_duplicate(void)
{
    struct reader *c = streaming("d1"), *second = user("d1", 0);
    sends(c, 1, "ab", 2);
    hears(c, ACK("2"), "bytes stand");
    says(second, START("k"));
    hears(second,
          RESULT("1", "{\"task_id\":\"#0\",\"status\":\"pending\",\"seq\":1,\"stream\":1,\"received\":2,"
                      "\"credit\":64,\"duplicate\":true}") "\n",
          "the older stream goes on here");
    sends(c, 1, "x", 1);
    hears_part(c, "Stream not found", "and not there");
    says(second, CALL("2", "audio.end", "{\"stream\":1}"));
    hears(second, RESULT("2", "{\"received\":2}") "\n", "it ends");
    says(second, START("k"));
    hears(second,
          RESULT("1", "{\"task_id\":\"#0\",\"status\":\"pending\",\"seq\":1,\"duplicate\":true}") "\n",
          "one that has ended is not opened");
    reader_gone(c);
    reader_gone(second);
}

static void test_resume(void)
{
    struct reader *c = streaming("s1");
    sends(c, 1, "abcd", 4);
    hears(c, ACK("4"), "bytes stand");
    reader_gone(c);
    c = user("s1", 0);
    saysf(c, CALL("1", "audio.resume", "{\"task_id\":\"%s\"}"), ids[0]);
    hears(c, RESULT("1", "{\"stream\":1,\"received\":4,\"credit\":64}") "\n", "resume tells what stands");
    app_redis(&app, false);
    sends(c, 1, "efgh", 4);
    says(c, CALL("2", "audio.end", "{\"stream\":1}"));
    restart(c, "true");
    hears(c, ACK("8") RESULT("2", "{\"received\":8}") "\n", "it is sent when Redis answers");
    saysf(c, CALL("3", "audio.resume", "{\"task_id\":\"%s\"}"), ids[0]);
    hears_part(c, "\"id\":3,\"error\":{\"code\":-32009", "what has ended is not resumed");
    reader_gone(c);
}

static void test_time(void)
{
    options.audio_idle_ms = 400;
    options.audio_resume_ms = 300;
    struct reader *c = streaming("t1");
    failed(c, "idle");
    reader_gone(c);
    c = streaming("t2");
    struct reader *second = user("t2", 0);
    reader_gone(c);
    failed(second, "abandoned");
    reader_gone(second);
}

int main(void)
{
    hub_begin();
    test_bytes();
    test_bounds();
    test_lost();
    test_refusals();
    test_duplicate();
    test_resume();
    test_time();
    hub_end();
    return done_testing();
}
