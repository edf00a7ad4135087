/* SPDX-License-Identifier: MIT */
/* What a process that runs a task, or a program for one, may not do: one table of measures, each asked of the
 * kernel, none of them needed to go on. Landlock hides the files, seccomp the sockets, whatever changes
 * the system and the ways out of the process group, limits bound what it takes. A process confines itself,
 * for good, and all that it starts. */
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
    CONFINE_NETWORK, /* by confine_network() alone */
    CONFINE_MEASURES,
};

enum confine_reach { /* what lies outside */
                     CONFINE_ALONE,
                     CONFINE_NET,     /* the network; no sockets of this machine's programs */
                     CONFINE_COMMAND, /* an operator's command: all that its user may read and reach */
                     CONFINE_REACHES,
};

struct confine_need {
    enum confine_reach reach;
    int directory;         /* descriptor: may read, write and make what lies beneath; -1 = none */
    int file;              /* descriptor: may be opened again for reading; -1 = none */
    const char *readable;  /* path of a file it may read; NULL or "" = none */
    const char *user;      /* whom root becomes, by name or number; NULL or "" = nobody */
    unsigned cpu_s;        /* 0 = no limit, as below */
    uint64_t memory_bytes; /* address space */
    uint64_t file_bytes;   /* the largest file it may write; 0 = none, UINT64_MAX = no limit */
    unsigned files;        /* descriptors */
};

/* Makes an empty directory in `parent` (NULL = $TMPDIR, else /tmp) for a process that will confine itself,
 * and take it along when it changes its user. Returns its path (free(), directory_clear()), NULL and errno if
 * there is no room for it. */
char *confine_directory(const char *parent);
/* Builds what all later calls share, so that they cost less. Before the process has threads. */
void confine_prepare(void);
/* Moves the calling process, and all that it will start, into a network namespace of its own, in which there
 * is nothing; it must have one thread. False and errno where that is not permitted. Before confine(). */
bool confine_network(void);
/* Confines the calling process, which must have one thread. Its parent-death signal is gone when it changes
 * its user. Returns a bit per measure that is in force (1 << enum confine_measure). */
unsigned confine(const struct confine_need *need);

/* Returns a measure's name, what it means, and what it means to go without, for people. */
const char *confine_name(enum confine_measure measure);
const char *confine_meaning(enum confine_measure measure);
const char *confine_without(enum confine_measure measure);
/* Tries the measure in a child process. 0 if it is in force here, else an errno. Blocks for a moment. */
int confine_probe(enum confine_measure measure);
