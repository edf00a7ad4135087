/* SPDX-License-Identifier: MIT */
/* Turns: owners alternate, weights are bounded, an owner beyond his rate waits. */
#include "hub/base/turns.h"
#include "tests/lib/tap.h"

struct work {
    struct turn turn;
    char name;
};

static struct loop loop;
static char began[32];
static size_t begun;

static void on_go(struct turn *turn)
{
    began[begun++] = container_of(turn, struct work, turn)->name;
}

static void ask(struct turns *turns, struct work *work, char name, size_t weight)
{
    char owner = name >= 'a' ? 'a' : 'A';
    *work = (struct work){.turn = {.weight = weight, .go = on_go}, .name = name};
    list_init(&work->turn.node);
    turns_ask(turns, &work->turn, (struct span){&owner, 1});
}

static void is_begun(const char *want, const char *name)
{
    began[begun] = '\0';
    is_text(began, want, "%s", name);
}

static unsigned dropped;
static void on_drop(struct turn *turn)
{
    (void)turn;
    dropped++;
}

static void test_weights_and_rate(void)
{
    const struct turns_limits limits = {.owner_weight = 4, .weight = 8, .rate = {1000, 20}};
    struct turns *turns = turns_new(&loop, &limits);
    struct work w[6];
    for (int i = 0; i < 4; i++)
        ask(turns, &w[i], (char)('a' + i), 2);
    is_begun("ab", "an owner has so much under way");
    ask(turns, &w[4], 'A', 100);
    is_begun("abA", "another one's heavy piece begins, alone of his");
    turns_done(turns, &w[0].turn, 2);
    is_begun("abA", "but no more than so much of all");
    turns_done(turns, &w[4].turn, 100);
    is_begun("abAc", "who pays for more than he had");
    ask(turns, &w[5], 'B', 1);
    turns_done(turns, &w[1].turn, 2);
    is_begun("abAcd", "waits, others go on");
    for (int i = 0; i < 1000 && begun < 6; i++)
        uv_run(&loop.uv, UV_RUN_ONCE);
    is_begun("abAcdB", "until his rate allows it");
    turns_done(turns, &w[2].turn, 1);
    turns_done(turns, &w[3].turn, 1);
    turns_done(turns, &w[5].turn, 1);
    turns_done(turns, &w[5].turn, 1);
    turns_free(&turns, NULL);
}

static void test_owners_alternate(void)
{
    const struct turns_limits limits = {.owner_weight = 4, .weight = 8, .rate = {1000000, 1000000}};
    struct turns *turns = turns_new(&loop, &limits);
    struct work w[9];
    begun = 0;
    ask(turns, &w[0], 'a', 8);
    for (int i = 1; i < 5; i++)
        ask(turns, &w[i], (char)('a' + i), 4);
    for (int i = 5; i < 9; i++)
        ask(turns, &w[i], (char)('A' + i), 4);
    is_begun("a", "as much as may be is under way");
    turns_done(turns, &w[0].turn, 1);
    is_begun("abF", "owners take turns, whatever came first");
    turns_done(turns, &w[5].turn, 1);
    turns_done(turns, &w[1].turn, 1);
    is_begun("abFGc", "one by one");
    turns_done(turns, &w[6].turn, 1);
    turns_done(turns, &w[2].turn, 1);
    turns_done(turns, &w[7].turn, 1);
    turns_done(turns, &w[3].turn, 1);
    is_begun("abFGcHdIe", "to the last one");
    turns_done(turns, &w[4].turn, 1);
    ask(turns, &w[0], 'a', 8);
    ask(turns, &w[1], 'b', 8);
    turns_done(turns, &w[8].turn, 1);
    turns_done(turns, &w[0].turn, 1);
    turns_done(turns, &w[1].turn, 1);
    ask(turns, &w[2], 'A', 8);
    ask(turns, &w[3], 'B', 8);
    turns_done(turns, &w[2].turn, 1);
    ask(turns, &w[4], 'a', 8);
    turns_done(turns, &w[3].turn, 1);
    turns_done(turns, &w[4].turn, 1);
    ask(turns, &w[5], 'a', 8);
    ask(turns, &w[6], 'b', 8);
    turns_free(&turns, on_drop);
    is_int(dropped, 1, "what still waits is dropped at the end");
}

int main(void)
{
    if (loop_init(&loop) != 0)
        abort();
    test_weights_and_rate();
    test_owners_alternate();
    is_int(loop_deinit(&loop), 0, "no handle is left");
    return done_testing();
}
