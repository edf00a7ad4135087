/* Where tasks run, as configured. Filled once in main(), read by any thread. */
#pragma once

#include "tasks/model/task_type.h"

enum task_route { ROUTE_THREADS, ROUTE_QUEUE };

/* Takes the configured routes over. False and *ret_reason (free()), naming the key: no such type, or a type
 * that needs a process of its own was sent to threads. */
bool routes_use(const struct options *options, char **ret_reason) MUSTCHECK;
/* Where tasks of this type run; without a route light ones on threads, heavy ones by the queue. */
enum task_route route_of(const struct task_type *type);
