/* What a worker's parent and its slot processes say to each other over a socketpair: frames of a fixed
 * header and fields behind it, in the byte order of the machine (both ends are one program). Knows the
 * bytes only: no sockets, no tasks. Any thread. A frame that is not as it must be is an error, and the
 * parent then ends that slot. */
#pragma once

#include "hub/base/buf.h"

#include <stdint.h>

enum slot_frame_type {
    /* to the slot */
    SLOT_HELLO = 1, /* the slot may begin: pid of the worker (u32) */
    SLOT_TASK,      /* struct slot_task */
    SLOT_WAKE,      /* look at the gate: the task shall stop */
    SLOT_AUDIO,     /* bytes of the task's stream */
    SLOT_AUDIO_END, /* the stream has ended */
    SLOT_ANSWER,    /* struct slot_answer */
    /* from the slot */
    SLOT_READY,    /* it waits for tasks */
    SLOT_STARTED,  /* the task runs */
    SLOT_PROGRESS, /* struct slot_progress */
    SLOT_PARTIAL,  /* meta object (span), a piece that may still change */
    SLOT_FINAL,    /* meta object (span), a final piece */
    SLOT_LOG,      /* text (span) */
    SLOT_CALL,     /* struct slot_call */
    SLOT_TAKEN,    /* bytes of the stream the task has read so far (u64) */
    SLOT_ENDED,    /* struct slot_ended */
};

struct slot_frame {
    enum slot_frame_type type;
    uint32_t seq;        /* the task's number in this slot, 0 where none is meant */
    struct span payload; /* into the bytes that were parsed */
};
#define SLOT_HEADER_SIZE 12

/* Takes the first frame of `in`: 1 and *ret with *ret_used bytes, 0 if more bytes are needed, -1 if this
 * is no frame or its payload is longer than `max`. */
int slot_frame_next(struct span in, size_t max, struct slot_frame *ret, size_t *ret_used) MUSTCHECK;

/* Appends a frame: begin, then the fields, then end with what begin returned. */
size_t slot_frame_begin(struct buf *to, enum slot_frame_type type, uint32_t seq);
void slot_frame_end(struct buf *to, size_t begun);
void slot_put_u32(struct buf *to, uint32_t value);
void slot_put_u64(struct buf *to, uint64_t value);
void slot_put_span(struct buf *to, struct span text); /* SPAN_NONE stays SPAN_NONE */
/* A whole frame of one span, of one number, of nothing. */
void slot_frame_span(struct buf *to, enum slot_frame_type type, uint32_t seq, struct span text);
void slot_frame_u64(struct buf *to, enum slot_frame_type type, uint32_t seq, uint64_t value);
void slot_frame_empty(struct buf *to, enum slot_frame_type type, uint32_t seq);

/* Takes fields out of a payload, in the order they were put. `bad` turns true when one is missing. */
struct slot_fields {
    struct span rest;
    bool bad;
};
uint32_t slot_get_u32(struct slot_fields *from);
uint64_t slot_get_u64(struct slot_fields *from);
struct span slot_get_span(struct slot_fields *from);
/* Whether every field was there and nothing is left over. */
bool slot_fields_end(const struct slot_fields *from);

struct slot_task {
    struct span id, owner, type, args; /* args: JSON object text */
    uint32_t attempt;
    bool quick; /* it usually ends within a millisecond or two: its reports may wait for its end */
};
void slot_put_task(struct buf *to, uint32_t seq, const struct slot_task *task);
bool slot_get_task(struct span payload, struct slot_task *ret) MUSTCHECK;

struct slot_progress {
    uint32_t percent;
    struct span stage, message; /* plain text; empty = not set yet */
    struct span meta;           /* JSON object, SPAN_NONE = unchanged */
};
void slot_put_progress(struct buf *to, uint32_t seq, const struct slot_progress *progress);
bool slot_get_progress(struct span payload, struct slot_progress *ret) MUSTCHECK;

struct slot_call {
    uint32_t call; /* number of the question */
    struct span service, args;
};
void slot_put_call(struct buf *to, uint32_t seq, const struct slot_call *call);
bool slot_get_call(struct span payload, struct slot_call *ret) MUSTCHECK;

struct slot_answer {
    uint32_t call;
    struct span json; /* SPAN_NONE = refused */
};
void slot_put_answer(struct buf *to, uint32_t seq, const struct slot_answer *answer);
bool slot_get_answer(struct span payload, struct slot_answer *ret) MUSTCHECK;

struct slot_ended {
    uint64_t took_us;
    bool failed, retry;
    struct span result;      /* JSON object, SPAN_NONE = {} */
    struct span code, error; /* failed */
};
void slot_put_ended(struct buf *to, uint32_t seq, const struct slot_ended *ended);
bool slot_get_ended(struct span payload, struct slot_ended *ret) MUSTCHECK;
