/* SPDX-License-Identifier: MIT */
/* Every task type that is compiled in, NULL-ended: for task_types_use(). Immutable. */
#pragma once

#include "tasks/model/task_type.h"

extern const struct task_type *const builtin_task_types[];
