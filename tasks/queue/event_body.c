/* The params object of a task.event; see event_body.h. Any thread. */
#include "tasks/queue/event_body.h"

#include "hub/base/clock.h"

static void member_text(struct buf *to, const char *name, struct span text)
{
    buf_append_text(to, name);
    buf_append_json(to, text);
}

static void member_json(struct buf *to, const char *name, struct span json)
{
    buf_append_text(to, name);
    buf_append_span(to, json);
}

static void member_number(struct buf *to, const char *name, int64_t number)
{
    buf_append_text(to, name);
    buf_append_i64(to, number);
}

static void write_error(struct buf *to, const struct event_body *body)
{
    member_text(to, ",\"error\":{\"code\":", body->error_code);
    if (body->error_json.n)
        member_json(to, ",\"message\":", body->error_json);
    else
        member_text(to, ",\"message\":", body->error.p ? body->error : SPAN(""));
    buf_append_char(to, '}');
}

void event_body_write(struct buf *to, const struct event_body *body)
{
    const struct {
        const char *name, *text;
    } words[] = {
        {"{\"task_id\":", body->task_id}, {",\"task\":", body->task},     {",\"user_id\":", body->user_id},
        {",\"type\":", body->type},       {",\"status\":", body->status}, {",\"stage\":", body->stage},
    };
    for (size_t i = 0; i < NELEMS(words); i++)
        if (words[i].text)
            member_text(to, words[i].name, span_of(words[i].text));
    member_number(to, ",\"progress\":", body->progress);
    if (body->message_json.n)
        member_json(to, ",\"message\":", body->message_json);
    else if (body->message.p)
        member_text(to, ",\"message\":", body->message);
    if (body->meta.p)
        member_json(to, ",\"meta\":", body->meta);
    member_number(to, ",\"attempt\":", (int64_t)body->attempt);
    if (body->result_omitted || body->result.n > RESULT_INLINE_MAX)
        buf_append_text(to, ",\"result_omitted\":true");
    else if (body->result.p)
        member_json(to, ",\"result\":", body->result);
    if (body->error_code.p)
        write_error(to, body);
    char at[CLOCK_TEXT_SIZE];
    clock_format(body->at_ms, at);
    buf_append_text(to, ",\"at\":\"");
    buf_append(to, at, CLOCK_TEXT_SIZE - 1);
    buf_append_text(to, "\"}");
}
