/* Owner only, ordered, exactly once: the order of what owners.c delivers, gaps, holds, bounds, linger. */
#include "hub/owners/pending.h"
#include "tests/lib/owners_fake.h"

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
    owners_replied(owners, "u1", 46, a->member);
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

/* The log lost its data while the connection to it stayed: its first event looks like a double. */
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
    owners_release(owners, "u1", task_name('h'));
    is_log(a, "11 P1 P2 ", "after the reply they go, in order");
    owners_release(owners, "u1", task_name('h'));
    owners_hold(owners, "nobody", task_name('n'));
    owners_release(owners, "nobody", task_name('n'));

    struct recorder *c = join("u1", "k3v9", 10);
    owners_hold(owners, "u1", task_name('h'));
    owners_start(c->member, 10);
    is_log(c, "auth T10 ", "a replay stops at a held task");
    owners_release(owners, "u1", task_name('h'));
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
    arrives("u1", 15, NULL); /* told by a reply, ahead of the feed */
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
    owners_replied(owners, "u1", 13, NULL);
    ok(!owners_listening(owners, "u1", NULL), "nobody listens");
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
    end_loop();
    return done_testing();
}
