/* SPDX-License-Identifier: MIT */
/* Inside of the queue client: what its files share. Loop thread only.
 *
 * Transitions that come in numbers (submit, end, …) are staged as items of a batch; a batch becomes one
 * function call at LOOP_STAGE_QUEUE, in the order of enum stage; while one is under way, later items gather.
 * Everything else is an op: one call with its own callback, in the order they came. Ops do not wait for
 * batches: whoever needs an item's effect waits for its answer. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/turns.h"
#include "tasks/queue/denials.h"
#include "tasks/queue/event_text.h"
#include "tasks/queue/queue.h"

#include <stdio.h>

/* ---- arguments ------------------------------------------------------------------------------------- */

struct words { /* the arguments of a call, one behind the other */
    struct buf bytes;
    size_t *ends; /* where each word ends */
    size_t count, cap;
};
struct span words_at(const struct words *words, size_t i);
void words_add(struct words *words, struct span text); /* as it is; absent = empty */
/* Takes back all words from this one on. */
void words_cut(struct words *words, size_t from);
void words_text(struct words *words, const char *text);
void words_number(struct words *words, uint64_t number);
void words_signed(struct words *words, int64_t number);
/* Plain text as a JSON string, absent = empty; cut after max_bytes. The functions keep and pass on such texts
 * as they are. */
void words_quoted(struct words *words, struct span text, size_t max_bytes);
/* JSON text on one line. */
void words_json(struct words *words, struct span json);
/* A stage or an error code: at most 32 printable characters without quotes; others become '_'. */
void words_word(struct words *words, const char *text, size_t size);

#define KEY_BYTES 48
#define EFFECT_BYTES 16 /* the first of them */
/* An idempotency key as the functions take it: its effect, the task it stands for, and a digest of what was
 * asked for
 * (`what`, with `args`, JSON text). */
void key_bytes(unsigned char key[static KEY_BYTES], const char *effect_id, const char *id, const char *what,
               struct span args);

/* Whom the answer of an item or an op is told. */
union answer_fn {
    queue_submitted_fn *submitted;
    queue_done_fn *done;
    queue_leased_fn *leased;
    queue_beat_fn *beat;
    queue_answer_fn *answer;
    queue_audio_fn *audio;
    queue_audio_data_fn *data;
    queue_probe_fn *probe;
    owner_position_fn *position;
    owner_replay_fn *replay;
    denials_fn *denials;
    void (*service)(void *ctx, struct span json); /* services.h */
};
#define NOBODY ((union answer_fn){.done = NULL})

/* ---- batches ------------------------------------------------------------------------------------- */

struct batch;
#define NUMBERS_MAX 5

enum stage {
    STAGE_SUBMIT,
    STAGE_ONCE,
    STAGE_REPORT, /* starts, progress, partials: one item per task */
    STAGE_UPDATE, /* final pieces and log lines */
    STAGE_END,
    STAGE_AUDIO,
    STAGES,
};

struct report { /* what an attempt reported since the last call: the newest of each, and a line for each */
    int percent;
    unsigned rev;
    char stage[WORD_SIZE];    /* "" = unchanged */
    struct buf message, meta; /* JSON, empty = unchanged */
    struct buf lines;
    struct buf numbers; /* their texts while the call is made */
};

/* What the items of a stage become: one call of a function. Each stage is described by the file that fills
 * it. */
struct stage_call {
    enum stage stage;
    const char *function;
    /* Numbers that the function wants before its items; NULL = none. Returns how many. */
    unsigned (*numbers)(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX]);
    /* Tells every item that was not skipped; `answer` NULL = unavailable. */
    void (*done)(struct batch *batch, const redisReply *answer);
};
unsigned numbers_retention(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX]);

struct item {
    union answer_fn fn;
    void *ctx;
    char id[ID_SIZE];
    unsigned fence;
    bool lease;             /* submit: leased at once */
    bool skipped;           /* report: goes with the task's end */
    bool start;             /* report, end: the attempt starts */
    bool leads;             /* once: the first one of a run */
    char verbs[5];          /* report, end: what the third word says, behind id and fence */
    struct report *report;  /* report, end: NULL = none */
    queue_done_fn *started; /* report, end: is told the code of the start, too … */
    void *started_ctx;      /* … with this */
    struct event_text *end; /* once: what the answer makes an event of */
    size_t first_word, end_word;
    struct span last; /* behind its words: borrowed until it is answered; audio */
};

#define BATCH_PLACES 512
struct batch {
    struct list node;
    struct queue *queue;
    const struct stage_call *call;
    struct words words;
    struct buf keys; /* idempotency keys of its items: one word before them */
    struct item *items;
    size_t count, cap;
    size_t beside;         /* bytes of its items that do not stand in the words */
    size_t runs, run_word; /* once: how many, and where the words of the newest begin; see submit.c */
    /* A hash table of ids: 1 + index of the newest item; of some stages only. Once: of keys: 1 + index. */
    uint16_t places[BATCH_PLACES];
};

/* The item that the following words_*() calls on batch->words belong to, until item_done(). */
struct item *item_new(struct queue *queue, const struct stage_call *call, const char *id, union answer_fn fn,
                      void *ctx, struct batch **ret_batch);
void item_done(struct batch *batch);
/* The newest item of this id in the open batch, NULL if there is none or it was skipped. Only STAGE_REPORT,
 * STAGE_UPDATE and STAGE_END can be searched. */
