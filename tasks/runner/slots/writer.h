/* SPDX-License-Identifier: MIT */
/* The socket of a slot process on its way out: what is written leaves at once, what is held back leaves with
 * it, or when the parent asks for it (slot_gate_hurry()), so that the ends of several quick tasks cost one
 * write. A thread of the writer's own hears the parent while a task runs; it exists from the first time that
 * something is held. Called by the slot's thread alone. Ends the process when the parent is gone. */
#pragma once

#include "hub/base/buf.h"
#include "tasks/runner/slots/gate.h"

#include <pthread.h>

struct slot_writer {
    int socket;
    struct slot_gate *gate;
    bool helped;          /* the thread is there */
    pthread_mutex_t lock; /* of what follows, and of writing */
    struct buf held;
    uint64_t held_us; /* since when */
};

void slot_writer_init(struct slot_writer *writer, int socket, struct slot_gate *gate);
/* Writes what is held, then `bytes`, and empties them. */
void slot_write(struct slot_writer *writer, struct buf *bytes);
/* Holds `bytes` back and empties them. False, and they are left to be written, if something has been held for
 * 1 ms by now, much is held, or there can be no thread. */
bool slot_hold(struct slot_writer *writer, struct buf *bytes, uint64_t now_us);
