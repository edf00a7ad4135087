/* SPDX-License-Identifier: MIT */
/* The task types of this build, made from the lists in tasks/meson.build. Immutable. */
#include "tasks/types.h"

#define TASK_TYPE(name) extern const struct task_type task_type_##name;
#include "tasks/types.def"
#undef TASK_TYPE

const struct task_type *const builtin_task_types[] = {
#define TASK_TYPE(name) &task_type_##name,
#include "tasks/types.def"
#undef TASK_TYPE
    NULL,
};
