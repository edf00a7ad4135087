/* The table of executors; see executor.h. Loop thread; no state. */
#include "tasks/manager/executor.h"

#include "tasks/manager/submission.h"

static const struct executor *const executors[] = {&executor_threads, &executor_queue};

const struct executor *executor_find(const char *name)
{
    for (size_t i = 0; i < NELEMS(executors); i++)
        if (strcmp(executors[i]->name, name) == 0)
            return executors[i];
    return NULL;
}
