/* SPDX-License-Identifier: MIT */
/* Internals of the queue client, shared by its files. Loop thread only.
 *
 * Transitions that come in large numbers (submit, end, …) are staged as items of a batch. At
 * LOOP_STAGE_QUEUE each batch becomes one function call, in the order of enum stage; while one is under
 * way, later items gather. Everything else is an op: one call with its own callback, sent in the order of
 * creation. Ops do not wait for batches: whoever needs an item's effect waits for its answer. */
#pragma once

#include "hub/base/list.h"
#include "hub/base/turns.h"
#include "tasks/queue/event_text.h"
#include "tasks/queue/queue.h"
#include "tasks/queue/revocations.h"

#include <stdio.h>

/* ---- arguments ------------------------------------------------------------------------------------- */

struct words { /* the arguments of a call, concatenated */
    struct buf bytes;
    size_t *ends; /* where each word ends */
    size_t count, cap;
};
struct span words_at(const struct words *words, size_t i);
void words_add(struct words *words, struct span text); /* unchanged; absent = empty */
/* Removes this word and all after it. */
void words_cut(struct words *words, size_t from);
void words_text(struct words *words, const char *text);
void words_number(struct words *words, uint64_t number);
void words_signed(struct words *words, int64_t number);
/* Plain text as a JSON string, cut after max_bytes; absent = empty. The Lua functions store and forward
 * such texts unchanged. */
void words_quoted(struct words *words, struct span text, size_t max_bytes);
/* JSON text on one line. */
void words_json(struct words *words, struct span json);
/* A stage or an error code: at most 32 printable characters without quotes; others become '_'. */
void words_word(struct words *words, const char *text, size_t size);

#define KEY_BYTES 48
#define EFFECT_BYTES 16 /* the leading bytes, which name the effect */
/* An idempotency key as the Lua functions take it: its effect, the task it stands for, and a digest of
 * what was asked for (`what` and `args`, JSON text). */
void key_bytes(unsigned char key[static KEY_BYTES], const char *effect_id, const char *id, const char *what,
               struct span args);

/* The callback that gets the answer of an item or an op. */
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
    queue_revocations_fn *revocations;
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

struct report { /* what an attempt reported since the last call: the newest value of each member, and one line
                   per report */
    int percent;
    unsigned rev;
    char stage[WORD_SIZE];    /* "" = unchanged */
    struct buf message, meta; /* JSON, empty = unchanged */
    struct buf lines;
    struct buf numbers; /* percent and rev as text, while the call is made */
};

/* How the items of a stage become one call of a function. Described by the file that fills the stage. */
struct stage_call {
    enum stage stage;
    const char *function;
    /* Writes the numbers that the function takes before its items and returns how many; NULL = none. */
    unsigned (*numbers)(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX]);
    /* Answers every item that was not skipped; `answer` NULL = unavailable. */
    void (*done)(struct batch *batch, const redisReply *answer);
};
unsigned numbers_retention(const struct queue_config *config, uint64_t ret_numbers[static NUMBERS_MAX]);

struct item {
    union answer_fn fn;
    void *ctx;
    char id[ID_SIZE];
    unsigned fence;
    bool lease;             /* submit: leased in the same step */
    bool skipped;           /* report: moved into the item of the task's end */
    bool start;             /* report, end: the attempt starts */
    bool leads;             /* once: the first item of a run */
    char verbs[5];          /* report, end: third word of the item, after id and fence */
    struct report *report;  /* report, end: NULL = none */
    queue_done_fn *started; /* report, end: also gets the code of the start … */
    void *started_ctx;      /* … with this */
    struct event_text *end; /* once: the answer turns it into an event */
    size_t first_word, end_word;
    struct span last; /* audio: the last word, borrowed until answered */
};

#define BATCH_PLACES 512
struct batch {
    struct list node;
    struct queue *queue;
    const struct stage_call *call;
    struct words words;
    struct buf keys; /* idempotency keys of its items, sent as one word before them */
    struct item *items;
    size_t count, cap;
    size_t beside;         /* bytes of its items outside `words` */
    size_t runs, run_word; /* once: number of runs, first word of the newest; see submit.c */
    /* A hash table from id (STAGE_ONCE: from idempotency key) to 1 + index of the newest item; only for
     * stages that look items up. */
    uint16_t places[BATCH_PLACES];
};

/* Adds an item; words_*() calls on batch->words belong to it until item_done(). */
struct item *item_new(struct queue *queue, const struct stage_call *call, const char *id, union answer_fn fn,
                      void *ctx, struct batch **ret_batch);
void item_done(struct batch *batch);
/* The newest item of this id in the open batch, NULL if there is none or it was skipped. Only
 * STAGE_REPORT, STAGE_UPDATE and STAGE_END keep the index it needs. */
struct item *item_find(struct queue *queue, enum stage stage, const char *id);
/* Whether it holds more bytes than one call should carry. */
bool batch_is_large(const struct batch *batch);