struct item *item_find(struct queue *queue, enum stage stage, const char *id);
/* Whether its bytes are more than a call should bring. */
bool batch_is_large(const struct batch *batch);

/* The open batch, if there is one, gets no more items. */
void batch_seal(struct queue *queue, enum stage stage);

/* ---- ways --- */

/* Connections that calls travel on; on each, batches gather while one is under way. */
enum way {
    WAY_PLAIN,
    WAY_CONFIRMED, /* what a client is told is told once replicas have it; see queue_confirm() */
    WAYS,
};

/* ---- ops ------------------------------------------------------------------------------------------ */

struct op {
    struct list node;
    struct queue *queue;
    const char *function; /* FUNCTION("name") */
    struct words words;
    /* `answer` NULL = unavailable. NULL = nobody wants to know. */
    void (*done)(struct op *op, const redisReply *answer);
    union answer_fn fn;
    void *ctx;
    void (*write)(struct buf *to, const redisReply *answer); /* the JSON of the answer */
    size_t cost_word;                                        /* of the answer: rows it looked at; 0 = none */
    struct turn turn;                                        /* of a read that waits for it */
    size_t weighed;                                          /* what it was in the end; set by `done` */
    void *more;                                              /* what `done` wants besides */
    /* Frees `more` when the op ends without `done`; NULL = nothing to free. */
    void (*drop)(struct op *op);
    enum way way;
};
/* The name of a function of the library. */
#define FUNCTION(name) "th1_" name /* the number is FORMAT's of tasks/queue/lua */
/* An op without words; it leaves at the end of the turn. `fn` and `ctx` are for `done`. */
struct op *op_new(struct queue *queue, const char *function, void (*done)(struct op *op, const redisReply *),
                  union answer_fn fn, void *ctx);
/* The op that was made last, if it calls this function, has not left and brings few words: more can be added
 * to it; else a new one, that nobody is told of unless its maker says so. */
struct op *op_gathers(struct queue *queue, const char *function);
/* A new one leaves when it is the turn of this owner; `weight`: rows it may look at. */
void op_in_turn(struct op *op, struct span owner, size_t weight);
/* A new one tells a client what Redis must not forget. */
void op_confirmed(struct op *op);
void op_retention(struct op *op); /* the two words that lead some calls */

/* ---- the queue ------------------------------------------------------------------------------------ */

struct queue {
    struct loop *loop;
    struct redis *redis, *confirmed; /* `confirmed` is `redis`, too, where nothing is to be confirmed */
    struct queue_config config;
    struct queue_hooks hooks;
    char *origin;        /* "h:name" or "w:name" */
    char incarnation[9]; /* of this process: an earlier one of the same name is fenced off */
    char *holder;        /* "origin/incarnation": what holds a lease, and listens */
    struct batch *open[STAGES];
    struct list sealed[STAGES];  /* full ones, before the open one */
    struct batch *spare[STAGES]; /* a spent one, to be used again */
    const char **argv_words;     /* of the call that is being made */
    size_t *argv_lengths, argv_room;
    struct list ops;
    struct turns *reads;        /* NULL = they leave at once */
    struct buf json;            /* scratch of the callbacks that make JSON */
    enum way ways[STAGES];      /* of batches */
    unsigned staged[WAYS];      /* items that wait for the end of a turn */
    unsigned pending;           /* calls without an answer */
    unsigned batches[WAYS];     /* of these, batches */
    enum redis_refusal refusal; /* of the answer that is being told */
    bool loading;               /* the library is being loaded, or the name taken */
    uint64_t warned_ms;         /* when it was said that it cannot be; 0 = never */
    struct load *waiting;       /* a load that waits to know whether the name is free */
    bool closed;                /* freed by its owner, waits for `pending` */
    struct queue_feed *feed;    /* NULL = none (any more) */
    /* Reads the owner's log behind `after` and tells its events by the hook on_event: a call that failed
     * half-way logged them, and nobody here was told. Set by the feed. */
    void (*tell_logged)(struct queue *queue, const char *owner, uint64_t after);
    /* Origin and holder are others now; `former`: the holder before. Set by the feed. */
    void (*renamed)(struct queue *queue, const char *former);
};

/* Writes `holder`, of origin and incarnation. */
void queue_set_holder(struct queue *queue);
/* The name of this process may be another's by now: finds out. */
void queue_claim_again(struct queue *queue);
/* Forgets the load that waits, if there is one. */
void queue_drop_waiting(struct queue *queue);
/* Frees one that its owner freed, once nothing is under way any more. */
void queue_maybe_free(struct queue *queue);

/* ---- replies ---------------------------------------------------------------------------------------- */

/* Element i of an array as text ("" if there is none), as number (0), as code (QUEUE_UNAVAILABLE); borrowed
 * from the reply. `array` may be NULL. */
const char *reply_text(const redisReply *array, size_t i);
struct span reply_span(const redisReply *array, size_t i);
int64_t reply_number(const redisReply *array, size_t i);
enum queue_code reply_code(const redisReply *array, size_t i);
/* Element i if it is an array, else NULL. */
const redisReply *reply_array(const redisReply *array, size_t i);
static inline size_t reply_count(const redisReply *array)
{
    return array && array->type == REDIS_REPLY_ARRAY ? array->elements : 0;
}
