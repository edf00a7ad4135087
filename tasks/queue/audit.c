/* SPDX-License-Identifier: MIT */
/* The auditor; see audit.h. The rules stand in tasks/queue/lua/90_audit.lua. Loop thread only. */
#include "tasks/queue/audit.h"

#include "hub/json/json_write.h"
#include "tasks/queue/client_private.h"

#define FINDINGS_MAX 1000
#define PLACES_AT_ONCE "20000" /* the sets are compared in one call only while they hold no more */

struct audit {
    struct queue *queue;
    void (*fn)(void *ctx, bool clean, struct span report_json);
    void *ctx;
    struct buf findings; /* elements of a JSON array */
    unsigned count;
    struct buf mended;   /* likewise, what was repaired before the audit */
    uint64_t checked[3]; /* of each walk */
    size_t walk;         /* of walks[] */
};

static const char *const walks[] = {"t:", "o:", "b:"}; /* records, owners, bytes of owners */

static void on_slice(struct op *op, const redisReply *answer);
static void on_places(struct op *op, const redisReply *answer);

/* "rule id what" */
static void note(struct buf *to, struct span finding)
{
    struct span rule = span_cut(&finding, ' '), id = span_cut(&finding, ' ');
    buf_append_text(to, to->len ? ",{" : "{");
    json_member_text(to, "rule", rule);
    json_member_text(to, "id", id);
    json_member_text(to, "what", finding);
    buf_append_char(to, '}');
}

static void note_all(struct audit *audit, const redisReply *findings)
{
    for (size_t i = 0; i < reply_count(findings); i++)
        if (audit->count++ < FINDINGS_MAX)
            note(&audit->findings, reply_span(findings, i));
}

static void audit_free(struct audit *audit)
{
    buf_free(&audit->findings);
    buf_free(&audit->mended);
    free(audit);
}

static void report(struct audit *audit, const char *error)
{
    struct buf json CLEANUP(buf_free) = BUF_INIT;
    bool clean = audit->count == 0 && error == NULL;
    buf_printf(&json, "{\"clean\":%s,\"tasks\":%llu,\"owners\":%llu,\"findings\":[", clean ? "true" : "false",
               (unsigned long long)audit->checked[0], (unsigned long long)audit->checked[1]);
    buf_append_span(&json, buf_span(&audit->findings));
    buf_append_text(&json, "],\"mended\":[");
    buf_append_span(&json, buf_span(&audit->mended));
    buf_append_char(&json, ']');
    if (error)
        json_member_text(&json, "error", span_of(error));
    buf_append_char(&json, '}');
    audit->fn(audit->ctx, clean, buf_span(&json));
    audit_free(audit);
}

static void drop(struct op *op)
{
    audit_free(op->ctx);
}

static struct op *audit_op(struct audit *audit, const char *function,
                           void (*done)(struct op *op, const redisReply *answer))
{
    struct op *op = op_new(audit->queue, function, done, NOBODY, audit);
    op->drop = drop;
    return op;
}

static void next_slice(struct audit *audit, struct span cursor)
{
    struct op *op = audit_op(audit, FUNCTION("audit"), on_slice);
    words_text(&op->words, walks[audit->walk]);
    words_add(&op->words, cursor);
}

/* {next cursor, checked, findings} */
static void on_slice(struct op *op, const redisReply *answer)
{
    struct audit *audit = op->ctx;
    if (answer == NULL) {
        report(audit,
               audit->checked[0] || audit->walk
                   ? "Redis did not answer"
                   : "the queue's functions did not answer: no hub has used this Redis yet, or it was lost");
        return;
    }
    audit->checked[audit->walk] += (uint64_t)reply_number(answer, 1);
    note_all(audit, reply_array(answer, 2));
    if (!span_is(reply_span(answer, 0), "0")) {
        next_slice(audit, reply_span(answer, 0));
    } else if (++audit->walk < NELEMS(walks)) {
        next_slice(audit, SPAN("0"));
    } else {
        struct op *places = audit_op(audit, FUNCTION("audit_places"), on_places);
        words_text(&places->words, PLACES_AT_ONCE);
    }
}

/* {checked, findings} */
static void on_places(struct op *op, const redisReply *answer)
{
    note_all(op->ctx, reply_array(answer, 1));
    report(op->ctx, answer ? NULL : "Redis did not answer");
}

static void repair(struct audit *audit, struct span cursor);

/* {next cursor, what was mended} */
static void on_repaired(struct op *op, const redisReply *answer)
{
    struct audit *audit = op->ctx;
    const redisReply *mended = reply_array(answer, 1);
    if (answer == NULL) {
        report(audit, "the queue's functions did not answer, or Redis takes no writes");
        return;
    }
    for (size_t i = 0; i < reply_count(mended); i++)
        note(&audit->mended, reply_span(mended, i));
    if (span_is(reply_span(answer, 0), "0"))
        next_slice(audit, SPAN("0"));
    else
        repair(audit, reply_span(answer, 0));
}

static void repair(struct audit *audit, struct span cursor)
{
    struct op *op = audit_op(audit, FUNCTION("repair"), on_repaired);
    op_retention(op);
    words_add(&op->words, cursor);
}

void audit_run(struct queue *queue, bool repairs, void (*fn)(void *ctx, bool clean, struct span report_json),
               void *ctx)
{
    struct audit *audit = xcalloc(1, sizeof *audit);
    audit->queue = queue;
    audit->fn = fn;
    audit->ctx = ctx;
    if (repairs)
        repair(audit, SPAN("0"));
    else
        next_slice(audit, SPAN("0"));
}
