/* SPDX-License-Identifier: MIT */
/* The outgoing side of a slot's socket: writes go out at once; what is held back goes out with the next
 * write, or when the parent asks for it (slot_gate_hurry()), so that the ends of several quick tasks cost one
 * write. A second thread waits for the parent's request while a task runs; it is started when something is
 * held back for the first time. Functions are called by the slot's thread only. Ends the process if the
 * parent is gone. */
#pragma once

#include "hub/base/buf.h"
#include "tasks/runner/slots/gate.h"

#include <pthread.h>

struct slot_writer {
    int socket;
    struct slot_gate *gate;
    bool helped;          /* the second thread runs */
    pthread_mutex_t lock; /* guards the members below, and writes */
    struct buf held;
    uint64_t held_us; /* when `held` was last empty */
};

void slot_writer_init(struct slot_writer *writer, int socket, struct slot_gate *gate);
/* Writes what is held back, then `bytes`, and empties both. Blocks while the socket is full. */
void slot_write(struct slot_writer *writer, struct buf *bytes);
/* Holds `bytes` back and empties them. False, and `bytes` is unchanged, if something has been held for 1 ms
 * at now_us, much is held, or the thread cannot be started. */
bool slot_hold(struct slot_writer *writer, struct buf *bytes, uint64_t now_us);
