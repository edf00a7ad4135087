/* SPDX-License-Identifier: MIT */
/* hub/owners: an owner's members get its events in order and once each; gaps, holds, bounds, linger, joining
 * and catching up. The members record what they get, the log answers when the test says so, and calling the
 * ticks advances time. */
#include "hub/base/loop.h"
#include "hub/owners/owners_private.h"
#include "hub/owners/pending.h"
#include "tests/lib/tap.h"

#include <sodium.h>

/* ---- stand-in: members, that record ---- */
struct recorder {
    struct member *member;
    char log[4096]; /* "41 T42 43 P7 lost " */
    bool slow;
};

static struct recorder *recorders[64];
static size_t recorder_count;

static void record(struct recorder *recorder, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void record(struct recorder *recorder, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t n = strlen(recorder->log);
    vsnprintf(recorder->log + n, sizeof recorder->log - n, fmt, args);
    va_end(args);
}

static void on_event(void *to, struct event *event)
{
    if (event->seq)
        record(to, "%d ", (int)event->seq);
    else
        record(to, "%c%d ", event->type->code, (int)event->rev);
}

static void on_skip(void *to, uint64_t seq)
{
    record(to, "T%d ", (int)seq);
}

static bool is_slow(const void *to)
{
    return ((const struct recorder *)to)->slow;
}

static void on_lost(void *to, const char *reason)
{
    (void)reason;
    record(to, "lost ");
}

static struct recorder *new_recorder(void)
{
    static const struct member_ops ops = {on_event, on_skip, is_slow, on_lost};
    struct recorder *recorder = xcalloc(1, sizeof *recorder);
    recorder->member = member_new(&ops, recorder);
    recorders[recorder_count++] = recorder;
    return recorder;
}

/* ---- events ---- */
static unsigned marks_from; /* events of another history have other marks */

static const char *task_name(char letter)
{
    static char text[4][ID_SIZE];
    static unsigned at;
    char *to = text[at++ % 4];
    snprintf(to, ID_SIZE, "01980000-0000-7000-8000-0000000000%c%c", letter, letter);
    return to;
}

static uint16_t mark_at(uint64_t seq)
{
    return (uint16_t)(seq + marks_from);
}

static struct event *make(char code, uint64_t seq, uint64_t rev, uint64_t attempt, char task)
{
    struct event *event = event_new(code, seq, rev, attempt, span_of(task_name(task)), SPAN("{}"));
    event->mark = mark_at(seq);
    return event;
}

/* ---- stand-in: a log, which answers when the test says so ---- */
static struct {
    bool up, at_once;
    const char *epoch;
    uint64_t head, trimmed; /* events 1 … trimmed are gone */
    char codes[20000];      /* by seq; 0 = 'A' */
    char tasks[20000];      /* by seq; task letter, 0 = 'a' */
    unsigned attaches, detaches, replays;
    uint64_t last_after;
    struct call {
        owner_position_fn *position;
        owner_replay_fn *replay;
        void *ctx;
        uint64_t after;
        size_t max;
    } calls[64];
    size_t count;
} source;

static struct event *logged(uint64_t seq)
{
    char code = source.codes[seq] ? source.codes[seq] : 'A';
    return make(code, seq, 0, 1, source.tasks[seq] ? source.tasks[seq] : 'a');
}

static void answer(struct call call)
{
    if (call.position) {
        struct owner_position at = {.ok = source.up, .head = source.head, .mark = mark_at(source.head)};
        snprintf(at.epoch, sizeof at.epoch, "%s", source.epoch);
        call.position(call.ctx, &at);
        return;
    }
    struct event *events[OWNER_PAGE];
    struct owner_replay replay = {.ok = source.up, .events = events, .mark = mark_at(call.after)};
    replay.gap = call.after < source.trimmed;
    for (uint64_t seq = call.after + 1; seq <= source.head && replay.count < call.max && !replay.gap; seq++)
        events[replay.count++] = logged(seq);
    replay.more = call.after + replay.count < source.head;
    call.replay(call.ctx, &replay);
    for (size_t i = 0; i < replay.count; i++)
        event_unref(&events[i]);
}

static void queue_call(struct call call)
{
    if (source.at_once)
        answer(call);
    else
        source.calls[source.count++] = call;
}

/* Answers all calls so far, and the calls that follow from them. */
static void settle(void)
{
    for (size_t i = 0; i < source.count; i++)
        answer(source.calls[i]);
    source.count = 0;
}

static void fake_attach(void *ctx, const char *owner, owner_position_fn *fn, void *fn_ctx)
{
    (void)ctx, (void)owner;
    source.attaches++;
    queue_call((struct call){.position = fn, .ctx = fn_ctx});
}

static void fake_detach(void *ctx, const char *owner)
{
    (void)ctx, (void)owner;
    source.detaches++;
}

static void fake_replay(void *ctx, const char *owner, uint64_t after, size_t max, owner_replay_fn *fn,
                        void *fn_ctx)
{
    (void)ctx, (void)owner;
    source.replays++;
    source.last_after = after;
    queue_call((struct call){.replay = fn, .ctx = fn_ctx, .after = after, .max = max});
}

static const struct owner_source fake_source = {fake_attach, fake_detach, fake_replay, NULL};

/* ---- helpers ------------------------------------------------------------------------------------- */
static struct loop loop;
static struct owners *owners;

static void begin(uint64_t head)
{
    memset(&source, 0, sizeof source);
    marks_from = 0;
    source.up = source.at_once = true;
    source.epoch = "k3v9";
    source.head = head;
    owners = owners_new(&loop, fake_source);
}

static void end(void)
{
    source.up = false;
    settle();
    owners_free(&owners);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    while (recorder_count) {
        member_free(&recorders[--recorder_count]->member);
        free(recorders[recorder_count]);
    }
}

static int joined; /* result of the last join, -1 = none yet */
static struct owner_position joined_at;

static void on_joined(void *ctx, enum owners_joined result, const struct owner_position *at)
{
    joined = (int)result;
    joined_at = *at;
    record(ctx, "auth ");
}

static struct recorder *join(const char *user, const char *epoch, uint64_t seq)
{
    struct recorder *recorder = new_recorder();
    struct owners_resume resume = {.seq = seq};
    snprintf(resume.epoch, sizeof resume.epoch, "%s", epoch);
    joined = -1;
    owners_join(owners, user, recorder->member, resume, on_joined, recorder);
    return recorder;
}

/* A member that has joined and gets all events from now on. */
static struct recorder *live(const char *user)
{
    struct recorder *recorder = join(user, "", 0);
    owners_start(recorder->member, joined_at.head);
    recorder->log[0] = '\0';
    return recorder;
}

static void leave(struct recorder *recorder)
{
    owners_leave(recorder->member);
}

static void logs(uint64_t seq, char code, char task)
{
    source.head = seq;
    source.codes[seq] = code;
    source.tasks[seq] = task;
}

/* Delivers an event of the log (from the feed or a reply). */
static void arrives(const char *user, uint64_t seq, const struct recorder *except)
{
    if (seq > source.head)
        source.head = seq;
    struct event *event = logged(seq);
    struct owner_news news = {.owner = user, .event = event, .seq = except ? seq : 0};
    owners_news(owners, &news, except ? except->member : NULL);
    event_unref(&event);
}

static void progress(const char *user, char code, uint64_t rev, uint64_t attempt, char task)
{
    struct event *event = make(code, 0, rev, attempt, task);
    owners_event(owners, user, event);
    event_unref(&event);
}

static void ticks(unsigned n)
{
    while (n--)
        owners_tick(owners);
}

static void is_log(struct recorder *recorder, const char *want, const char *name)
{
    is_text(recorder->log, want, "%s", name);
    recorder->log[0] = '\0';
}

static void test_order(void)
{
    begin(40);
    struct recorder *a = live("u1"), *b = live("u1"), *other = live("u2");
    arrives("u1", 41, NULL);
    is_log(a, "41 ", "an event reaches the owner's connection");
    is_log(b, "41 ", "and the other one");
    is_log(other, "", "and nobody else's");
    arrives("u1", 41, NULL);
    is_log(a, "", "a duplicate is dropped");
    arrives("u1", 43, NULL);
    arrives("u1", 44, NULL);
    is_log(a, "", "events wait for an earlier one");
    arrives("u1", 42, NULL);
    is_log(a, "42 43 44 ", "and follow it in order");
    is_int(source.replays, 0, "without a read of the log");
    arrives("u1", 45, a);
    is_log(a, "T45 ", "the submitter has been told by its reply");
    is_log(b, "42 43 44 45 ", "the other gets the event");
    owners_news(owners, &(struct owner_news){.owner = "u1", .seq = 46}, a->member);
    is_log(a, "T46 ", "told without an event");
    b->log[0] = '\0';
    source.head = 46;
    ticks(1);
    is_log(b, "46 ", "a connection that needed it after all reads it from the log");
    arrives("u1", 47, NULL);
    is_log(b, "47 ", "and is live again");
    ok(owners_listening(owners, "u1", a->member), "another one listens");
    leave(b);
    ok(!owners_listening(owners, "u1", a->member), "nobody else listens any more");
    end();
}

static void test_out_of_order_told(void)
{
    begin(10);
    struct recorder *a = live("u1"), *b = live("u1");
    arrives("u1", 12, a);
    arrives("u1", 13, NULL);
    arrives("u1", 11, NULL);
    is_log(a, "11 T12 13 ", "a told seq keeps its place");
    is_log(b, "11 12 13 ", "for the others it is an event");
    end();
}

static void test_gap(void)
{
    begin(10);
    struct recorder *a = live("u1"), *b = live("u1");
    logs(11, 'A', 'a');
    logs(12, 'S', 'a');
    arrives("u1", 13, NULL);
    is_int(source.replays, 0, "a gap is given a moment");
    ticks(OWNER_GAP_TICKS);
    is_int(source.replays, 1, "then one read of the log");
    is_int((int)source.last_after, 10, "from the event behind the cursor");
    is_log(a, "11 12 13 ", "heals it");
    is_log(b, "11 12 13 ", "for everybody");
    ticks(20);
    is_int(source.replays, 1, "once");

    owners_hold(owners, "u1", task_name('z'));
    source.head = 14;
    arrives("u1", 15, NULL);
    ticks(OWNER_GAP_TICKS + 2);
    is_int(source.replays, 1, "while a submission is in flight the reply may bring it");
    arrives("u1", 14, a);
    is_log(a, "T14 15 ", "and does");
    is_log(b, "14 15 ", "for the others too");
    owners_release(owners, task_name('z'));

    source.at_once = false;
    arrives("u1", 17, NULL);
    ticks(30);
    is_int(source.replays, 2, "only one read is in flight");
    arrives("u1", 16, NULL);
    settle();
    is_log(a, "16 17 ", "what came meanwhile is not given twice");
    end();
}

static void test_gap_down_and_lost(void)
{
    begin(10);
    struct recorder *a = live("u1");
    source.up = false;
    arrives("u1", 12, NULL);
    ticks(2 * OWNER_GAP_TICKS);
    is_int(source.replays, 1, "while Redis is down it is not hammered");
    source.up = true;
    owners_reconnected(owners);
    ticks(2);
    is_log(a, "11 12 ", "after the reconnect the gap is healed");

    source.head = 400;
    owners_reconnected(owners);
    ticks(2 * OWNER_GAP_TICKS);
    is_int((int)source.last_after, 312, "a reconnect finds what the feed lost, page by page");
    ok(strstr(a->log, " 399 400 ") != NULL, "up to the newest");
    a->log[0] = '\0';

    source.head = 450;
    source.trimmed = 430;
    arrives("u1", 451, NULL);
    ticks(OWNER_GAP_TICKS + 8);
    is_log(a, "lost ", "what the log lost cannot be healed");

    struct recorder *b = live("u1");
    source.epoch = "other";
    source.head = 3;
    source.trimmed = 0;
    owners_reconnected(owners);
    is_log(b, "lost ", "another data set ends the connections");
    leave(a);
    leave(b);
    struct recorder *c = join("u1", "k3v9", 451);
    is_int(joined, OWNERS_GAP, "whose resume is a gap then");
    is_int((int)joined_at.head, 3, "at the new head");
    is_text(joined_at.epoch, "other", "of the new epoch");
    leave(c);
    end();
}

/* The log loses its data while the connection to it stays: its first event looks like a duplicate. */
static void test_log_began_anew(void)
{
    begin(10);
    struct recorder *a = live("u1");
    unsigned attaches = source.attaches;
    arrives("u1", 10, NULL);
    arrives("u1", 9, NULL);
    is_int(source.attaches, attaches + 1, "a double asks for the position, once a second");
    is_log(a, "", "and changes nothing");
    owners_tick_second(owners);
    source.epoch = "anew";
    source.head = 1;
    arrives("u1", 1, NULL);
    is_log(a, "lost ", "a log that began anew ends the connections");
    leave(a);
    struct recorder *b = live("u1");
    arrives("u1", 2, NULL);
    is_log(b, "2 ", "the next one gets its events");

    leave(b);
    owners_tick_second(owners);
    source.epoch = "again";
    source.head = 1;
    arrives("u1", 1, NULL);
    struct recorder *c = live("u1");
    is_int((int)joined_at.head, 1, "also when nobody was connected");
    arrives("u1", 2, NULL);
    is_log(c, "2 ", "and its events");
    end();
}

static void test_hold(void)
{
    begin(10);
    struct recorder *a = live("u1"), *b = live("u1");
    owners_hold(owners, "u1", task_name('h'));
    progress("u1", 'P', 1, 1, 'i');
    is_log(b, "P1 ", "another task's progress does not wait for a reply");
    a->log[0] = '\0';
    source.tasks[11] = 'h';
    arrives("u1", 11, NULL);
    progress("u1", 'P', 1, 1, 'h');
    progress("u1", 'P', 2, 1, 'h');
    is_log(a, "", "events wait for the reply of their task");
    ticks(40);
    is_int(source.replays, 0, "a held event is no gap");
    owners_release(owners, task_name('h'));
    is_log(a, "11 P1 P2 ", "after the reply they go, in order");
    owners_release(owners, task_name('h'));
    owners_hold(owners, "nobody", task_name('n'));
    owners_release(owners, task_name('n'));

    struct recorder *c = join("u1", "k3v9", 10);
    owners_hold(owners, "u1", task_name('h'));
    owners_start(c->member, 10);
    is_log(c, "auth T10 ", "a replay stops at a held task");
    owners_release(owners, task_name('h'));
    ticks(1);
    is_log(c, "11 ", "and goes on");
    end();
}

static void test_progress(void)
{
    begin(10);
    struct recorder *a = live("u1");
    progress("u1", 'P', 1, 1, 'a');
    progress("u1", 'P', 3, 1, 'a');
    progress("u1", 'P', 2, 1, 'a');
    progress("u1", 'p', 4, 1, 'a');
    is_log(a, "P1 P3 p4 ", "an older revision is dropped");
    source.codes[11] = 'R';
    arrives("u1", 11, NULL);
    progress("u1", 'P', 5, 2, 'a');
    progress("u1", 'P', 6, 1, 'a');
    is_log(a, "11 P5 ", "an older attempt too");
    source.codes[13] = 'S';
    source.tasks[13] = 'b';
    arrives("u1", 13, NULL);
    progress("u1", 'P', 1, 1, 'b');
    is_log(a, "", "progress waits behind what waits");
    arrives("u1", 12, NULL);
    is_log(a, "12 13 P1 ", "and keeps its place");
    source.codes[14] = 'K';
    source.tasks[14] = 'b';
    arrives("u1", 14, NULL);
    progress("u1", 'P', 9, 1, 'b');
    is_log(a, "14 ", "nothing follows the end of a task");
    end();
}

static void test_progress_keeps_its_place(void)
{
    begin(10);
    struct recorder *a = live("u1");
    source.tasks[12] = source.tasks[13] = 't';
    arrives("u1", 15, NULL); /* from a reply, ahead of the feed */
    arrives("u1", 12, NULL);
    progress("u1", 'P', 1, 1, 't');
    progress("u1", 'P', 2, 1, 't');
    arrives("u1", 13, NULL);
    progress("u1", 'P', 1, 1, 'o');
    is_log(a, "P1 ", "progress of a task that waits for nothing goes out");
    arrives("u1", 14, NULL);
    arrives("u1", 11, NULL);
    is_log(a, "11 12 P1 P2 13 14 15 ", "the other's stays between its start and its end");
    end();
}

static void test_bounds(void)
{
    begin(0);
    struct recorder *a = live("u1");
    struct buf want = BUF_INIT;
    for (uint64_t seq = 2; seq < 2 + 3 * PENDING_MAX; seq++)
        arrives("u1", seq, NULL);
    arrives("u1", 1, NULL);
    ticks(40);
    for (int seq = 1; seq < 2 + 3 * PENDING_MAX; seq++)
        buf_printf(&want, "%d ", seq);
    buf_append_char(&want, '\0');
    is_log(a, want.data, "what the reorder buffer forgot comes from the log, to the last");
    is_int((int)source.last_after, PENDING_MAX + 5 * OWNER_PAGE, "and only that");
    buf_free(&want);
    end();

    struct pending pending;
    pending_init(&pending);
    for (uint64_t seq = 2; seq < 2 + 3 * PENDING_MAX; seq++)
        pending_put(&pending, seq, NULL, 0);
    is_int(pending.count, PENDING_MAX, "the reorder buffer is bounded");
    is_int((int)pending_first_seq(&pending), 2, "and forgets the latest");
    for (unsigned rev = 1; rev < 50; rev++) {
        struct event *event = make('P', 0, rev, 1, 'q');
        pending_put_latest(&pending, 1, event);
        event_unref(&event);
    }
    ok(pending.count <= PENDING_MAX, "with progress too");
    pending_clear(&pending);
}

static void test_linger(void)
{
    begin(10);
    struct recorder *a = live("u1");
    leave(a);
    for (int s = 1; s < OWNER_LINGER_S; s++)
        owners_tick_second(owners);
    is_int(source.detaches, 0, "the feed lingers after the last connection");
    arrives("u1", 11, NULL);
    unsigned attaches = source.attaches;
    struct recorder *b = live("u1");
    is_int(source.attaches, attaches, "a new connection finds it attached");
    is_int((int)joined_at.head, 11, "and its cursor followed");
    owners_tick_second(owners);
    owners_tick_second(owners);
    is_int(source.detaches, 0, "a connection keeps it");
    leave(b);
    for (int s = 0; s <= OWNER_LINGER_S; s++)
        owners_tick_second(owners);
    is_int(source.detaches, 1, "then it is given up");
    arrives("u1", 12, NULL);
    progress("u1", 'P', 1, 1, 'a');
    owners_news(owners, &(struct owner_news){.owner = "u1", .seq = 13}, NULL);
    ok(!owners_listening(owners, "u1", NULL), "nobody listens");
    end();
}

static void test_join(void)
{
    begin(41);
    source.at_once = false;
    struct recorder *a = join("u1", "", 0);
    is_int(joined, -1, "a join waits for the log's position");
    arrives("u1", 42, NULL);
    settle();
    is_int(joined, OWNERS_NONE, "nothing to resume");
    is_int((int)joined_at.head, 42, "an event that arrived meanwhile counts");
    arrives("u1", 43, NULL);
    is_log(a, "auth ", "no event before the auth reply");
    owners_start(a->member, joined_at.head);
    settle();
    is_log(a, "T42 43 ", "what came while the reply was written follows it");

    source.at_once = true;
    logs(44, 'A', 'b');
    logs(45, 'C', 'b');
    struct recorder *b = join("u1", "k3v9", 40);
    is_int(joined, OWNERS_OK, "resume");
    is_log(b, "auth ", "first the reply");
    owners_start(b->member, 40);
    is_log(b, "T40 41 42 43 44 45 ", "then exactly what was missed");
    ticks(OWNER_GAP_TICKS + 1);
    is_log(a, "44 45 ", "and what the feed still owes comes to the others");
    is_log(b, "", "but not twice");
    arrives("u1", 46, NULL);
    is_log(b, "46 ", "live");

    struct recorder *c = join("u1", "k3v9", 46);
    is_int(joined, OWNERS_OK, "resume without anything missed");
    owners_start(c->member, 46);
    is_log(c, "auth T46 ", "nothing follows");

    unsigned attaches = source.attaches;
    source.head = 48;
    struct recorder *d = join("u1", "k3v9", 48);
    is_int(joined, OWNERS_OK, "a resume ahead of this hub");
    is_int(source.attaches, attaches + 1, "asks for the position afresh");
    owners_start(d->member, 48);
    ticks(OWNER_GAP_TICKS + 1);
    is_log(c, "47 48 ", "the others get there");
    is_log(d, "auth T48 ", "it is not given them again");
    struct recorder *e = join("u1", "k3v9", 99);
    is_int(joined, OWNERS_GAP, "a future seq is a gap");
    struct recorder *f = join("u1", "zzzz", 48);
    is_int(joined, OWNERS_GAP, "another epoch is a gap");
    source.trimmed = 20;
    struct recorder *g = join("u1", "k3v9", 10);
    is_int(joined, OWNERS_GAP, "a trimmed log is a gap");
    owners_start(g->member, joined_at.head);
    arrives("u1", 49, NULL);
    is_log(g, "auth T48 49 ", "behind a gap live events follow");
    leave(e), leave(f);
    end();
}

static void test_join_down(void)
{
    begin(5);
    source.up = false;
    struct recorder *a = join("u1", "", 0);
    is_int(joined, OWNERS_UNAVAILABLE, "without Redis a join is refused");
    source.up = true;
    owners_join(owners, "u1", a->member, (struct owners_resume){.seq = 0}, on_joined, a);
    is_int(joined, OWNERS_NONE, "a second try works");
    source.at_once = false;
    struct recorder *b = join("u2", "", 0);
    leave(b);
    settle();
    is_int(joined, -1, "a connection that closed gets no answer");
    end();
}

static void test_catching_up(void)
{
    begin(1000);
    source.at_once = false;
    struct recorder *a = join("u1", "", 0);
    settle();
    owners_start(a->member, 1000);
    a->log[0] = '\0';
    struct recorder *b = join("u1", "k3v9", 750);
    settle();
    is_int(joined, OWNERS_OK, "resume of more than a page");
    owners_start(b->member, 750);
    char expected[256] = " 998 999 1000 1001 1002 1003 1004 ";
    for (uint64_t seq = 1001; seq <= 1014; seq++) {
        arrives("u1", seq, seq >= 1005 ? b : NULL);
        if (seq >= 1005)
            snprintf(expected + strlen(expected), 8, "T%u ", (unsigned)seq);
    }
    settle();
    ok(strncmp(b->log, "auth T750 751 752 ", 18) == 0, "pages follow each other");
    ok(strstr(b->log, expected) != NULL,
       "up to live events, without a hole or a double, told seqs in their places");
    unsigned replays = source.replays;
    arrives("u1", 1015, NULL);
    ok(strstr(b->log, " T1014 1015 ") != NULL, "level");
    is_int(source.replays, replays, "no more reads");
    is_log(a, "1001 1002 1003 1004 1005 1006 1007 1008 1009 1010 1011 1012 1013 1014 1015 ",
           "the other was never disturbed");

    struct recorder *c = join("u1", "k3v9", 1000);
    settle();
    c->slow = true;
    owners_start(c->member, 1000);
    ticks(5);
    is_log(c, "auth T1000 ", "a slow connection is not flooded");
    c->slow = false;
    ticks(1);
    is_log(c, "1001 1002 1003 1004 1005 1006 1007 1008 1009 1010 1011 1012 1013 1014 1015 ",
           "it goes on when it has drained");
    end();
}

/* Whether the member got every seq after `from`, once and in order, as an event or by a reply, and rising
 * progress of each task (rev modulo 4). */
static bool got_all(struct recorder *recorder, uint64_t from, uint64_t head)
{
    unsigned long want = from, last[4] = {0};
    bool sound = strncmp(recorder->log, "auth T", 6) == 0;
    char *at = recorder->log + 5;
    for (char *end; sound && *at; at = end + 1) {
        bool rev = *at == 'P', replied = *at == 'T';
        unsigned long number = strtoul(at + (rev || replied), &end, 10);
        if (rev)
            sound = number > last[number % 4];
        else
            sound = number == want++;
        if (rev)
            last[number % 4] = number;
    }
    sound &= want == head + 1;
    if (!sound)
        diag("from %d to %d, got %.400s", (int)from, (int)head, recorder->log);
    return sound;
}

struct history {
    struct recorder *members[8];
    uint64_t from[8], next[12], head, rev;
    unsigned seed;
};

static void random_step(struct history *history)
{
    unsigned seed = history->seed = history->seed * 1103515245u + 12345u;
    unsigned pick = (seed >> 16) % 100;
    char task = (char)('a' + (seed >> 10) % 4);
    size_t i = (seed >> 24) % NELEMS(history->members);
    struct recorder **member = &history->members[i];
    uint64_t *one = &history->next[pick % NELEMS(history->next)], *head = &history->head;
    if (pick < 10 && *member == NULL) {
        history->from[i] = *head ? *head - pick % (*head > 9 ? 9 : (unsigned)*head) : 0;
        *member = join("u1", "k3v9", history->from[i]);
        settle();
        owners_start((*member)->member, history->from[i]);
    } else if (pick < 60) {
        logs(++*head, 'A', task);
        if (pick % 10) /* else the feed loses it */
            *one = *head;
    } else if (pick < 80) {
        if (*one)
            arrives("u1", *one, pick % 4 ? NULL : *member);
        if (pick % 3)
            *one = 0; /* else it arrives again */
    } else if (pick < 85) {
        progress("u1", 'P', 4 * history->rev++ + (unsigned)(task - 'a'), 1, task);
    } else if (pick < 90) {
        owners_hold(owners, "u1", task_name(task));
    } else if (pick < 93) {
        owners_release(owners, task_name(task));
    } else if (pick == 93 && *member) {
        leave(*member);
        *member = NULL;
    } else {
        ticks(3);
        settle();
    }
}

static bool random_history(unsigned seed)
{
    struct history history = {.rev = 1, .seed = seed};
    bool sound = true;
    begin(0);
    source.at_once = seed % 2;
    for (int step = 0; step < 200; step++)
        random_step(&history);
    for (char task = 'a'; task < 'e'; task++)
        owners_release(owners, task_name(task));
    owners_reconnected(owners);
    for (int i = 0; i < 200; i++) {
        ticks(1);
        settle();
    }
    for (size_t i = 0; i < NELEMS(history.members); i++)
        if (history.members[i])
            sound &= got_all(history.members[i], history.from[i], history.head);
    end();
    return sound;
}

static void test_random(void)
{
    unsigned unsound = 0;
    for (unsigned seed = 0; seed < 300; seed++)
        unsound += !random_history(seed);
    is_int(unsound, 0, "300 random histories: every seq once, in order, progress rising, for every member");
}

/* Compares the bounded memory of recent tasks with an unbounded one. */
static void test_progress_memory(void)
{
    struct {
        uint64_t rev, attempt;
        bool ended;
    } plain[2000];
    struct progress *memory = progress_new();
    unsigned seed = 99, wrong = 0;
    memset(plain, 0, sizeof plain);
    for (int step = 0; step < 200000; step++) {
        seed = seed * 1103515245u + 12345u;
        unsigned task = (seed >> 12) % NELEMS(plain), number = (seed >> 8) % 16;
        bool logs_it = number == 0 && seed >> 28 == 0;
        char id[ID_SIZE];
        snprintf(id, sizeof id, "01980000-0000-7000-8%03x-%012x", task * 7 % 4096, task * 2654435761u);
        struct event *event = event_new(logs_it ? seed % 2 ? 'R' : 'C' : 'P', logs_it, logs_it ? 0 : number,
                                        1 + seed % 3, span_of(id), SPAN("{}"));
        if (logs_it && event->attempt > plain[task].attempt) {
            plain[task].attempt = event->attempt;
            plain[task].rev = 0;
        }
        if (logs_it) {
            progress_note(memory, event);
            plain[task].ended |= event->type->terminal;
        } else {
            bool newer = event->attempt > plain[task].attempt ||
                         (event->attempt == plain[task].attempt && event->rev > plain[task].rev);
            bool admit = newer && !plain[task].ended;
            wrong += progress_admit(memory, event) != admit;
            if (admit) {
                plain[task].attempt = event->attempt;
                plain[task].rev = event->rev;
            }
        }
        event_unref(&event);
    }
    is_int(wrong, 0, "as long as there is room for the tasks, nothing is forgotten");
    free(memory);
}

static int join_with(uint64_t seq, unsigned mark)
{
    struct recorder *recorder = new_recorder();
    struct owners_resume resume = {.epoch = "k3v9", .seq = seq, .mark = (uint16_t)mark};
    joined = -1;
    owners_join(owners, "u", recorder->member, resume, on_joined, recorder);
    leave(recorder);
    return joined;
}

static void test_marks(void)
{
    begin(40);
    struct recorder *a = live("u");
    is_int(joined_at.mark, 40, "who begins at the head is told its mark");
    is_int(join_with(40, 40), OWNERS_OK, "the event at the head is the one that was seen");
    is_int(join_with(40, 41), OWNERS_GAP, "another one was seen there");
    is_int(join_with(38, 38), OWNERS_OK, "the log has what was seen");
    is_int(join_with(38, 39), OWNERS_GAP, "the log has another one");
    is_int(join_with(38, 0), OWNERS_OK, "who does not say is believed");
    arrives("u", 41, NULL);
    is_int(join_with(41, 41), OWNERS_OK, "the mark moves with the events");
    marks_from = 1000;
    owners_reconnected(owners);
    is_text(a->log, "41 lost ", "the head is another event now: who stayed is told");
    end();
}

int main(void)
{
    if (sodium_init() < 0 || loop_init(&loop) < 0)
        return 1;
    test_order();
    test_out_of_order_told();
    test_gap();
    test_gap_down_and_lost();
    test_log_began_anew();
    test_hold();
    test_progress();
    test_progress_keeps_its_place();
    test_bounds();
    test_linger();
    test_join();
    test_marks();
    test_join_down();
    test_catching_up();
    test_random();
    test_progress_memory();
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    return done_testing();
}
