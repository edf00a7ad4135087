/* The page of memory that a worker's parent shares with one slot process. It decides, without a round
 * trip and without a race, whether a task that waits in the slot's socket still starts or is taken back;
 * it carries the wish that a task stops, and the newest progress of the running task, so that neither
 * costs a system call. One thread on each side. The parent trusts nothing it reads here: a slot may have
 * gone wild. */
#pragma once

#include "hub/base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum slot_stop { /* why a running task shall stop */
                 STOP_NONE,
                 STOP_CANCEL,  /* its owner cancelled it */
                 STOP_TIMEOUT, /* over its soft limit */
                 STOP_LOST,    /* its lease went to somebody else */
                 STOP_DRAIN,   /* the worker ends */
};

#define SLOT_META_MAX 4096
struct slot_shown { /* the newest progress of the running task */
    uint32_t seq;   /* of which task */
    uint32_t percent;
    uint32_t meta_version; /* rises with each new meta object */
    uint32_t meta_size;
    char stage[33];
    char message[513];
    char meta[SLOT_META_MAX];
};

struct slot_page {
    /* Tasks of a slot are numbered from 0. High half: the number behind the newest task the slot began;
     * low half: tasks below this number that it has not begun were taken back. */
    _Atomic uint64_t gate;
    _Atomic uint64_t stop;        /* number of the task to stop, and the reason in the low 8 bits */
    _Atomic uint64_t reported_ms; /* clock_mono_ms() of the parent's newest progress report */
    _Atomic uint32_t version;     /* of `shown`: odd while it is written, 0 = never */
    struct slot_shown shown;
};

/* A descriptor (close-on-exec) of a new, zeroed page; -1 and errno. */
int slot_page_create(void);
/* Maps it; NULL and errno. The descriptor stays the caller's. */
struct slot_page *slot_page_map(int fd);
void slot_page_unmap(struct slot_page **page);

/* Slot: begins task `seq`; false if it was taken back. */
bool slot_page_begin(struct slot_page *page, uint32_t seq);
/* Parent: takes back every task below `end` that has not begun, and returns the number of the first one
 * taken back (`end` if there is none). */
uint32_t slot_page_take_back(struct slot_page *page, uint32_t end);
/* The number behind the newest task that has begun. */
uint32_t slot_page_begun(const struct slot_page *page);

void slot_page_stop(struct slot_page *page, uint32_t seq, enum slot_stop reason);
enum slot_stop slot_page_stopped(const struct slot_page *page, uint32_t seq);

/* Slot: writes the progress and returns its version (never 0). */
uint32_t slot_page_show(struct slot_page *page, const struct slot_shown *shown);
/* Parent: copies the newest progress and returns its version; 0 if there is none, it is being written, or
 * it is `known`. Texts are ended and the size of meta is bounded, whatever stands there. */
uint32_t slot_page_look(const struct slot_page *page, uint32_t known, struct slot_shown *ret);
