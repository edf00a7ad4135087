/* SPDX-License-Identifier: MIT */
/* impression.record and rating.submit: small writes of domain data. Loop thread; SQL runs on the pool. */
#include "handlers/methods/methods.h"
#include "handlers/methods/submit.h"
#include "handlers/rpc/reply.h"
#include "tasks/queue/usage.h"
#include "tasks/store/unlisted.h"

#include <stdio.h>

/* Decodes a word that fits into keys and records, printable ASCII; false and answered if it does not. */
static bool take_word(struct request *request, const char *field, struct span value, char *to, size_t size)
{
    char message[64];
    bool fits = json_string_copy(value, to, size);
    for (const char *p = to; fits && *p; p++)
        fits = *p > ' ' && *p <= '~';
    snprintf(message, sizeof message, "%s: must be printable ASCII without spaces", field);
    if (!fits)
        fail_param(request, field, message);
    return fits;
}

void run_impression_record(struct request *request, const struct span *values)
{
    char resource[129], kind[33];
    if (take_word(request, "resource_id", values[0], resource, sizeof resource) &&
        (values[1].p == NULL || take_word(request, "kind", values[1], kind, sizeof kind)))
        usage_impression(request->app->queue, resource, values[1].p ? kind : NULL, reply_done, request);
}

void run_rating_submit(struct request *request, const struct span *values)
{
    char resource[129];
    if (take_word(request, "resource_id", values[0], resource, sizeof resource))
        submit_internal(request, &store_rating_submit);
}
