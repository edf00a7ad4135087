/* SPDX-License-Identifier: MIT */
/* The memory that a worker's parent shares with one slot process, three words. Tasks are sent ahead of a slot
 * so that it never waits for a round trip (one at a time costs 24 % more CPU at 50 × 8 without progress, 22 %
 * with ten steps, 77 % when a queue is drained; docs/architecture.md). The gate decides without a race
 * whether one that waits in the socket still begins or is taken back, and carries the wishes that the running
 * one stops and that what the slot holds back (writer.h) leaves. One thread on each side, but for that. The
 * parent trusts nothing it reads here: a slot may have gone wild. */
#pragma once

#include "tasks/runner/engine.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct slot_gate {
    /* Tasks of a slot are numbered from 0. High half: the number behind the newest task the slot began;
     * low half: tasks below this number that it has not begun were taken back. */
    _Atomic uint64_t order;
    _Atomic uint64_t stop;    /* number of the task to stop, and the reason in the low 8 bits */
    _Atomic uint32_t hurries; /* counts slot_gate_hurry() */
};

/* A descriptor (close-on-exec) of a new, zeroed gate; -1 and errno. */
int slot_gate_create(void);
/* Maps it; NULL and errno. The descriptor stays the caller's. */
struct slot_gate *slot_gate_map(int fd);
void slot_gate_unmap(struct slot_gate **gate);

/* Slot: begins task `seq`; false if it was taken back. */
bool slot_gate_begin(struct slot_gate *gate, uint32_t seq);
/* Parent: takes back every task below `end` that has not begun, and returns the number of the first one
 * taken back (`end` if there is none). */
uint32_t slot_gate_take_back(struct slot_gate *gate, uint32_t end);
/* The number behind the newest task that has begun. */
uint32_t slot_gate_begun(const struct slot_gate *gate);

void slot_gate_stop(struct slot_gate *gate, uint32_t seq, enum run_stop reason);
enum run_stop slot_gate_stopped(const struct slot_gate *gate, uint32_t seq);

/* Parent: what the slot holds back shall leave. */
void slot_gate_hurry(struct slot_gate *gate);
/* Slot: waits until that was said another time than those `seen`; returns how often it was said. */
uint32_t slot_gate_await_hurry(struct slot_gate *gate, uint32_t seen);
