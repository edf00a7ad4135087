/* notification.list and notification.read: the caller's notifications, from the domain database on a pool
 * thread. Loop thread. */
#include "handlers/methods/methods.h"
#include "handlers/methods/submit.h"
#include "handlers/rpc/reply.h"
#include "tasks/store/unlisted.h"

void run_notification_list(struct request *request, const struct span *values)
{
    struct buf args = BUF_INIT;
    buf_append_char(&args, '{');
    if (values[0].p) {
        buf_append_text(&args, "\"cursor\":");
        buf_append_span(&args, values[0]);
    }
    if (values[1].p) {
        buf_append_text(&args, values[0].p ? ",\"unread\":" : "\"unread\":");
        buf_append_span(&args, values[1]);
    }
    buf_append_char(&args, '}');
    submit_internal(request, &store_notification_list, buf_span(&args));
    buf_free(&args);
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
    struct buf args = BUF_INIT;
    buf_append_text(&args, "{\"ids\":");
    buf_append_span(&args, values[0]);
    buf_append_char(&args, '}');
    submit_internal(request, &store_notification_read, buf_span(&args));
    buf_free(&args);
}
