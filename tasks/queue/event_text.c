/* Events as text; see event_text.h and add_event() in tasks/queue/lua/20_owner.lua. Any thread; no state. */
#include "tasks/queue/event_text.h"
#include "hub/base/clock.h"

#include <stdio.h>

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

static const struct {
    char code;
    bool running; /* its stage may stand in the entry */
    const char *status, *stage;
} states[] = {
    {'A', false, "pending", "queued"},    {'S', true, "processing", "started"},
    {'P', true, "processing", "started"}, {'p', true, "processing", "started"},
    {'F', true, "processing", "started"}, {'L', true, "processing", "started"},
    {'R', false, "pending", "retrying"},  {'C', false, "completed", "completed"},
    {'X', false, "failed", "failed"},     {'K', false, "cancelled", "cancelled"},
};

/* ---- words ------------------------------------------------------------------------------------------ */

/* Cuts off what stands before the next `end`, or all that is left. */
static struct span cut(struct span *rest, char end)
{
    const char *at = rest->n ? memchr(rest->p, end, rest->n) : NULL;
    struct span word = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
    size_t used = word.n + (at != NULL);
    *rest = (struct span){rest->p + used, rest->n - used};
    return word;
}

static bool number(struct span *rest, uint64_t *ret)
{
    struct span word = cut(rest, ' ');
    uint64_t value = 0;
    if (word.n == 0 || word.n > 18)
        return false;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(word.p[i] - '0');
    }
    *ret = value;
    return true;
}

static bool text(struct span *rest, char *to, size_t size)
{
    struct span word = cut(rest, ' ');
    if (word.n >= size)
        return false;
    memcpy(to, word.p, word.n);
    to[word.n] = '\0';
    return true;
}

/* ---- entries ---------------------------------------------------------------------------------------- */

bool queue_entry_parse(struct span rest, struct queue_entry *ret)
{
    uint64_t attempt, at_ms, progress;
    struct span code = cut(&rest, ' ');
    if (code.n != 1 || !number(&rest, &attempt) || !text(&rest, ret->id, sizeof ret->id) ||
        !number(&rest, &at_ms) || !number(&rest, &progress) || !text(&rest, ret->task, sizeof ret->task) ||
        !text(&rest, ret->stage, sizeof ret->stage))
        return false;
    ret->code = code.p[0];
    ret->attempt = (unsigned)attempt;
    ret->at_ms = (int64_t)at_ms;
    ret->progress = progress > 100 ? 100 : (int)progress;
    return event_type_by_code(ret->code) != NULL;
}

struct event_body queue_entry_body(const struct queue_entry *entry, const char *owner)
{
    struct event_body body = {.task_id = entry->id,
                              .task = entry->task,
                              .user_id = owner,
                              .type = event_type_by_code(entry->code)->name,
                              .progress = entry->progress,
                              .attempt = entry->attempt,
                              .at_ms = entry->at_ms};
    for (size_t i = 0; i < NELEMS(states); i++) {
        if (states[i].code == entry->code) {
            body.status = states[i].status;
            body.stage = states[i].running && entry->stage[0] ? entry->stage : states[i].stage;
        }
    }
    return body;
}

/* ---- lines ------------------------------------------------------------------------------------------ */

/* What stands behind a tab: a letter and its text. */
static void set_part(struct event_body *body, struct span part)
{
    const struct {
        char letter;
        struct span *to;
    } parts[] = {
        {'m', &body->message_json}, {'t', &body->meta},       {'r', &body->result},
        {'c', &body->error_code},   {'e', &body->error_json},
    };
    for (size_t i = 0; part.n && i < NELEMS(parts); i++)
        if (parts[i].letter == part.p[0])
            *parts[i].to = (struct span){part.p + 1, part.n - 1};
    if (part.n && part.p[0] == 'o')
        body->result_omitted = true;
}

struct span queue_lines_next(struct queue_lines *lines)
{
    lines->turned = false;
    while (lines->rest.n) {
        struct span line = cut(&lines->rest, '\n');
        if (line.n == 0 || line.p[0] != '@')
            return line;
        lines->turned = true;
        lines->last.code = '\0';
        snprintf(lines->owner, sizeof lines->owner, "%.*s", (int)line.n - 1, line.p + 1);
    }
    return SPAN_NONE;
}

/* "seq rev entry" */
static bool full_head(struct queue_lines *lines, struct span head, uint64_t *ret_seq, uint64_t *ret_rev)
{
    return number(&head, ret_seq) && number(&head, ret_rev) && queue_entry_parse(head, &lines->last) &&
           id_valid(span_of(lines->last.id));
}

/* "rev code time progress[ stage]" */
static bool short_head(struct queue_lines *lines, struct span head, uint64_t *ret_rev)
{
    struct queue_entry *entry = &lines->last;
    uint64_t at_ms, progress;
    if (entry->code == '\0' || !number(&head, ret_rev))
        return false;
    struct span code = cut(&head, ' ');
    if (code.n != 1 || (code.p[0] != 'P' && code.p[0] != 'p') || !number(&head, &at_ms) ||
        !number(&head, &progress) || !text(&head, entry->stage, sizeof entry->stage))
        return false;
    entry->code = code.p[0];
    entry->at_ms = (int64_t)at_ms;
    entry->progress = progress > 100 ? 100 : (int)progress;
    return true;
}

struct event *queue_line_event(struct queue_lines *lines, struct span line, struct buf *scratch)
{
    uint64_t seq = 0, rev = 0;
    struct queue_entry *entry = &lines->last;
    if (line.n == 0 || (line.p[0] != '=' && line.p[0] != '~'))
        return event_parse(line);
    struct span rest = {line.p + 1, line.n - 1};
    struct span head = cut(&rest, '\t');
    bool good = line.p[0] == '=' ? full_head(lines, head, &seq, &rev) : short_head(lines, head, &rev);
    if (!good || (event_type_by_code(entry->code)->class != EVENT_LATEST) != (seq != 0)) {
        entry->code = '\0';
        return NULL;
    }
    struct event_body body = queue_entry_body(entry, lines->owner);
    while (rest.n)
        set_part(&body, cut(&rest, '\t'));
    buf_clear(scratch);
    event_body_write(scratch, &body);
    return event_new(entry->code, seq, rev, entry->attempt, span_of(entry->id), buf_span(scratch));
}
