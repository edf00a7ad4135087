/* audio.* from frames to Redis: acknowledgements, credit, bounds, resume, time limits. */
#include "tests/lib/handlers_fixture.h"

/* ---- audio ---- */

static void sends(struct conn *conn, unsigned char stream, const char *bytes, size_t n)
{
    char frame[200] = {0, 0, 0, (char)stream};
    memcpy(frame + 4, bytes, n);
    ops.on_binary(conn, (struct span){frame, n + 4});
}

#define START                                                                                                \
    CALL("1", "audio.start",                                                                                 \
         "{\"task\":\"speech\",\"args\":{\"resource_id\":\"r\"},\"format\":{\"encoding\":\"pcm_s16le\","     \
         "\"sample_rate\":16000,\"channels\":1}}")

static struct conn *streaming(void)
{
    fake_reset();
    fake.audio_size = 0;
    fake.audio_ended = fake.audio_hold = false;
    fake.audio_fails = 0;
    struct conn *c = user_conn("u1", 0);
    says(c, START);
    fake_submitted(0, QUEUE_OK);
    c->log[0] = '\0';
    return c;
}

static void test_audio(void)
{
    struct conn *c = streaming();
    ok(fake.submits.at[0].stream, "a stream's task is recorded as one");
    is_text(fake.submits.at[0].args,
            "{\"resource_id\":\"r\",\"format\":{\"encoding\":\"pcm_s16le\",\"sample_rate\":16000,"
            "\"channels\":1}}",
            "and is told the format");
    sends(c, 1, "abc", 3);
    sends(c, 1, "def", 3);
    hears(c, "", "no acknowledgement before Redis has the bytes");
    turn();
    turn();
    hears(c,
          "{\"jsonrpc\":\"2.0\",\"method\":\"audio.ack\",\"params\":{\"stream\":1,\"received\":6,\"credit\":"
          "64}}\n",
          "one per turn");
    is_text(fake.audio, "abcdef", "the bytes stand");
    says(c, CALL("2", "audio.end", "{\"stream\":1}"));
    turn();
    hears(c, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"received\":6}}\n", "the end is answered");
    sends(c, 1, "x", 1);
    hears_part(c, "-32004", "after it the stream is gone");
    ops.on_binary(c, SPAN("\0\0\1"));
    hears_part(c, "-32602", "a frame without a number");
    says(c, CALL("2", "audio.end", "{\"stream\":9}"));
    hears_part(c, "\"message\":\"Stream not found\"", "no such stream");
    close_conn(c);
}

static void test_audio_bounds(void)
{
    struct conn *c = streaming();
    char many[100] = {0};
    fake.audio_hold = true;
    sends(c, 1, many, 60);
    turn();
    sends(c, 1, many, 5);
    hears_part(c, "\"code\":\"flow\"", "more than the credit");
    is_text(fake.audio_fail, "flow", "fails the task");
    fake_audio(fake.audio_fn, fake.audio_ctx);
    close_conn(c);

    c = streaming();
    for (int i = 0; i < 4; i++) {
        sends(c, 1, many, 60);
        turn();
        turn();
    }
    c->log[0] = '\0';
    sends(c, 1, many, 60);
    hears_part(c, "-32013", "a stream has a bound");
    is_text(fake.audio_fail, "too_large", "which fails the task");
    close_conn(c);

    c = streaming();
    for (int i = 0; i < 2; i++)
        says(c, START);
    hears_part(c, "Maximum 2 audio streams per user exceeded", "a user has a bound of streams");
    says(c, CALL("7", "audio.start",
                 "{\"task\":\"speech\",\"format\":{\"encoding\":\"pcm_s16le\",\"sample_rate\":0}}"));
    hears_part(c, "-32015", "another rate is refused");
    says(c, CALL("8", "audio.start",
                 "{\"task\":\"quick\",\"format\":{\"encoding\":\"file\",\"name\":\"a.wav\"}}"));
    fake_submitted(1, QUEUE_UNAVAILABLE);
    says(c, CALL("9", "audio.abort", "{\"stream\":1}"));
    hears_part(c, "\"id\":9,\"result\":{\"received\":0}}", "a stream can be aborted");
    is_text(fake.audio_fail, "aborted", "which fails its task");
    close_conn(c);
}

/* The same idempotency key again, when the stream has ended. */
static void test_audio_duplicate(void)
{
    struct conn *c = streaming();
    char want[300];
    says(c, CALL("9", "audio.abort", "{\"stream\":1}"));
    c->log[0] = '\0';
    fake.audio_ended = true;
    says(c, START);
    fake_submitted(1, QUEUE_DUPLICATE);
    snprintf(
        want, sizeof want,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"task_id\":\"%s\",\"status\":\"pending\",\"seq\":%llu,"
        "\"duplicate\":true}}\n",
        fake.submits.at[1].id, (unsigned long long)fake.seq);
    hears(c, want, "a duplicate whose stream has ended has no stream");
    says(c, START);
    fake.outcome = QUEUE_STATE;
    fake_submitted(2, QUEUE_DUPLICATE);
    hears_part(c, "\"duplicate\":true}}", "nor has one whose task has ended");
    fake.outcome = QUEUE_OK;
    says(c, CALL("2", "audio.end", "{\"stream\":1}"));
    hears_part(c, "Stream not found", "none was opened");
    close_conn(c);
}

static void test_audio_resume(void)
{
    struct conn *c = streaming();
    char text[200];
    sends(c, 1, "abcd", 4);
    turn();
    turn();
    close_conn(c);
    c = user_conn("u1", 0);
    snprintf(text, sizeof text, CALL("1", "audio.resume", "{\"task_id\":\"%s\"}"), fake.submits.at[0].id);
    says(c, text);
    hears(c, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"stream\":1,\"received\":4,\"credit\":64}}\n",
          "resume tells what stands");
    fake.outcome = QUEUE_UNAVAILABLE;
    sends(c, 1, "efgh", 4);
    turn();
    turn();
    hears(c, "", "Redis did not take it: no acknowledgement");
    fake.outcome = QUEUE_OK;
    app_redis(&app, true);
    turn();
    turn();
    hears_part(c, "\"received\":8,\"credit\":64", "it is sent again when Redis answers");
    is_text(fake.audio, "abcdefgh", "nothing is missing or twice");
    fake.audio_hold = true;
    sends(c, 1, "ijkl", 4);
    turn();
    fake.audio_size = 2;
    fake_audio(fake.audio_fn, fake.audio_ctx);
    is_text(fake.audio_fail, "input_lost", "bytes that Redis has lost cannot be sent again");
    close_conn(c);

    c = streaming();
    uint64_t until = clock_mono_ms() + 5000;
    fake.audio_fails = 0;
    while (fake.audio_fails == 0 && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_text(fake.audio_fail, "idle", "a silent stream fails");
    is_int(fake.audio_kept, 1, "a stream is kept while it has a hub");
    close_conn(c);

    c = streaming();
    close_conn(c);
    until = clock_mono_ms() + 5000;
    while (fake.audio_fails == 0 && clock_mono_ms() < until)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_text(fake.audio_fail, "abandoned", "and one that nobody resumes");
}

int main(void)
{
    fixture_begin();
    test_audio();
    test_audio_bounds();
    test_audio_duplicate();
    test_audio_resume();
    fixture_end();
    return done_testing();
}
