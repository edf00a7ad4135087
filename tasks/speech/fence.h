/* SPDX-License-Identifier: MIT */
/* A fenced child: a program given by its argument vector, or a function of this program. It gets a clean
 * environment, pipes on stdin, stdout and stderr, limits on CPU, memory, files and wall time, no new
 * privileges, no inherited descriptor, an empty directory, and is confined (hub/base/confine.h). Closing
 * the fence kills it and, where process groups may be made, everything it started; in a slot, which may
 * not make any, that ends with the slot. One thread per object; the pipes never block. */
#pragma once

#include "hub/base/buf.h"

#include <stdbool.h>
#include <sys/types.h>

struct fence_spec {
    const char *const *argv; /* argv[0] is looked up in the fenced PATH; NULL-ended */
    void (*run)(void);       /* instead of a program: the child ends when it returns */
    size_t pipe_bytes;       /* capacity of each pipe; 0 = 256 KiB */
    int file;                /* the child gets it as descriptor 3; -1 = none */
    unsigned cpu_s, wall_s;
    size_t memory_bytes; /* address space; 0 = no limit */
    size_t file_bytes;   /* largest file it may write */
    bool command;        /* an operator's own: may reach what its user may, within the limits */
    const char *user;    /* user to run as if started by root; NULL or "" = nobody */
};

struct fence;

/* Splits a command at its blanks, without a shell, into a NULL-terminated argument vector that points into
 * it. */
#define FENCE_WORDS_MAX 64 /* the words beyond are left out */
void fence_words(char *command, const char *ret_argv[static FENCE_WORDS_MAX + 1]);
/* Starts the child. NULL and *ret_reason (free()) if that fails. A program that does not exist shows
 * later, as exit code 127. */
struct fence *fence_start(const struct fence_spec *spec, char **ret_reason);
/* As write(2) and read(2) on the child's stdin and stdout: −1 with EAGAIN when they would block. */
ssize_t fence_write(struct fence *fence, const void *bytes, size_t size);
ssize_t fence_read(struct fence *fence, void *to, size_t size);
/* Writes as much of `pending` as the child takes and removes it from there; drops all of it once the child
 * no longer reads: it has seen enough, or failed. Returns how many bytes it dropped. */
size_t fence_send(struct fence *fence, struct buf *pending);
/* Waits at most `ms` until the child has written something or can take input. */
void fence_wait(const struct fence *fence, int ms);
/* Bytes that were written and not read by the child. */
size_t fence_unread(const struct fence *fence);
/* Lets the child read the end of its input. */
void fence_close_input(struct fence *fence);
/* Looks after the child: reads its stderr, kills it past its deadline. True once it has ended. */
bool fence_ended(struct fence *fence);
/* The exit code, or 128 + signal. Call it only after the end. */
int fence_status(const struct fence *fence);
/* The last line the child wrote to stderr that holds none of `ignored` (NULL-ended, or NULL), made fit for
 * users: paths and control characters are taken out. "" if there is none. */
const char *fence_complaint(struct fence *fence, const char *const *ignored);
/* Whether what the child last wrote to stderr (4 KiB) holds this text. */
bool fence_said(const struct fence *fence, const char *text);
/* Kills the child if it still runs, reaps it and frees the rest; NULL is fine. */
void fence_close(struct fence **fence);
