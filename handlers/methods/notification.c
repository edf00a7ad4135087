/* SPDX-License-Identifier: MIT */
/* notification.list and notification.read: the caller's notifications, from the domain database on a pool
 * thread. Loop thread. */
#include "handlers/methods/methods.h"
#include "handlers/methods/submit.h"
#include "handlers/rpc/reply.h"
#include "tasks/store/unlisted.h"

void run_notification_list(struct request *request, const struct span *values)
{
    (void)values;
    submit_internal(request, &store_notification_list);
}

void run_notification_read(struct request *request, const struct span *values)
{
    struct json_iter iter = json_walk(values[0]);
    struct span id;
    while (json_next_element(&iter, &id)) {
        if (json_kind_of(id) != KIND_STRING || id.n > 130) {
            fail_param(request, "ids", "ids: must be a list of notification ids");
            return;
        }
    }
    submit_internal(request, &store_notification_read);
}
