/* SPDX-License-Identifier: MIT */
/* Confines a process that runs a task, or a program for one: a table of measures that the kernel enforces,
 * none of them required. Landlock closes files; seccomp closes sockets, calls that change the system and the
 * ways out of the process group; limits bound resources. A process confines itself and all that it starts,
 * for good. */
#pragma once

#include "hub/base/mem.h"

#include <stdbool.h>
#include <stdint.h>

enum confine_measure {
    CONFINE_LIMITS,
    CONFINE_FILES,
    CONFINE_USER,
    CONFINE_PRIVILEGES,
    CONFINE_CALLS,
    CONFINE_NETWORK, /* applied by confine_network(), not by confine() */
    CONFINE_MEASURES,
};

enum confine_reach { /* what a confined process may reach */
                     CONFINE_ALONE,
                     CONFINE_NET,     /* the network, but no unix sockets of this machine */
                     CONFINE_COMMAND, /* an operator's command: all that its user may read and reach */
                     CONFINE_REACHES,
};

struct confine_need {
    enum confine_reach reach;
    int directory;         /* descriptor of a directory it may read and write in; -1 = none */
    int file;              /* descriptor of a file it may open again for reading; -1 = none */
    const char *readable;  /* path of a file it may read; NULL or "" = none */
    const char *user;      /* the user that root becomes, by name or number; NULL or "" = nobody */
    unsigned cpu_s;        /* CPU seconds; 0 = no limit, also below */
    uint64_t memory_bytes; /* address space in bytes */
    uint64_t file_bytes;   /* largest file it may write; 0 = it may write none, UINT64_MAX = no limit */
    unsigned files;        /* open descriptors */
};

/* Makes an empty directory in `parent` (NULL = $TMPDIR, else /tmp) for a process that will confine itself and
 * then own the directory even after changing its user. Returns its path (free(), directory_clear()), or NULL
 * and errno. */
char *confine_directory(const char *parent);
/* Builds the system call filters once, so that later calls cost less. Call before the process has threads. */
void confine_prepare(void);
/* Moves the calling process, and all that it will start, into an empty network namespace of its own. The
 * process must have one thread. False and errno if that is not permitted. Call before confine(). */
bool confine_network(void);
/* Confines the calling process, which must have one thread. Changing the user resets its parent-death signal.
 * Returns a bit per measure that is in force (1 << enum confine_measure). */
unsigned confine(const struct confine_need *need);

/* Return a measure's name, what it does, and what its absence allows; English, static text. */
const char *confine_name(enum confine_measure measure);
const char *confine_meaning(enum confine_measure measure);
const char *confine_without(enum confine_measure measure);
/* Tries the measure in a child process. Returns 0 if it works here, else an errno. Blocks for a moment. */
int confine_probe(enum confine_measure measure);
