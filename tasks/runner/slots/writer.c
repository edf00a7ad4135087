/* SPDX-License-Identifier: MIT */
/* Writes to the socket of a slot process, at once or a little later; see writer.h. Runs on the slot's thread
 * and one of its own. */
#include "tasks/runner/slots/writer.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOLD_BYTES 16384
#define HOLD_US 1000

static void write_all(int socket, struct buf *bytes)
{
    size_t at = 0;
    while (at < bytes->len) {
        ssize_t n = send(socket, bytes->data + at, bytes->len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            _exit(0); /* without the exit handlers of the prefork parent */
        at += n > 0 ? (size_t)n : 0;
    }
    buf_clear(bytes);
}

static void *write_when_asked(void *ctx)
{
    struct slot_writer *writer = ctx;
    for (uint32_t seen = 0;;) {
        seen = slot_gate_await_hurry(writer->gate, seen);
        pthread_mutex_lock(&writer->lock);
        write_all(writer->socket, &writer->held);
        pthread_mutex_unlock(&writer->lock);
    }
    return NULL;
}

/* Blocks all signals in the new thread: they are for the slot's thread. */
static bool start_thread(struct slot_writer *writer)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, write_when_asked, writer) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

void slot_writer_init(struct slot_writer *writer, int socket, struct slot_gate *gate)
{
    *writer = (struct slot_writer){.socket = socket, .gate = gate, .lock = PTHREAD_MUTEX_INITIALIZER};
}

void slot_write(struct slot_writer *writer, struct buf *bytes)
{
    pthread_mutex_lock(&writer->lock);
    if (writer->held.len) {
        buf_append_span(&writer->held, buf_span(bytes));
        buf_clear(bytes);
        write_all(writer->socket, &writer->held);
    }
    write_all(writer->socket, bytes);
    pthread_mutex_unlock(&writer->lock);
}

bool slot_hold(struct slot_writer *writer, struct buf *bytes, uint64_t now_us)
{
    if (!writer->helped && !(writer->helped = start_thread(writer)))
        return false;
    pthread_mutex_lock(&writer->lock);
    if (writer->held.len == 0)
        writer->held_us = now_us;
    bool may = writer->held.len + bytes->len < HOLD_BYTES && now_us - writer->held_us < HOLD_US;
    if (may) {
        buf_append_span(&writer->held, buf_span(bytes));
        buf_clear(bytes);
    }
    pthread_mutex_unlock(&writer->lock);
    return may;
}
