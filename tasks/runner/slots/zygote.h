/* A zygote: a process that stands ready to become slot processes. It is started from the worker's own
 * program with a bare environment and gets the configuration without the address of Redis, so neither it
 * nor any process that comes from it has ever held a credential. There is one for ordinary slots and one
 * for each FRESH type, which ran the type's preload() once.
 *
 * A slot is forked twice: the process in between ends at once, so that the slot becomes the worker's own
 * child (the worker is the subreaper). Therefore the worker itself sees it end, may signal its process
 * group without fear that the number belongs to somebody else by now, and the slots outlive a zygote that
 * dies. The slot's parent-death signal then means the worker. Single-threaded. */
#pragma once

#include "tasks/runner/slots/child.h"

#include <sys/types.h>

#define ZYGOTE_WORD "zygote" /* the program's only argument when it shall be one */
#define ZYGOTE_SOCKET 3      /* its end of a SOCK_SEQPACKET pair */

/* Messages to a zygote: the first is ZYGOTE_BEGIN, then one ZYGOTE_FORK per slot, with two descriptors:
 * the slot's end of its socketpair and its shared page. */
enum zygote_message {
    ZYGOTE_BEGIN = 1, /* pid of the worker (u32), name of the FRESH type (span, or none), options (span) */
    ZYGOTE_FORK,      /* number of the request (u32) */
    /* back to the worker */
    ZYGOTE_READY,  /* preload() is done */
    ZYGOTE_FORKED, /* number of the request, pid (u32 each); pid 0 = it could not */
};
#define ZYGOTE_MESSAGE_MAX 65536

/* main() of a zygote; gives the exit code: 0 when the worker is gone. */
int zygote_main(void);
