/* Joining and resuming: what a connection is given from its own cursor until it is level, and random
 * histories in which every connection must see every seq once, in order. */
#include "tests/lib/owners_fake.h"

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
        settle();
        if (seq >= 1005)
            snprintf(expected + strlen(expected), 8, "T%u ", (unsigned)seq);
    }
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

/* Whether the connection was given every seq behind `from`, once and in order. */
static bool got_all(struct recorder *recorder, uint64_t from, uint64_t head)
{
    struct buf want = BUF_INIT;
    buf_printf(&want, "auth T%d ", (int)from);
    for (uint64_t seq = from + 1; seq <= head; seq++)
        buf_printf(&want, "%d ", (int)seq);
    buf_append_char(&want, '\0');
    bool sound = strcmp(recorder->log, want.data) == 0;
    if (!sound)
        diag("got %.400s, want %.400s", recorder->log, want.data);
    buf_free(&want);
    return sound;
}

static void test_random(void)
{
    unsigned seed = 12345;
    bool sound = true;
    for (int round = 0; round < 200 && sound; round++) {
        begin(0);
        source.at_once = round % 2;
        struct recorder *recorders_[8] = {NULL};
        uint64_t from[8] = {0}, next[12];
        uint64_t head = 0;
        for (size_t i = 0; i < NELEMS(next); i++)
            next[i] = 0;
        for (int step = 0; step < 150; step++) {
            seed = seed * 1103515245u + 12345u;
            unsigned pick = (seed >> 16) % 100;
            size_t i = (seed >> 24) % NELEMS(recorders_);
            if (pick < 10 && recorders_[i] == NULL) {
                from[i] = head ? head - pick % (head > 9 ? 9 : (unsigned)head) : 0;
                recorders_[i] = join("u1", "k3v9", from[i]);
                settle();
                owners_start(recorders_[i]->member, from[i]);
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
        for (size_t i = 0; i < NELEMS(recorders_); i++)
            sound &= recorders_[i] == NULL || got_all(recorders_[i], from[i], head);
        end();
    }
    ok(sound, "200 random histories: every seq once, in order, on every connection");
}

int main(void)
{
    if (sodium_init() < 0 || loop_init(&loop) < 0)
        return 1;
    test_join();
    test_join_down();
    test_catching_up();
    test_random();
    end_loop();
    return done_testing();
}
