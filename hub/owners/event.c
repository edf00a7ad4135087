/* Events: the table of types, counted references, the feed's line format; see event.h. Loop thread
 * only (the worker builds none). Never looks into a body. */
#include "hub/owners/event.h"

static const struct event_type types[] = {
    {'A', "accepted", EVENT_MUST, false},     {'S', "started", EVENT_BOUNDED, false},
    {'P', "progress", EVENT_LATEST, false},   {'p', "partial", EVENT_LATEST, false},
    {'F', "partial", EVENT_MUST, false},      {'R', "retrying", EVENT_BOUNDED, false},
    {'L', "log", EVENT_BOUNDED, false},       {'C', "completed", EVENT_MUST, true},
    {'X', "failed", EVENT_MUST, true},        {'K', "cancelled", EVENT_MUST, true},
    {'N', "notification", EVENT_MUST, false},
};

const struct event_type *event_type_by_code(char code)
{
    for (size_t i = 0; i < NELEMS(types); i++)
        if (types[i].code == code)
            return &types[i];
    return NULL;
}

struct event *event_new(char code, uint64_t seq, uint64_t rev, uint64_t attempt, struct span task_id,
                        struct span body)
{
    const struct event_type *type = event_type_by_code(code);
    if (type == NULL || task_id.n >= ID_SIZE)
        abort(); /* the caller's mistake: event_parse() checks what comes from outside */
    struct event *event = xmalloc(sizeof *event + body.n);
    *event = (struct event){.refs = 1, .type = type, .seq = seq, .rev = rev, .attempt = attempt};
    event->size = body.n;
    if (task_id.n)
        memcpy(event->task_id, task_id.p, task_id.n);
    if (body.n)
        memcpy(event->body, body.p, body.n);
    return event;
}

struct event *event_ref(struct event *event)
{
    event->refs++;
    return event;
}

void event_unref(struct event **event)
{
    if (*event && --(*event)->refs == 0)
        free(*event);
    *event = NULL;
}

/* Takes the next word up to a space off `rest`; false if no space follows. */
static bool next_word(struct span *rest, struct span *ret_word)
{
    const char *space = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
    if (space == NULL || space == rest->p)
        return false;
    *ret_word = (struct span){rest->p, (size_t)(space - rest->p)};
    rest->n -= ret_word->n + 1;
    rest->p = space + 1;
    return true;
}

static bool next_number(struct span *rest, uint64_t *ret)
{
    struct span word;
    if (!next_word(rest, &word) || word.n > 19)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(word.p[i] - '0');
    }
    *ret = value;
    return true;
}

struct event *event_parse(struct span line)
{
    struct span rest = line, code, id;
    uint64_t seq, rev, attempt;
    if (!next_word(&rest, &code) || code.n != 1 || !next_number(&rest, &seq) || !next_number(&rest, &rev) ||
        !next_number(&rest, &attempt) || !next_word(&rest, &id))
        return NULL;
    const struct event_type *type = event_type_by_code(code.p[0]);
    if (type == NULL || (type->class != EVENT_LATEST) != (seq != 0))
        return NULL;
    if (span_is(id, "-"))
        id = SPAN_NONE;
    else if (!id_valid(id))
        return NULL;
    if (rest.n < 3 || rest.p[0] != '{' || rest.p[rest.n - 1] != '}')
        return NULL;
    return event_new(code.p[0], seq, rev, attempt, id, rest);
}
