/* SPDX-License-Identifier: MIT */
/* Events as text; see event_text.h and add_event() in tasks/queue/lua/20_owner.lua. Any thread; no state.
 * Never decides who gets an event. */
#include "tasks/queue/event_text.h"

#include "hub/json/json_write.h"

#include <endian.h>
#include <stdio.h>

#define TASK_MAX 64
#define HEAD_BYTES 512 /* the usual size of a params object without its texts */

static const struct {
    char code;
    bool running; /* the entry may name a stage */
    const char *status, *stage;
} states[] = {
    {'A', false, "pending", "queued"},    {'S', true, "processing", "started"},
    {'P', true, "processing", "started"}, {'p', true, "processing", "started"},
    {'F', true, "processing", "started"}, {'L', true, "processing", "started"},
    {'R', false, "pending", "retrying"},  {'C', false, "completed", "completed"},
    {'X', false, "failed", "failed"},     {'K', false, "cancelled", "cancelled"},
};

/* ---- texts of one line ---------------------------------------------------------------------------- */

void text_quoted(struct buf *to, struct span text, size_t max_bytes)
{
    if (text.n > max_bytes) {
        text.n = max_bytes;
        while (text.n > 0 && ((unsigned char)text.p[text.n] & 0xc0) == 0x80)
            text.n--; /* do not cut within a character */
    }
    if (text.p)
        buf_append_json(to, text);
}

void text_json(struct buf *to, struct span json)
{
    size_t from = to->len;
    if (json.n == 0)
        return;
    buf_append_span(to, json);
    /* Between JSON tokens only: strings hold these escaped. The feed separates its parts by newlines and
     * tabs. */
    for (char *p = to->data + from, *end = to->data + to->len; p < end; p++)
        if (*p == '\n' || *p == '\r' || *p == '\t')
            *p = ' ';
}

size_t text_word(char to[static WORD_SIZE], const char *text, size_t size)
{
    size_t n = size < WORD_SIZE - 1 ? size : WORD_SIZE - 1;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool plain = c > ' ' && c < 127 && c != '"' && c != '\\';
        to[i] = plain ? c : '_';
    }
    to[n] = '\0';
    return n;
}

/* ---- the params object ---------------------------------------------------------------------------- */

/* Adds a member whose text is a JSON string already (`quoted`) or plain. */
static void member_quoted(struct buf *to, const char *name, struct span text, bool quoted)
{
    if (quoted)
        json_member_raw(to, name, text, "\"\"");
    else
        json_member_text(to, name, text);
}

static void write_head(struct buf *to, const struct event_text *text)
{
    struct span status = SPAN(""), stage = text->stage;
    for (size_t i = 0; i < NELEMS(states); i++) {
        if (states[i].code == text->code) {
            status = span_of(states[i].status);
            if (!states[i].running || stage.n == 0)
                stage = span_of(states[i].stage);
        }
    }
    buf_append_char(to, '{');
    json_member_text(to, "task_id", text->id);
    json_member_text(to, "task", text->task);
    owner_json_member(to, "user_id", text->owner);
    json_member_text(to, "type", span_of(event_type_by_code(text->code)->name));
    json_member_text(to, "status", status);
    json_member_text(to, "stage", stage);
    json_member_int(to, "progress", text->progress);
}

static void write_outcome(struct buf *to, const struct event_text *text)
{
    if (text->omitted || text->result.n > RESULT_INLINE_MAX)
        json_member_bool(to, "result_omitted", true);
    else if (text->result.p)
        json_member_raw(to, "result", text->result, "{}");
    if (text->error_code.p == NULL)
        return;
    json_member(to, "error");
    buf_append_char(to, '{');
    json_member_text(to, "code", text->error_code);
    member_quoted(to, "message", text->error, text->quoted);
    buf_append_char(to, '}');
}

/* ---- marks ---------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* Eight bytes as a number, the same one on every machine; zeros beyond the end. */
static uint64_t word_at(struct span text, size_t at)
{
    uint64_t value = 0;
    size_t left = text.n - at;
    memcpy(&value, text.p + at, left < sizeof value ? left : sizeof value);
    return le64toh(value);
}

