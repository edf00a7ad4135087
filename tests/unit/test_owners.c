/* Owner only, ordered, exactly once: owners.c against a fake log and connections that record what they
 * were given. Passes time by calling the ticks. */
#include "hub/owners_private.h"
#include "tests/tap.h"

/* ---- connections that record ----------------------------------------------------------------- */
struct conn {
    struct conn_handle handle;
    struct principal who;
    void *member;
    char log[4096]; /* "41 T42 43 P7 close:1012 " */
    bool slow, gone;
};

static struct conn *all_conns[64];

static struct conn *new_conn(const char *user)
{
    static uint32_t slots;
    struct conn *conn = xcalloc(1, sizeof *conn);
    conn->handle = (struct conn_handle){slots, 1};
    snprintf(conn->who.user_id, sizeof conn->who.user_id, "%s", user);
    all_conns[slots++ % NELEMS(all_conns)] = conn;
    return conn;
}

static void record(struct conn *conn, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void record(struct conn *conn, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t n = strlen(conn->log);
    vsnprintf(conn->log + n, sizeof conn->log - n, fmt, args);
    va_end(args);
}

const struct principal *conn_who(const struct conn *conn)
{
    return &conn->who;
}

struct conn_handle conn_handle(const struct conn *conn)
{
    return conn->handle;
}

struct conn *conn_find(struct conns *conns, struct conn_handle handle)
{
    (void)conns;
    struct conn *conn = handle.generation ? all_conns[handle.slot % NELEMS(all_conns)] : NULL;
    return conn && conn->handle.slot == handle.slot && !conn->gone ? conn : NULL;
}

void conn_set_member(struct conn *conn, void *member)
{
    conn->member = member;
}

void *conn_member(const struct conn *conn)
{
    return conn->member;
}

void conn_send_event(struct conn *conn, struct event *event)
{
    if (event->seq)
        record(conn, "%d ", (int)event->seq);
    else
        record(conn, "%c%d ", event->type->code, (int)event->rev);
}

void conn_told_seq(struct conn *conn, uint64_t seq)
{
    record(conn, "T%d ", (int)seq);
}

bool conn_slow(const struct conn *conn)
{
    return conn->slow;
}

void conn_close(struct conn *conn, unsigned code, const char *reason)
{
    (void)reason;
    record(conn, "close:%u ", code);
}

/* ---- a log that answers when the test says so ------------------------------------------------- */
static struct {
    bool up, at_once;
    const char *epoch;
    uint64_t head, trimmed; /* events 1 … trimmed are gone */
    char codes[20000];      /* by seq; 0 = 'A' */
    char tasks[20000];      /* by seq; task letter, 0 = 'a' */
    unsigned attaches, detaches, replays, last_max;
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

static const char *task_name(char letter)
{
    static char text[4][ID_SIZE];
    static unsigned at;
    char *to = text[at++ % 4];
    snprintf(to, ID_SIZE, "01980000-0000-7000-8000-0000000000%c%c", letter, letter);
    return to;
}

static struct event *make(char code, uint64_t seq, uint64_t rev, uint64_t attempt, char task)
{
    return event_new(code, seq, rev, attempt, span_of(task_name(task)), SPAN("{\"task_id\":\"x\"}"));
}

static struct event *logged(uint64_t seq)
{
    char code = source.codes[seq] ? source.codes[seq] : 'A';
    return make(code, seq, 0, 1, source.tasks[seq] ? source.tasks[seq] : 'a');
}

static void answer(struct call call)
{
    if (call.position) {
        struct owner_position at = {.ok = source.up, .head = source.head};
        snprintf(at.epoch, sizeof at.epoch, "%s", source.epoch);
        call.position(call.ctx, &at);
        return;
    }
    struct event *events[OWNER_PAGE];
    struct owner_replay replay = {.ok = source.up, .events = events};
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

/* Answers everything asked so far and whatever follows from it. */
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

/* ---- helpers ------------------------------------------------------------------------------------- */
static struct loop loop;
static struct owners *owners;

static void begin(uint64_t head)
{
    memset(&source, 0, sizeof source);
    source.up = source.at_once = true;
    source.epoch = "k3v9";
    source.head = head;
    owners = owners_new(&loop, NULL, (struct owner_source){fake_attach, fake_detach, fake_replay, NULL});
}

static void end(void)
{
    source.up = false;
    settle();
    owners_free(&owners);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    for (size_t i = 0; i < NELEMS(all_conns); i++) {
        free(all_conns[i]);
        all_conns[i] = NULL;
    }
}

static int joined; /* result of the last join, -1 = none yet */
static struct owner_position joined_at;

static void on_joined(void *ctx, enum owners_joined result, const struct owner_position *at)
{
    struct conn *conn = ctx;
    joined = (int)result;
    joined_at = *at;
    record(conn, "auth ");
}

static struct conn *join(const char *user, const char *epoch, uint64_t seq)
{
    struct conn *conn = new_conn(user);
    struct owners_resume resume = {.seq = seq};
    snprintf(resume.epoch, sizeof resume.epoch, "%s", epoch);
    joined = -1;
    owners_join(owners, conn, resume, on_joined, conn);
    return conn;
}

/* A connection that joined and gets everything from now on. */
static struct conn *live(const char *user)
{
    struct conn *conn = join(user, "", 0);
    owners_start(owners, conn, joined_at.head);
    conn->log[0] = '\0';
    return conn;
}

static void leave(struct conn *conn)
{
    owners_leave(owners, conn);
    conn->gone = true;
}

static void logs(uint64_t seq, char code, char task)
{
    source.head = seq;
    source.codes[seq] = code;
    source.tasks[seq] = task;
}

/* An event that the log has arrives (feed or own reply). */
static void arrives(const char *user, uint64_t seq, struct conn *except)
{
    if (seq > source.head)
        source.head = seq;
    struct event *event = logged(seq);
    owners_event(owners, user, event, except);
    event_unref(&event);
}

static void progress(const char *user, char code, uint64_t rev, uint64_t attempt, char task)
{
    struct event *event = make(code, 0, rev, attempt, task);
    owners_event(owners, user, event, NULL);
    event_unref(&event);
}

static void ticks(unsigned n)
{
    while (n--)
        owners_tick(owners);
}

static void is_log(struct conn *conn, const char *want, const char *name)
{
    is_text(conn->log, want, "%s", name);
    conn->log[0] = '\0';
}

/* ---- tests ----------------------------------------------------------------------------------------- */
static void test_order(void)
{
    begin(40);
    struct conn *a = live("u1"), *b = live("u1"), *other = live("u2");
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
    owners_told(owners, "u1", 46, a);
    is_log(a, "T46 ", "told without an event");
    b->log[0] = '\0';
    source.head = 46;
    ticks(1);
    is_log(b, "46 ", "a connection that needed it after all reads it from the log");
    arrives("u1", 47, NULL);
    is_log(b, "47 ", "and is live again");
    ok(owners_listening(owners, "u1", a), "another one listens");
    leave(b);
    ok(!owners_listening(owners, "u1", a), "nobody else listens any more");
    end();
}

static void test_out_of_order_told(void)
{
    begin(10);
    struct conn *a = live("u1"), *b = live("u1");
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
    struct conn *a = live("u1"), *b = live("u1");
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
    owners_release(owners, "u1", task_name('z'));

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
    struct conn *a = live("u1");
    source.up = false;
    arrives("u1", 12, NULL);
    ticks(40);
    is_int(source.replays, 1, "while Redis is down it is not hammered");
    source.up = true;
    owners_reconnected(owners);
    ticks(2);
    is_log(a, "11 12 ", "after the reconnect the gap is healed");

    source.head = 400;
    owners_reconnected(owners);
    ticks(40);
    is_int((int)source.last_after, 312, "a reconnect finds what the feed lost, page by page");
    ok(strstr(a->log, " 399 400 ") != NULL, "up to the newest");
    a->log[0] = '\0';

    source.head = 450;
    source.trimmed = 430;
    arrives("u1", 451, NULL);
    ticks(10);
    is_log(a, "close:1012 ", "what the log lost cannot be healed");

    struct conn *b = live("u1");
    source.epoch = "other";
    source.head = 3;
    source.trimmed = 0;
    owners_reconnected(owners);
    is_log(b, "close:1012 ", "another data set ends the connections");
    leave(a);
    leave(b);
    struct conn *c = join("u1", "k3v9", 451);
    is_int(joined, OWNERS_GAP, "whose resume is a gap then");
    is_int((int)joined_at.head, 3, "at the new head");
    is_text(joined_at.epoch, "other", "of the new epoch");
    leave(c);
    end();
}

static void test_join(void)
{
    begin(41);
    source.at_once = false;
    struct conn *a = join("u1", "", 0);
    is_int(joined, -1, "a join waits for the log's position");
    arrives("u1", 42, NULL);
    settle();
    is_int(joined, OWNERS_NONE, "nothing to resume");
    is_int((int)joined_at.head, 42, "an event that arrived meanwhile counts");
    arrives("u1", 43, NULL);
    is_log(a, "auth ", "no event before the auth reply");
    owners_start(owners, a, joined_at.head);
    settle();
    is_log(a, "T42 43 ", "what came while the reply was written follows it");

    source.at_once = true;
    logs(44, 'A', 'b');
    logs(45, 'C', 'b');
    struct conn *b = join("u1", "k3v9", 40);
    is_int(joined, OWNERS_OK, "resume");
    is_log(b, "auth ", "first the reply");
    owners_start(owners, b, 40);
    is_log(b, "T40 41 42 43 44 45 ", "then exactly what was missed");
    ticks(OWNER_GAP_TICKS + 1);
    is_log(a, "44 45 ", "and what the feed still owes comes to the others");
    is_log(b, "", "but not twice");
    arrives("u1", 46, NULL);
    is_log(b, "46 ", "live");

    struct conn *c = join("u1", "k3v9", 46);
    is_int(joined, OWNERS_OK, "resume without anything missed");
    owners_start(owners, c, 46);
    is_log(c, "auth T46 ", "nothing follows");

    unsigned attaches = source.attaches;
    source.head = 48;
    struct conn *d = join("u1", "k3v9", 48);
    is_int(joined, OWNERS_OK, "a resume ahead of this hub");
    is_int(source.attaches, attaches + 1, "asks for the position afresh");
    owners_start(owners, d, 48);
    ticks(3);
    is_log(c, "47 48 ", "the others get there");
    is_log(d, "auth T48 ", "it is not given them again");
    struct conn *e = join("u1", "k3v9", 99);
    is_int(joined, OWNERS_GAP, "a future seq is a gap");
    struct conn *f = join("u1", "zzzz", 48);
    is_int(joined, OWNERS_GAP, "another epoch is a gap");
    source.trimmed = 20;
    struct conn *g = join("u1", "k3v9", 10);
    is_int(joined, OWNERS_GAP, "a trimmed log is a gap");
    owners_start(owners, g, joined_at.head);
    arrives("u1", 49, NULL);
    is_log(g, "auth T48 49 ", "behind a gap live events follow");
    leave(e), leave(f);
    end();
}

static void test_join_down(void)
{
    begin(5);
    source.up = false;
    struct conn *a = join("u1", "", 0);
    is_int(joined, OWNERS_UNAVAILABLE, "without Redis a join is refused");
    ok(conn_member(a) == NULL, "and forgotten");
    source.up = true;
    owners_join(owners, a, (struct owners_resume){.seq = 0}, on_joined, a);
    is_int(joined, OWNERS_NONE, "a second try works");
    source.at_once = false;
    struct conn *b = join("u2", "", 0);
    leave(b);
    settle();
    is_int(joined, -1, "a connection that closed gets no answer");
    end();
}

static void test_catching_up(void)
{
    begin(1000);
    source.at_once = false;
    struct conn *a = join("u1", "", 0);
    settle();
    owners_start(owners, a, 1000);
    a->log[0] = '\0';
    struct conn *b = join("u1", "k3v9", 750);
    settle();
    is_int(joined, OWNERS_OK, "resume of more than a page");
    owners_start(owners, b, 750);
    for (uint64_t seq = 1001; seq <= 1010; seq++) {
        arrives("u1", seq, seq == 1005 ? b : NULL);
        settle();
    }
    ok(strncmp(b->log, "auth T750 751 752 ", 18) == 0, "pages follow each other");
    ok(strstr(b->log, " 998 999 1000 1001 1002 1003 1004 T1005 1006 1007 1008 1009 1010 ") != NULL,
       "up to live events, without a hole or a double, a told seq in its place");
    unsigned replays = source.replays;
    arrives("u1", 1011, NULL);
    ok(strstr(b->log, " 1010 1011 ") != NULL, "level");
    is_int(source.replays, replays, "no more reads");
    is_log(a, "1001 1002 1003 1004 1005 1006 1007 1008 1009 1010 1011 ", "the other was never disturbed");

    struct conn *c = join("u1", "k3v9", 1000);
    settle();
    c->slow = true;
    owners_start(owners, c, 1000);
    ticks(5);
    is_log(c, "auth T1000 ", "a slow connection is not flooded");
    c->slow = false;
    ticks(1);
    is_log(c, "1001 1002 1003 1004 1005 1006 1007 1008 1009 1010 1011 ", "it goes on when it has drained");
    end();
}

static void test_hold(void)
{
    begin(10);
    struct conn *a = live("u1"), *b = live("u1");
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
    owners_release(owners, "u1", task_name('h'));
    is_log(a, "11 P2 ", "after the reply they go, progress as the latest only");
    owners_release(owners, "u1", task_name('h'));
    owners_hold(owners, "nobody", task_name('n'));
    owners_release(owners, "nobody", task_name('n'));

    struct conn *c = join("u1", "k3v9", 10);
    owners_hold(owners, "u1", task_name('h'));
    owners_start(owners, c, 10);
    is_log(c, "auth T10 ", "a replay stops at a held task");
    owners_release(owners, "u1", task_name('h'));
    ticks(1);
    is_log(c, "11 ", "and goes on");
    end();
}

static void test_progress(void)
{
    begin(10);
    struct conn *a = live("u1");
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

static void test_bounds(void)
{
    begin(0);
    struct conn *a = live("u1");
    for (uint64_t seq = 2; seq < 2 + 3 * OWNER_PENDING_MAX; seq++)
        arrives("u1", seq, NULL);
    struct owner *owner = owner_find(owners, "u1");
    is_int(owner->pending.count, OWNER_PENDING_MAX, "the reorder buffer is bounded");
    for (int rev = 1; rev < 50; rev++)
        progress("u1", 'P', (uint64_t)rev, 1, 'q');
    ok(owner->pending.count <= OWNER_PENDING_MAX, "with progress too");
    arrives("u1", 1, NULL);
    ticks(40);
    ok(strncmp(a->log, "1 2 3 ", 6) == 0, "what was forgotten comes from the log");
    is_int((int)owner->delivered, 1 + 3 * OWNER_PENDING_MAX, "to the last");
    is_int(owner->pending.count, 0, "nothing waits");
    end();
}

static void test_linger(void)
{
    begin(10);
    struct conn *a = live("u1");
    leave(a);
    for (int s = 1; s < OWNER_LINGER_S; s++)
        owners_tick_second(owners);
    is_int(source.detaches, 0, "the feed lingers after the last connection");
    arrives("u1", 11, NULL);
    unsigned attaches = source.attaches;
    struct conn *b = live("u1");
    is_int(source.attaches, attaches, "a new connection finds it attached");
    is_int((int)joined_at.head, 11, "and its cursor followed");
    owners_tick_second(owners);
    owners_tick_second(owners);
    is_int(source.detaches, 0, "a connection keeps it");
    leave(b);
    for (int s = 0; s <= OWNER_LINGER_S; s++)
        owners_tick_second(owners);
    is_int(source.detaches, 1, "then it is given up");
    ok(owner_find(owners, "u1") == NULL, "and forgotten");
    arrives("u1", 12, NULL);
    progress("u1", 'P', 1, 1, 'a');
    owners_told(owners, "u1", 13, NULL);
    ok(!owners_listening(owners, "u1", NULL), "nobody listens");
    end();
}

/* Random arrival order, joins and leaves: every connection sees every seq once, in order. */
static void test_random(void)
{
    unsigned seed = 12345;
    bool sound = true;
    for (int round = 0; round < 200 && sound; round++) {
        begin(0);
        source.at_once = round % 2;
        struct conn *conns_[8] = {NULL};
        uint64_t from[8] = {0}, next[12];
        uint64_t head = 0;
        for (size_t i = 0; i < NELEMS(next); i++)
            next[i] = 0;
        for (int step = 0; step < 150; step++) {
            seed = seed * 1103515245u + 12345u;
            unsigned pick = (seed >> 16) % 100;
            size_t i = (seed >> 24) % NELEMS(conns_);
            if (pick < 10 && conns_[i] == NULL) {
                from[i] = head ? head - pick % (head > 9 ? 9 : (unsigned)head) : 0;
                conns_[i] = join("u1", "k3v9", from[i]);
                settle();
                owners_start(owners, conns_[i], from[i]);
            } else if (pick < 70) {
                source.head = ++head;
                if (pick % 10 == 0)
                    continue; /* lost by the feed */
                next[pick % NELEMS(next)] = head;
            } else if (pick < 95) {
                uint64_t *one = &next[pick % NELEMS(next)];
                if (*one)
                    arrives("u1", *one, NULL);
                if (pick % 3)
                    *one = 0; /* else it arrives again */
            } else {
                ticks(3);
                settle();
            }
        }
        owners_reconnected(owners);
        for (int i = 0; i < 100; i++) {
            ticks(1);
            settle();
        }
        for (size_t i = 0; i < NELEMS(conns_); i++) {
            if (conns_[i] == NULL)
                continue;
            char want[4096] = "", *at = want;
            at += sprintf(at, "auth T%d ", (int)from[i]);
            for (uint64_t seq = from[i] + 1; seq <= head; seq++)
                at += sprintf(at, "%d ", (int)seq);
            if (strcmp(conns_[i]->log, want) != 0) {
                sound = false;
                diag("round %d: got %.400s", round, conns_[i]->log);
                diag("want %.400s", want);
            }
        }
        end();
    }
    ok(sound, "200 random histories: every seq once, in order, on every connection");
}

int main(void)
{
    if (loop_init(&loop) < 0)
        return 1;
    test_order();
    test_out_of_order_told();
    test_gap();
    test_gap_down_and_lost();
    test_join();
    test_join_down();
    test_catching_up();
    test_hold();
    test_progress();
    test_bounds();
    test_linger();
    test_random();
    loop_deinit(&loop);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop.uv);
    return done_testing();
}
