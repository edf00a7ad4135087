/* impression.record and rating.submit: small writes of domain data. Loop thread; SQL runs on the pool. */
#include "handlers/methods/methods.h"
#include "handlers/methods/submit.h"
#include "handlers/rpc/reply.h"
#include "tasks/queue/usage.h"
#include "tasks/store/unlisted.h"

/* Whether a word fits into keys and records: printable ASCII. */
static bool plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || (unsigned char)*text > '~')
            return false;
    return true;
}

void run_impression_record(struct request *request, const struct span *values)
{
    char resource[129], kind[33];
    if (!json_string_copy(values[0], resource, sizeof resource) || !plain(resource)) {
        fail_param(request, "resource_id", "resource_id: must be printable ASCII without spaces");
        return;
    }
    if (values[1].p && (!json_string_copy(values[1], kind, sizeof kind) || !plain(kind))) {
        fail_param(request, "kind", "kind: must be printable ASCII without spaces");
        return;
    }
    usage_impression(request_app(request)->queue, resource, values[1].p ? kind : NULL, reply_done, request);
}

void run_rating_submit(struct request *request, const struct span *values)
{
    char resource[129];
    struct buf args = BUF_INIT;
    if (!json_string_copy(values[0], resource, sizeof resource) || !plain(resource)) {
        fail_param(request, "resource_id", "resource_id: must be printable ASCII without spaces");
        return;
    }
    buf_append_text(&args, "{\"resource_id\":");
    buf_append_span(&args, values[0]);
    buf_append_text(&args, ",\"stars\":");
    buf_append_span(&args, values[1]);
    buf_append_char(&args, '}');
    submit_internal(request, &store_rating_submit, buf_span(&args));
    buf_free(&args);
}
