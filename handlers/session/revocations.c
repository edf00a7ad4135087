/* SPDX-License-Identifier: MIT */
/* Follows the list of revocations; see revocations.h. Loop thread. Never adds to the list. */
#include "handlers/session/revocations.h"

#include "hub/auth/bearers.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"
#include "tasks/queue/revocations.h"

#define READ_MS 500
#define FORGET_MS 600000

struct revocations {
    struct app *app;
    uv_timer_t *timer;
    char epoch[24];
    uint64_t after;     /* the list is known up to this number */
    uint64_t asked_at;  /* mono ms: start of the read under way; 0 = none */
    uint64_t known_at;  /* mono ms: the list is known as of then; 0 = not at all */
    uint64_t forget_at; /* mono ms: when to drop outdated entries */
};

static void update_unknown(struct revocations *list)
{
    struct app *app = list->app;
    uint64_t grace = (uint64_t)app->options->auth_deny_grace_s * 1000;
    bool unknown = list->known_at == 0 || clock_mono_ms() - list->known_at > grace;
    if (unknown && !app->revocations_unknown)
        log_error("nobody is let in until Redis answers: tokens may have been revoked");
    app->revocations_unknown = unknown;
    metric_set(METRIC_REVOCATIONS_UNKNOWN, unknown);
}

static void on_page(void *ctx, const struct queue_revocations *page);

static void read_more(struct revocations *list, uint64_t asked_at)
{
    list->asked_at = asked_at;
    queue_read_revocations(list->app->queue, list->after, on_page, list);
}

static void on_page(void *ctx, const struct queue_revocations *page)
{
    struct revocations *list = ctx;
    uint64_t asked_at = list->asked_at;
    list->asked_at = 0;
    if (!page->ok)
        return;
    if (strcmp(list->epoch, page->epoch) != 0 || page->newest < list->after) {
        memcpy(list->epoch, page->epoch, sizeof list->epoch); /* another data set: its numbers start anew */
        bool other = list->after != 0;
        list->after = 0;
        if (other) {
            read_more(list, asked_at);
            return;
        }
    }
    for (size_t i = 0; i < page->count; i++)
        if (!bearers_revoke(list->app->bearers, page->entries[i]))
            log_error("an entry of the list of revocations is malformed");
    list->after = page->upto;
    if (page->upto < page->newest) {
        read_more(list, asked_at);
        return;
    }
    list->known_at = asked_at;
    update_unknown(list);
}

void revocations_read(struct app *app)
{
    if (app->revocations && app->redis_ready && app->revocations->asked_at == 0)
        read_more(app->revocations, clock_mono_ms());
}

static void on_timer(uv_timer_t *timer)
{
    struct revocations *list = timer->data;
    uint64_t now = clock_mono_ms();
    revocations_read(list->app);
    update_unknown(list);
    if (now < list->forget_at)
        return;
    list->forget_at = now + FORGET_MS;
    bearers_forget(list->app->bearers, clock_wall_ms() / 1000);
}

void revocations_start(struct app *app)
{
    struct revocations *list = xcalloc(1, sizeof *list);
    list->app = app;
    list->timer = loop_timer(app->loop, list);
    app->revocations = list;
    app->revocations_unknown = true;
    uv_timer_start(list->timer, on_timer, READ_MS, READ_MS);
}

void revocations_stop(struct app *app)
{
    struct revocations *list = app->revocations;
    app->revocations = NULL;
    if (list == NULL)
        return;
    loop_close(list->timer);
    free(list);
}