/* Closes the stage's open batch, if there is one: later items go into a new one. */
void batch_seal(struct queue *queue, enum stage stage);

/* ---- ways --- */

/* The connections calls travel on. Batches gather per connection while one is under way. */
enum way {
    WAY_PLAIN,
    WAY_CONFIRMED, /* answers come once replicas have the write; see queue_confirm() */
    WAYS,
};

/* ---- ops ------------------------------------------------------------------------------------------ */

struct op {
    struct list node;
    struct queue *queue;
    const char *function; /* FUNCTION("name") */
    struct words words;
    /* `answer` NULL = unavailable. `done` NULL = nobody needs the answer. */
    void (*done)(struct op *op, const redisReply *answer);
    union answer_fn fn;
    void *ctx;
    void (*write)(struct buf *to, const redisReply *answer); /* writes the answer as JSON */
    size_t cost_word; /* index in the answer: rows looked at; 0 = none */
    struct turn turn; /* place in the queue of reads */
    size_t weighed;   /* final weight in rows; set by `done` */
    void *more;       /* whatever else `done` needs */
    /* Frees `more` when the op ends without `done`; NULL = nothing to free. */
    void (*drop)(struct op *op);
    enum way way;
};
/* The name of a function of the library. */
#define FUNCTION(name) "th2_" name /* the number is FORMAT in */
/* An op without words; it is sent at the end of the turn. `fn` and `ctx` are for `done`. */
struct op *op_new(struct queue *queue, const char *function, void (*done)(struct op *op, const redisReply *),
                  union answer_fn fn, void *ctx);
/* The newest op, if it calls this function, was not sent yet and has few words, so that more can be added
 * to it; else a new one without a callback, which its maker may set. */
struct op *op_gathers(struct queue *queue, const char *function);
/* Sends a new op only when it is this owner's turn; `weight`: rows it may look at. */
void op_in_turn(struct op *op, struct span owner, size_t weight);
/* Sends a new op by the confirmed connection: a client relies on Redis not forgetting what it is told. */
void op_confirmed(struct op *op);
void op_retention(struct op *op); /* adds the two retention words that lead some calls */

/* ---- the queue ------------------------------------------------------------------------------------ */

struct queue {
    struct loop *loop;
    struct redis *redis, *confirmed; /* the same connection where nothing is to be confirmed */
    struct queue_config config;
    struct queue_hooks hooks;
    char *origin;        /* "h:name" or "w:name" */
    char incarnation[9]; /* of this process: fences off an earlier one of the same name */
    char *holder;        /* "origin/incarnation": names the holder of a lease and its channel */
    struct batch *open[STAGES];
    struct list sealed[STAGES];  /* full ones, sent before the open one */
    struct batch *spare[STAGES]; /* a spent one, to be reused */
    const char **argv_words;     /* of the call being made */
    size_t *argv_lengths, argv_room;
    struct list ops;
    struct turns *reads;        /* NULL = reads are sent at once */
    struct buf json;            /* scratch buffer of the callbacks */
    enum way ways[STAGES];      /* the way each stage's batches travel */
    unsigned staged[WAYS];      /* items not sent yet */
    unsigned pending;           /* calls not answered yet */
    unsigned batches[WAYS];     /* the batches among them */
    enum redis_refusal refusal; /* of the answer being delivered */
    uint64_t writes;            /* the most that an answer told: calls that wrote to the data set */
    char server[24];            /* the Redis process that told it, and what `writes` was when that began */
    bool loading;               /* loading the library or claiming the name */
    uint64_t warned_ms;         /* last warning that the library cannot be loaded; 0 = never */
    struct load *waiting;       /* a load that waits until the name is free */
    bool closed;                /* freed by its owner; lives on until `pending` is 0 */
    struct queue_feed *feed;    /* NULL = none */
    /* Reads the owner's log after `after` and passes its events to the hook on_event: a call that failed
     * half-way logged them without telling anybody here. Set by the feed. */
    void (*tell_logged)(struct queue *queue, const char *owner, uint64_t after);
    /* Called with the new epoch after this process found that Redis has lost writes. Set by the feed. */
    void (*renewed)(struct queue *queue, const char *epoch);
    /* Called after origin and holder changed; `former`: the holder before. Set by the feed. */
    void (*renamed)(struct queue *queue, const char *former);
};

/* Builds `holder` from origin and incarnation. */
void queue_set_holder(struct queue *queue);
/* Checks whether another process has taken this one's name meanwhile, and reclaims it if not. */
void queue_claim_again(struct queue *queue);
/* Drops the waiting load, if there is one. */
void queue_drop_waiting(struct queue *queue);
/* Frees a queue whose owner has freed it, once nothing is under way. */
void queue_maybe_free(struct queue *queue);

/* ---- replies ---------------------------------------------------------------------------------------- */

/* Element i of an array as text (default ""), as number (default 0), as code (default QUEUE_UNAVAILABLE);
 * borrowed from the reply. `array` may be NULL. */
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
