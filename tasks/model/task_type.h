/* SPDX-License-Identifier: MIT */
/* What a task type is: a const descriptor that its one file under tasks/light/ or tasks/heavy/ fills in,
 * listed in tasks/meson.build. Everything generic (argument shape, role, limits, retries, isolation) is
 * data here, so that run() starts with valid input. Immutable; any thread, any process. */
#pragma once

#include "hub/json/json.h"

#include <stdbool.h>

struct options;
struct task_ctx;

enum task_kind { TASK_LIGHT, TASK_HEAVY };

enum task_isolation {
    TASK_IN_SLOT, /* a reused slot process */
    TASK_FRESH,   /* a new child per task, forked from a parent that ran preload() once */
};

enum light_lane { /* of a light type: which tasks it shares the hub's threads with */
                  LIGHT_QUICK,
                  LIGHT_REQUEST, /* does the SQL of a request */
                  LIGHT_SLOW,    /* may run longer than light.slow_ms; others that do are detected */
                  LIGHT_LANES,
};

enum {                     /* what a heavy type may reach beside its arguments, sound and directory: any of */
       TASK_REACH_NET = 1, /* the network; files that the configuration names for it */
       TASK_REACH_DB = 2,  /* the domain database */
       TASK_REACH_COMMAND = 4, /* an operator's command: whatever the worker's user may */
       TASK_REACHES = 8,       /* sums of them */
};

struct task_type {
    const char *name;  /* [a-z0-9_.]{1,64} */
    const char *title; /* one line for people: what it does */
    enum task_kind kind;
    const char *queue;             /* heavy: "default" or "live" */
    enum task_isolation isolation; /* heavy */
    enum light_lane lane;          /* light */
    unsigned reach;                /* heavy: TASK_REACH_…, 0 = nothing */
    /* FRESH: what it reaches in addition, depending on the configuration; NULL = nothing. */
    unsigned (*configured_reach)(const struct options *options);
    bool admin; /* only admins may submit it */
    /* Name of an argument that holds an owner id: naming somebody else requires the role admin. NULL =
     * none. */
    const char *owner_arg;
    bool diagnostics;              /* exists only with diagnostics = true */
    bool repeatable;               /* light: two runs of one task_effect_id() leave what one leaves; so it may
                                    * run before it is recorded */
    bool stream;                   /* takes an audio stream: submitted by audio.start only */
    const struct json_field *args; /* shape of the arguments object; unknown fields are refused */
    size_t arg_count;
    /* A check that the shape cannot express; NULL = none. `values` match `args`. False and *ret_error. May
     * read only its arguments; runs on the loop thread, so it must be quick. */
    bool (*check)(const struct span *values, struct json_field_error *ret_error);
    unsigned max_attempts;    /* 0 = 3 */
    unsigned backoff_base_ms; /* 0 = 1 000; delay = random in [0, min(cap, base * 2^(attempt-1))] */
    unsigned backoff_cap_ms;  /* 0 = 60 000 */
    unsigned soft_limit_s;    /* heavy: then task_cancelled() turns true with reason "timeout"; 0 = 3600 */
    unsigned hard_limit_s;    /* heavy: then the process is killed; 0 = soft + 30 */
    int coalesce_ms;          /* heavy: shortest time between progress events; -1 = none, 0 = configured */
    /* FRESH: called once, in the parent from which all children of the type are forked. 0 or -1 (logged;
     * retried). */
    int (*preload)(const struct options *options);
    /* Runs the task. Ends by task_finish() or task_fail(); returning without one is a failure
     * "internal". Light: on a pool thread; heavy: in a slot process, alone. */
    void (*run)(struct task_ctx *ctx);
};

/* Makes these the types of the process (NULL-terminated; borrowed for its lifetime). Call once, in main(),
 * before there are threads. */
void task_types_use(const struct task_type *const *types);
/* Returns the type of that name, NULL if there is none. */
const struct task_type *task_type_find(const char *name);
/* Returns all types, NULL-ended. */
const struct task_type *const *task_type_all(void);

/* Returns what tasks of a heavy type may reach as configured: a sum of TASK_REACH_…. */
unsigned task_type_reach(const struct task_type *type, const struct options *options);

enum task_route { ROUTE_THREADS, ROUTE_QUEUE };
/* Applies the configured routes; in main(), too. False and *ret_reason (free()), which names the key:
 * there is no such type, or one that needs a process of its own was sent to threads. */
bool task_types_route(const struct options *options, char **ret_reason) MUSTCHECK;
/* Returns where tasks of the type run: as configured; by default light ones on threads, heavy ones by the
 * queue. */
enum task_route task_type_route(const struct task_type *type);
