/* SPDX-License-Identifier: MIT */
/* A slot process: takes tasks from its worker over a socketpair, runs them one after the other, reports. It
 * holds that socket, stderr and nothing else: no Redis connection, no credentials. It is confined
 * (hub/base/confine.h) to a directory of its own, which is emptied after each task. Tasks run on its one
 * thread; another thread writes what was held back (writer.h). */
#pragma once

#include "tasks/model/task_type.h"

#include <stdint.h>

/* The limits of a type in seconds, with their defaults. */
static inline unsigned slot_soft_limit_s(const struct task_type *type)
{
    return type->soft_limit_s ? type->soft_limit_s : 3600;
}
static inline unsigned slot_hard_limit_s(const struct task_type *type)
{
    return type->hard_limit_s ? type->hard_limit_s : slot_soft_limit_s(type) + 30;
}

/* Runs a slot in a process just forked; call on its only thread. `socket` and `gate_fd` are the slot's ends,
 * `directory` (O_PATH) is its own, `reach` is what its tasks may reach (TASK_REACH_…). `only`: the FRESH type
 * of which it runs a single task; NULL = any number of ordinary tasks. Takes the descriptors; borrows the
 * rest. */
_Noreturn void slot_main(int socket, int gate_fd, int directory, unsigned reach, const struct task_type *only,
                         const struct options *options);
