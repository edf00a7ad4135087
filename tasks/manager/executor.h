/* Where tasks run: an executor is a const table of functions, found by the name routing gives. Adding
 * one is a file and a line in executor.c. Loop thread only. */
#pragma once

#include <stdbool.h>

struct manager;
struct task_submission; /* tasks/manager/submission.h: one accepted request on its way */

struct executor {
    const char *name; /* "threads", "queue" */
    /* Takes the submission over; it reports through submission_reply(). */
    void (*submit)(struct manager *manager, struct task_submission *submission);
};
/* By name; NULL if there is none in this build. */
const struct executor *executor_find(const char *name);