uint16_t event_text_mark(const struct event_text *text)
{
    uint64_t hash = mix((unsigned char)text->code | (uint64_t)text->attempt << 8, (uint64_t)text->at_ms);
    for (size_t at = 0; text->code != 'N' && at < text->id.n; at += 8)
        hash = mix(hash, word_at(text->id, at));
    uint16_t mark = (uint16_t)(hash >> 48);
    return mark ? mark : 1;
}

static void write_mark(char to[static MARK_DIGITS], uint16_t mark)
{
    for (size_t i = 0; i < MARK_DIGITS; i++)
        to[i] = "0123456789abcdef"[mark >> 4 * (MARK_DIGITS - 1 - i) & 15];
}

void event_mark_member(struct buf *to, uint16_t mark)
{
    char member[] = ",\"mark\":\"0000\"";
    write_mark(member + sizeof member - 2 - MARK_DIGITS, mark);
    if (mark)
        buf_append(to, member, sizeof member - 1);
}

uint16_t event_mark_read(struct span digits)
{
    unsigned mark = 0;
    for (size_t i = 0; i < digits.n && digits.n == MARK_DIGITS; i++) {
        const char *digit = memchr("0123456789abcdef", digits.p[i], 16);
        if (digit == NULL)
            return 0;
        mark = mark << 4 | (unsigned)(digit - "0123456789abcdef");
    }
    return (uint16_t)mark;
}

static void write_params(struct buf *to, const struct event_text *text, uint16_t mark)
{
    write_head(to, text);
    if (text->message.p)
        member_quoted(to, "message", text->message, text->quoted);
    if (text->meta.p)
        json_member_raw(to, "meta", text->meta, "{}");
    json_member_int(to, "attempt", text->attempt);
    write_outcome(to, text);
    json_member_time(to, "at", text->at_ms);
    event_mark_member(to, mark);
    buf_append_char(to, '}');
}

struct event *event_text_build(const struct event_text *text, uint64_t seq, uint64_t rev)
{
    struct buf body = BUF_INIT;
    struct event *event;
    uint16_t mark = seq ? event_text_mark(text) : 0;
    event_begin(&body, HEAD_BYTES + text->message.n + text->meta.n + text->result.n + text->error.n);
    if (text->code == 'N') { /* a whole object, without its brace */
        buf_append_span(&body, (struct span){text->meta.p, text->meta.n - 1});
        event_mark_member(&body, mark);
        buf_append_char(&body, '}');
        event = event_end(&body, 'N', seq, 0, 0, SPAN(""));
    } else {
        write_params(&body, text, mark);
        event = event_end(&body, text->code, seq, rev, text->attempt, text->id);
    }
    event->mark = mark;
    return event;
}

/* ---- lines of this process ------------------------------------------------------------------------ */

static void add_number(struct buf *to, uint64_t number, char end)
{
    buf_append_u64(to, number);
    buf_append_char(to, end);
}

/* Avoids printf(), which is slow once a library registers conversions of its own. */
void event_text_line(struct buf *lines, const struct event_text *text, uint64_t rev)
{
    bool first = lines->len == 0;
    buf_append_text(lines, first ? "=0 " : "\n~");
    add_number(lines, rev, ' ');
    buf_append_char(lines, text->code);
    buf_append_char(lines, ' ');
    if (first) {
        add_number(lines, text->attempt, ' ');
        buf_append_span(lines, text->id);
        buf_append_char(lines, ' ');
    }
    add_number(lines, (uint64_t)text->at_ms, ' ');
    buf_append_u64(lines, (uint64_t)text->progress);
    if (first)
        buf_append_char(lines, ' ');
    if (first)
        buf_append_span(lines, text->task);
    if (text->stage.n)
        buf_append_char(lines, ' ');
    buf_append_span(lines, text->stage);
    if (text->message.p)
        buf_append_text(lines, "\tm");
    buf_append_span(lines, text->message);
    if (text->meta.n)
        buf_append_text(lines, "\tt");
    text_json(lines, text->meta);
}

/* ---- words ---------------------------------------------------------------------------------------- */

