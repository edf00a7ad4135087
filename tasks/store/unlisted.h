/* SPDX-License-Identifier: MIT */
/* Light types that nobody may submit: requests that need SQL, for manager_run_internal(). They run on a
 * pool thread and leave no record and no event. Arguments and results are those of protocol.md. */
#pragma once

#include "tasks/model/task_type.h"

extern const struct task_type
    store_rating_submit; /* {"resource_id","stars","idempotency_key"?} -> {"ok":true,"duplicate"?} */
extern const struct task_type
    store_notification_list; /* {"cursor"?,"unread"?:bool} -> {"notifications","unread","next_cursor"?} */
extern const struct task_type store_notification_read; /* {"ids":[…],"idempotency_key"?} ->
                                                          {"notifications":[],"unread","duplicate"?} */
