/* What the two halves of the fuzzed hub share. */
#pragma once

#include "handlers/methods/methods.h"
#include "handlers/session/session.h"
#include "tasks/queue/usage.h"
#include "tasks/store/unlisted.h"
#include "tests/fuzz/fake_hub.h"

/* An answer that comes one turn after the question. */
struct later {
    struct list node;
    void (*run)(struct later *later);
    queue_answer_fn *answer;
    queue_done_fn *done;
    queue_audio_fn *audio;
    task_reply_fn *submitted;
    manager_internal_fn *internal;
    owners_join_fn *joined;
    void *ctx;
    uint64_t received;
    bool stream;
    char id[ID_SIZE];
};
struct later *later_new(void (*run)(struct later *later), void *ctx);
/* Everything that was asked before this call is answered. */
void later_run(void);
bool later_any(void);

/* The next number of the input's fate, below `below`. */
uint32_t fake_fate(uint32_t below);
