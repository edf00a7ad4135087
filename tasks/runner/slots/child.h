/* SPDX-License-Identifier: MIT */
/* A slot process: takes tasks from its worker over a socketpair, runs them one after the other, reports.
 * It holds that socket, stderr and nothing else: no Redis connection, no credentials;
 * it is confined (hub/base/confine.h) to a directory of its own, which is emptied behind each task.
 * Tasks run on its one thread; another one writes what was held back (writer.h). */
#pragma once

#include "tasks/model/task_type.h"

#include <stdint.h>

/* The limits of a type with its defaults. */
static inline unsigned slot_soft_limit_s(const struct task_type *type)
{
    return type->soft_limit_s ? type->soft_limit_s : 3600;
}
static inline unsigned slot_hard_limit_s(const struct task_type *type)
{
    return type->hard_limit_s ? type->hard_limit_s : slot_soft_limit_s(type) + 30;
}

/* The life of a slot, in a process just forked. `socket` and `gate_fd` are its ends, `directory` is its own
 * (O_PATH), `reach` what its tasks may reach (TASK_REACH_…); `only` = the one
 * FRESH type it runs a single task of, NULL = any number of ordinary tasks. */
_Noreturn void slot_main(int socket, int gate_fd, int directory, unsigned reach, const struct task_type *only,
                         const struct options *options);
