/* The inside of a slot process, shared by its two files: slot.c (the socket, the order of tasks) and
 * slot_ops.c (what a running task may do). One per process. */
#pragma once

#include "hub/base/list.h"
#include "tasks/model/ctx.h"
#include "tasks/runner/slots/slot.h"
#include "tasks/runner/slots/slot_page.h"
#include "tasks/runner/slots/slotproto.h"

#include <signal.h>

struct slot_work { /* one task that came through the socket */
    struct list node;
    uint32_t seq;
    bool quick;
    const struct task_type *type; /* NULL: unknown in this build */
    char *frame;                  /* the payload that the spans and texts below point into */
    char *id, *owner;
    struct span args;
    uint32_t attempt;
};

struct slot_child {
    int socket;
    struct slot_page *page;
    const struct options *options;
    const struct task_type *only;
    struct buf in, out;
    volatile sig_atomic_t silent; /* a task runs and `out` is left alone: the signal handler may write it */
    struct list works;            /* of struct slot_work, waiting */
    uint64_t flushed_us;

    /* the running task */
    struct slot_work *work;
    struct task_ctx ctx;
    struct slot_shown shown;
    uint64_t coalesce_ms, progress_ms; /* shortest distance; time of the newest one sent */
    uint32_t shown_version, sent_version, sent_meta;
    struct buf audio; /* bytes the parent pushed */
    size_t audio_at;  /* of them, read by the task */
    uint64_t audio_read, audio_told;
    bool audio_ended;
    uint32_t call; /* number of the newest question */
    bool answered;
    json_t *answer;

    struct db *db; /* opened on first use, kept */
};

extern const struct task_ctx_ops slot_ops;

/* Reads what the parent sent; waits at most timeout_ms for the first byte (-1 = as long as it takes).
 * Ends the process when the parent is gone. */
void slot_pump(struct slot_child *slot, int timeout_ms);
/* Writes everything staged; ends the process when the parent is gone. */
void slot_flush(struct slot_child *slot);
/* Called behind each report of the running task: writes at once, unless the task is a quick one. */
void slot_reported(struct slot_child *slot);
/* Sends the newest progress if it has not been sent. */
void slot_send_progress(struct slot_child *slot);
