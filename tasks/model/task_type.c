/* The table of task types, made from the lists in tasks/meson.build; see task_type.h. Immutable after
 * the first look-up; any thread. */
#include "tasks/model/task_type.h"

#include <pthread.h>

#define TASK_TYPE(name) extern const struct task_type task_type_##name;
#include "tasks/types.def"
#undef TASK_TYPE

static const struct task_type *const types[] = {
#define TASK_TYPE(name) &task_type_##name,
#include "tasks/types.def"
#undef TASK_TYPE
    NULL,
};

#define SLOTS 256 /* power of two, well above the number of types */
_Static_assert(NELEMS(types) < SLOTS / 2, "the table of task types is too full");

static const struct task_type *slots[SLOTS]; /* open addressing by hash of the name */
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static size_t slot_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return (hash ^ hash >> 16) % SLOTS;
}

static void fill(void)
{
    for (size_t i = 0; types[i]; i++) {
        size_t at = slot_of(types[i]->name);
        while (slots[at])
            at = (at + 1) % SLOTS;
        slots[at] = types[i];
    }
}

const struct task_type *task_type_find(const char *name)
{
    pthread_once(&filled, fill);
    size_t at = slot_of(name);
    while (slots[at] && strcmp(slots[at]->name, name) != 0)
        at = (at + 1) % SLOTS;
    return slots[at];
}

const struct task_type *const *task_type_all(void)
{
    return types;
}
