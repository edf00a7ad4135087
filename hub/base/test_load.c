/* SPDX-License-Identifier: MIT */
/* Loads: bounds of a connection and of a user, which loads wait and which are woken. */
#include "hub/base/load.h"
#include "tests/lib/tap.h"

static struct loop loop;
static const struct load_limits limits = {.user_connections = 3,
                                          .requests = 2,
                                          .user_requests = 3,
                                          .user_bytes = 1000,
                                          .rate = {10, 100},
                                          .user_rate = {1000, 1000}};

static void on_room(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static struct load *of_user(struct loads *loads, const char *name, unsigned *woken)
{
    struct load *load = load_new(loads, on_room, woken);
    ok(load_set_user(load, span_of(name)), "a connection of %s", name);
    return load;
}

static void test_requests(struct loads *loads)
{
    unsigned woken[3] = {0, 0, 0};
    struct load *a = of_user(loads, "anna", &woken[0]), *b = of_user(loads, "anna", &woken[1]);
    struct load *other = of_user(loads, "bert", &woken[2]);
    load_begin(a);
    load_begin(a);
    ok(!load_has_room(a), "a connection has enough under way");
    ok(load_has_room(b), "another one of the user not");
    load_begin(b);
    ok(!load_has_room(b), "the user has");
    ok(load_has_room(other), "another user not");
    load_wait(a);
    load_wait(b);
    load_end(b);
    is_int(woken[1], 0, "nobody is woken from within");
    turn();
    is_int(woken[0], 0, "who has enough of his own waits on");
    is_int(woken[1], 1, "the other one is woken");
    load_end(a);
    load_leave(b);
    turn();
    is_int(woken[0], 1, "then the first");
    load_wait(a);
    load_leave(a);
    load_end(a);
    turn();
    is_int(woken[0], 1, "who has left is not");
    load_leave(other);
}

/* A request that outlives its connection does not count as a connection. */
static void test_connections(struct loads *loads)
{
    struct load *all[3], *late = load_new(loads, on_room, NULL);
    for (unsigned i = 0; i < 3; i++)
        all[i] = of_user(loads, "carl", NULL);
    ok(!load_set_user(late, SPAN("carl")), "a user has as many connections as he may");
    ok(load_has_room(late) && load_fits(late, 1000000), "one too many counts for nobody");
    load_begin(all[0]);
    load_leave(all[0]);
    ok(load_set_user(late, SPAN("carl")), "one leaves, another one comes");
    load_end(all[0]);
    load_leave(all[1]);
    load_leave(all[2]);
    load_leave(late);
    late = of_user(loads, "carl", NULL);
    load_leave(late);
}

static struct load *leaving;

static void on_room_of_another(void *ctx)
{
    on_room(ctx);
    load_wait_no_more(leaving);
}

/* A callback of a woken load may close another one that waits. */
static void test_one_leaves_meanwhile(struct loads *loads)
{
    unsigned woken[3] = {0, 0, 0};
    struct load *a = load_new(loads, on_room_of_another, &woken[0]);
    ok(load_set_user(a, SPAN("dora")), "a connection");
    struct load *b = leaving = of_user(loads, "dora", &woken[1]), *c = of_user(loads, "dora", &woken[2]);
    load_begin(c);
    load_begin(c);
    load_begin(a);
    load_wait(a);
    load_wait(b);
    load_wait(c);
    load_end(a);
    turn();
    is_int(woken[0], 1, "one is woken");
    is_int(woken[1] + woken[2], 0, "one leaves, one has enough of its own");
    load_end(c);
    turn();
    is_int(woken[2], 1, "and is woken when it has not");
    load_end(c);
    load_leave(a);
    load_leave(b);
    load_leave(c);
}

static void test_requests_outlive_their_connection(struct loads *loads)
{
    unsigned woken = 0;
    struct load *gone = load_new(loads, on_room, &woken);
    load_begin(gone);
    ok(load_set_user(gone, SPAN("anna")), "a connection");
    load_begin(gone);
    load_leave(gone);
    struct load *next = of_user(loads, "anna", &woken);
    ok(load_has_room(next), "one more");
    load_begin(next);
    ok(!load_has_room(next), "those of a connection that is gone, and before it was known, count");
    load_end(gone);
    ok(load_has_room(next), "until they end");
    load_end(gone);
    load_end(next);
    load_leave(next);
}

static void test_answers(struct loads *loads)
{
    unsigned woken = 0;
    struct load *a = of_user(loads, "anna", &woken), *b = of_user(loads, "anna", &woken);
    load_unwritten(a, 0, 700);
    ok(load_has_room(b) && load_fits(b, 300) && !load_fits(b, 301), "answers of all connections count");
    load_unwritten(b, 0, 300);
    ok(!load_has_room(b), "beyond the bound nothing is read");
    load_wait(b);
    load_unwritten(a, 700, 100);
    turn();
    is_int(woken, 1, "until some were written");
    load_unwritten(a, 100, 0);
    load_unwritten(b, 300, 0);
    load_leave(a);
    load_leave(b);
}

static void test_rates(struct loads *loads)
{
    unsigned woken = 0;
    struct load *a = of_user(loads, "anna", &woken), *b = of_user(loads, "anna", &woken);
    is_int(load_count(a, 100), LOAD_IN_TIME, "the burst");
    is_int(load_count(a, 99), LOAD_TOO_FAST, "more");
    is_int(load_count(a, 1), LOAD_FLOOD, "far more");
    load_count(b, 800);
    ok(!load_has_room(b), "a user has a rate, too");
    load_wait(b);
    for (int i = 0; i < 1000 && woken == 0; i++)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_int(woken, 1, "and is woken by the time that passes");
    load_leave(a);
    load_leave(b);
}

int main(void)
{
    if (loop_init(&loop) != 0)
        abort();
    struct loads *loads = loads_new(&loop, &limits);
    struct load *stranger = load_new(loads, NULL, NULL);
    for (int i = 0; i < 5; i++)
        load_begin(stranger);
    ok(load_has_room(stranger), "before authentication nothing is kept back");
    for (int i = 0; i < 5; i++)
        load_end(stranger);
    load_leave(stranger);
    test_requests(loads);
    test_connections(loads);
    test_one_leaves_meanwhile(loads);
    test_requests_outlive_their_connection(loads);
    test_answers(loads);
    test_rates(loads);
    loads_free(&loads);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    return done_testing();
}
