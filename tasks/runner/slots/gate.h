/* SPDX-License-Identifier: MIT */
/* Three words of memory that a worker's parent shares with one slot process. Tasks are sent ahead of a slot
 * so that it never waits for a round trip (one at a time costs 24 % more CPU at 50 × 8 without progress, 22 %
 * with ten steps, 77 % when a queue is drained; docs/architecture.md). The gate decides without a race
 * whether a task that waits in the socket begins or is taken back. It also carries two requests: that the
 * running task stops, and that the slot sends what it holds back (writer.h). One thread on each side, except
 * for that last request. The parent trusts nothing it reads here: a task may have overwritten it. */
#pragma once

#include "tasks/runner/engine.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct slot_gate {
    /* Tasks of a slot are numbered from 0. High half: one more than the number of the newest task that has
     * begun; low half: tasks below this number that have not begun were taken back. */
    _Atomic uint64_t order;
    _Atomic uint64_t stop;    /* number of the task to stop in the upper bits, the reason in the low 8 */
    _Atomic uint32_t hurries; /* how often slot_gate_hurry() was called */
};

/* Creates a zeroed gate; returns its descriptor (close-on-exec, the caller's), or -1 and errno. */
int slot_gate_create(void);
/* Maps a gate, to be released by slot_gate_unmap(); NULL and errno on failure. The descriptor stays the
 * caller's. */
struct slot_gate *slot_gate_map(int fd);
void slot_gate_unmap(struct slot_gate **gate);

/* Slot: begins task `seq`; false if it was taken back. */
bool slot_gate_begin(struct slot_gate *gate, uint32_t seq);
/* Parent: takes back every task below `end` that has not begun, and returns the number of the first one
 * taken back (`end` if there is none). */
uint32_t slot_gate_take_back(struct slot_gate *gate, uint32_t end);
/* One more than the number of the newest task that has begun; 0 = none has. */
uint32_t slot_gate_begun(const struct slot_gate *gate);

void slot_gate_stop(struct slot_gate *gate, uint32_t seq, enum run_stop reason);
enum run_stop slot_gate_stopped(const struct slot_gate *gate, uint32_t seq);

/* Parent: asks the slot to send what it holds back. */
void slot_gate_hurry(struct slot_gate *gate);
/* Slot: blocks until slot_gate_hurry() was called more than `seen` times; returns how often it was called. */
uint32_t slot_gate_await_hurry(struct slot_gate *gate, uint32_t seen);