static bool number(struct span *rest, uint64_t *ret)
{
    struct span word = span_cut(rest, ' ');
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

static bool word(struct span *rest, size_t max_bytes, struct span *ret)
{
    *ret = span_cut(rest, ' ');
    return ret->n <= max_bytes;
}

static bool time_and_progress(struct span *rest, struct event_text *ret)
{
    uint64_t at_ms, progress;
    if (!number(rest, &at_ms) || !number(rest, &progress))
        return false;
    ret->at_ms = (int64_t)at_ms;
    ret->progress = progress > 100 ? 100 : (int)progress;
    return true;
}

bool event_text_read(struct span entry, struct event_text *ret)
{
    uint64_t attempt;
    struct span code = span_cut(&entry, ' ');
    *ret = (struct event_text){.quoted = true};
    if (code.n != 1 || !number(&entry, &attempt) || !word(&entry, ID_SIZE - 1, &ret->id) ||
        !time_and_progress(&entry, ret) || !word(&entry, TASK_MAX, &ret->task) ||
        !word(&entry, WORD_SIZE - 1, &ret->stage) || event_type_by_code(code.p[0]) == NULL)
        return false;
    ret->code = code.p[0];
    ret->attempt = (unsigned)attempt;
    return ret->code == 'N' || id_valid(ret->id);
}

/* ---- lines of the feed ---------------------------------------------------------------------------- */

/* Stores a part, which is the letter behind a tab and its text. */
static void set_part(struct event_text *text, struct span part)
{
    const struct {
        char letter;
        struct span *to;
    } parts[] = {
        {'m', &text->message}, {'t', &text->meta},  {'b', &text->meta},
        {'r', &text->result},  {'e', &text->error}, {'c', &text->error_code},
    };
    for (size_t i = 0; part.n && i < NELEMS(parts); i++)
        if (parts[i].letter == part.p[0])
            *parts[i].to = (struct span){part.p + 1, part.n - 1};
    if (part.n && part.p[0] == 'o')
        text->omitted = true;
}

struct span event_lines_next(struct event_lines *lines)
{
    while (lines->rest.n) {
        struct span line = span_cut(&lines->rest, '\n');
        if (line.n == 0 || line.p[0] != '@')
            return line;
        lines->last.code = '\0';
        snprintf(lines->owner, sizeof lines->owner, "%.*s", (int)line.n - 1, line.p + 1);
    }
    return SPAN_NONE;
}

/* "seq rev entry" */
static bool full_head(struct event_text *last, struct span head, uint64_t *ret_seq, uint64_t *ret_rev)
{
    return number(&head, ret_seq) && number(&head, ret_rev) && event_text_read(head, last);
}

/* "rev code time progress[ stage]" */
static bool short_head(struct event_text *last, struct span head, uint64_t *ret_rev)
{
    if (last->code == '\0' || !number(&head, ret_rev))
        return false;
    struct span code = span_cut(&head, ' ');
    *last = (struct event_text){.quoted = true, .attempt = last->attempt, .id = last->id, .task = last->task};
    if (code.n != 1 || (code.p[0] != 'P' && code.p[0] != 'p') || !time_and_progress(&head, last) ||
        !word(&head, WORD_SIZE - 1, &last->stage))
        return false;
    last->code = code.p[0];
    return true;
}

struct event *event_lines_read(struct event_lines *lines, struct span line)
{
    uint64_t seq = 0, rev = 0;
    struct event_text *last = &lines->last;
    char kind = line.n ? line.p[0] : '\0';
    struct span rest = kind ? (struct span){line.p + 1, line.n - 1} : SPAN("");
    struct span head = span_cut(&rest, '\t');
    bool good = kind == '='   ? full_head(last, head, &seq, &rev)
                : kind == '~' ? short_head(last, head, &rev)
                              : false;
    if (!good || (event_type_by_code(last->code)->class != EVENT_LATEST) != (seq != 0)) {
        last->code = '\0';
        return NULL;
    }
    last->owner = span_of(lines->owner);
    while (rest.n)
        set_part(last, span_cut(&rest, '\t'));
    if (last->code == 'N' && (last->meta.n == 0 || last->meta.p[0] != '{'))
        return NULL;
    return event_text_build(last, seq, rev);
}

void event_lines_tell(struct span text, void (*fn)(void *ctx, const char *owner, struct event *event),
                      void *ctx)
{
    struct event_lines lines = {.rest = text};
    for (struct span line; fn && (line = event_lines_next(&lines)).p != NULL;) {
        struct event *event = event_lines_read(&lines, line);
        if (event)
            fn(ctx, lines.owner, event);
        event_unref(&event);
    }
}
