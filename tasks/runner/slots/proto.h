/* SPDX-License-Identifier: MIT */
/* Frames between a worker's parent and its slot processes over a socketpair: a fixed header, then as many
 * numbers and texts as the type has, in the byte order of the machine (both ends are one program). Only
 * encodes and decodes: no sockets, no tasks. Any thread. A malformed frame is an error, and the parent then
 * ends that slot. */
#pragma once

#include "hub/base/buf.h"

#include <stdint.h>

enum slot_frame_type {
    /* to the slot */
    SLOT_HELLO = 1, /* the slot may begin; number: pid of the worker */
    SLOT_TASK,      /* TASK_… */
    SLOT_WAKE,      /* look at the gate: the task is to stop */
    SLOT_AUDIO,     /* bytes of the task's stream */
    SLOT_AUDIO_END, /* the stream has ended */
    SLOT_ANSWER,    /* number of the call; JSON, SPAN_NONE = refused */
    /* from the slot */
    SLOT_READY,    /* the slot waits for tasks */
    SLOT_STARTED,  /* the task runs; a quick one leaves this out, since its next frame implies it */
    SLOT_PROGRESS, /* PROGRESS_… */
    SLOT_PARTIAL,  /* meta object, a piece that may still change */
    SLOT_FINAL,    /* meta object, a final piece */
    SLOT_LOG,      /* text */
    SLOT_CALL,     /* number of the call; CALL_… */
    SLOT_TAKEN,    /* bytes of the stream that the task has read so far */
    SLOT_ENDED,    /* ENDED_… */
};
/* Indices of the numbers and texts of the types that have several. */
enum { TASK_ATTEMPT, TASK_QUICK /* it usually ends within 2 ms: its reports may wait for its end */ };
enum { TASK_ID, TASK_EFFECT, TASK_OWNER, TASK_TYPE, TASK_ARGS };
enum { PROGRESS_PERCENT };
enum {
    PROGRESS_STAGE,
    PROGRESS_MESSAGE /* empty = not set yet */,
    PROGRESS_META /* SPAN_NONE = unchanged */
};
enum { CALL_SERVICE, CALL_ARGS };
enum { ENDED_TOOK_US, ENDED_FAILED, ENDED_RETRY };
enum { ENDED_RESULT /* SPAN_NONE = {} */, ENDED_CODE, ENDED_ERROR };

#define SLOT_NUMBERS 3
#define SLOT_TEXTS 5
#define SLOT_HEADER_SIZE 12
struct slot_frame {
    enum slot_frame_type type;
    uint32_t seq; /* the task's number in this slot, 0 if the frame concerns no task */
    uint64_t number[SLOT_NUMBERS];
    /* In a parsed frame these point into its bytes, each followed by a NUL. SPAN_NONE stays SPAN_NONE. */
    struct span text[SLOT_TEXTS];
};

/* Appends a frame, with only the numbers and texts of its type. */
void slot_put(struct buf *to, const struct slot_frame *frame);
#define SLOT_PUT(to, ...) slot_put(to, &(struct slot_frame){__VA_ARGS__})

/* Parses the first frame of `in`: 1, *ret (borrows `in`) and its size in *ret_used; 0 if more bytes are
 * needed; -1 if it is malformed or has more than `max` bytes after its header. */
int slot_next(struct span in, size_t max, struct slot_frame *ret, size_t *ret_used) MUSTCHECK;
