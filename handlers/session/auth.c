/* SPDX-License-Identifier: MIT */
/* auth and auth.refresh: joining the owner's events, resume, and the snapshot after a gap. Loop thread.
 * Never verifies a token: token_turns.c does. */
#include "handlers/rpc/reply.h"
#include "handlers/rpc/rpc.h"
#include "handlers/session/snapshots.h"
#include "handlers/session/token_turns.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/options.h"
#include "hub/json/json_write.h"
#include "tasks/queue/event_text.h"
#include "tasks/queue/usage.h"
#include "tasks/store/unlisted.h"

#define FAILURES_MAX 5    /* refused refreshes before the connection closes */
#define CLOSE_LIMITS 4429 /* too many connections of this user */
#define CLOSE_LATER 1013  /* RFC 6455's registry: try again later */

/* ---- refusals ---- */

static void refuse_token(struct session *session, struct request *request, const char *reason)
{
    if (request)
        request_fail(request, &(struct request_error){.code = RPC_UNAUTHENTICATED, .message = reason});
    conn_close(session->conn, CLOSE_AUTH, request ? "authentication failed" : reason);
    session_become(session, SESSION_CLOSING);
}

static void end_bearer(struct bearer *bearer, const char *reason)
{
    struct session *session = container_of(bearer, struct session, bearer);
    metric_add(METRIC_CLOSED_REVOKED, 1);
    conn_close(session->conn, CLOSE_AUTH, reason);
}

/* Registers the session as the bearer of its connection's current token. */
static void register_bearer(struct session *session)
{
    session->bearer.who = conn_who(session->conn);
    session->bearer.end = end_bearer;
    bearers_add(session->answerer.app->bearers, &session->bearer);
}

/* Gives the connection its principal (moved); false and answered if the user has too many connections. */
static bool set_principal(struct session *session, struct request *request, struct principal *who)
{
    session->answerer.member = conn_set_who(session->conn, who);
    session->answerer.who = conn_who(session->conn);
    if (session->answerer.member) {
        register_bearer(session);
        return true;
    }
    principal_clear(who);
    if (request)
        request_fail(request, &(struct request_error){.code = RPC_USER_LIMIT,
                                                      .word = "connections",
                                                      .message = "Too many connections of this user"});
    conn_close(session->conn, CLOSE_LIMITS, "too many connections");
    session_become(session, SESSION_CLOSING);
    return false;
}

/* Replaces the principal (moved) by that of a newer token of the same user. */
static void refresh(struct session *session, struct principal *who)
{
    bearers_leave(session->answerer.app->bearers, &session->bearer);
    conn_refresh_who(session->conn, who);
    register_bearer(session);
}

/* ---- joining ---- */

struct entry { /* an auth, from reading the log's position to the answer, or to the snapshot that comes behind
                */
    struct session *session; /* NULL: closed or answered: later callbacks are ignored */
    struct app *app;
    struct request *request; /* NULL: answered */
    bool implied;            /* no client sent the request */
    bool reading;            /* the snapshot is being read: a callback will come */
    struct snapshot_turn turn;
    struct owner_position at;
    struct buf snapshot;
};

static void entry_end(struct entry *entry)
{
    if (entry->session)
        entry->session->entry = NULL;
    buf_free(&entry->snapshot);
    free(entry);
}

/* Detaches the entry from its session; frees it unless a callback is still to come. */
static void entry_give_up(struct entry *entry)
{
    if (entry->reading) {
        entry->session->entry = NULL;
        entry->session = NULL;
        return;
    }
    snapshots_leave(&entry->turn);
    if (entry->request)
        request_drop(entry->request);
    entry_end(entry);
}

void auth_leave(struct session *session)
{
    if (session->entry)
        entry_give_up(session->entry);
}

static void fall_back(struct session *session, bool implied)
{
    session_become(session, implied ? SESSION_KNOWN : SESSION_UNJOINED);
}

/* Answers that Redis did not answer; the connection may try again. */
static void join_failed(struct entry *entry)
{
    struct session *session = entry->session;
    bool implied = entry->implied;
    fail_queue(entry->request, QUEUE_UNAVAILABLE);
    entry_end(entry);
    if (session)
        fall_back(session, implied);
}

/* Undoes the attempt when Redis hangs, so that the connection may try again. */
static void on_stalled(struct request *request)
{
    struct session *session = session_asking(request);
    request_fail_early(request, &ERROR_UNAVAILABLE);
    if (session == NULL)
        return;
    bool implied = session->entry->implied;
    owners_leave(
        session->answerer.member); /* stops the answer of owners_join(); that of a snapshot still comes */
    entry_give_up(session->entry);
    fall_back(session, implied);
}

static void write_limits(struct buf *to, const struct options *o)
{
    buf_append_text(to, ",\"limits\":{");
    json_member_int(to, "message_bytes", o->message_bytes);
    json_member_int(to, "args_bytes", o->args_bytes);
    json_member_int(to, "batch", o->batch);
    json_member_int(to, "messages_per_s", o->messages_per_s);
    json_member_int(to, "user_tasks", o->user_tasks);
    json_member_int(to, "user_light", o->user_light);
    json_member_int(to, "user_delayed", o->user_delayed);
    json_member_int(to, "user_streams", o->user_streams);
    json_member_int(to, "audio_max_bytes", o->audio_max_bytes);
    json_member_int(to, "audio_window_bytes", o->audio_window_bytes);
    buf_append_char(to, '}');
}

/* Writes auth's answer, with the snapshot if there is one. */
static void write_welcome(struct buf *to, const struct entry *entry, const struct principal *who,
                          enum owners_joined result)
{
    static const char *const words[] = {[OWNERS_OK] = "ok", [OWNERS_NONE] = "none", [OWNERS_GAP] = "gap"};
    static const char *const roles[] = {"[]", "[\"admin\"]", "[\"viewer\"]", "[\"admin\",\"viewer\"]"};
    buf_append_char(to, '{');
    owner_json_member(to, "user_id", span_of(who->user_id));
    json_member_raw(to, "roles", SPAN_NONE, roles[who->roles & (ROLE_ADMIN | ROLE_VIEWER)]);
    json_member_time(to, "expires_at", who->expires_at * 1000);
    json_member_text(to, "epoch", span_of(entry->at.epoch));
    json_member_int(to, "seq", (int64_t)entry->at.head);
    event_mark_member(to, entry->at.mark);
    json_member_text(to, "resumed", span_of(words[result]));
    buf_append_span(to, buf_span(&entry->snapshot));
    write_limits(to, entry->session->answerer.app->options);
    buf_append_char(to, '}');
}

/* Sends the snapshot behind the answer to auth. */
static void send_snapshot(struct entry *entry)
{
    struct answerer *to = entry->session ? &entry->session->answerer : NULL;
    struct buf text = BUF_INIT;
    if (to) {
        buf_append_text(&text, "{\"jsonrpc\":\"2.0\",\"method\":\"snapshot\",\"params\":{");
        owner_json_member(&text, "user_id", span_of(to->who->user_id));
        buf_append_span(&text, buf_span(&entry->snapshot));
        buf_append_text(&text, "}}");
        to->ops->send(to->sink, buf_span(&text), false);
    }
    buf_free(&text);
    entry_end(entry);
}

/* Answers without the snapshot, which has to wait. */
static void welcome_before(struct entry *entry)
{
    struct session *session = entry->session;
    struct request *request = entry->request;
    const struct principal *who = session->answerer.who;
    uint64_t head = entry->at.head;
    struct buf *text = request_result(request);
    json_member_bool(&entry->snapshot, "snapshot_pending", true);
    write_welcome(text, entry, who, OWNERS_GAP);
    buf_clear(&entry->snapshot);
    entry->request = NULL;
    usage_session(entry->app->queue, who->user_id, session->id, who->expires_at);
    request_reply(request, buf_span(text));
    owners_start(session->answerer.member, head);
    session_become(session, SESSION_LIVE);
}

/* Answers, and lets the events follow. */
static void welcome(struct entry *entry, enum owners_joined result)
{
    struct session *session = entry->session;
    if (session == NULL) {
        request_drop(entry->request);
        entry_end(entry);
        return;
    }
    const struct principal *who = session->answerer.who;
    uint64_t seq = result == OWNERS_OK ? session->resume.seq : entry->at.head;
    struct buf *text = request_result(entry->request);
    write_welcome(text, entry, who, result);
    usage_session(session->answerer.app->queue, who->user_id, session->id, who->expires_at);
    request_reply(entry->request, buf_span(text));
    entry_end(entry);
    owners_start(session->answerer.member, seq);
    session_become(session, SESSION_LIVE);
}

/* Adds the last part of a snapshot, unread notifications; left out if the database fails. */
static void on_unread(void *ctx, bool failed, const char *error_code, struct span result)
{
    struct entry *entry = ctx;
    if (failed) {
        log_warn("a snapshot lacks the notifications", "code", error_code);
    } else {
        struct span list = json_get(result, "notifications"), unread = json_get(result, "unread");
        if (list.p && unread.p) {
            json_member_raw(&entry->snapshot, "notifications", list, "");
            json_member_raw(&entry->snapshot, "unread", unread, "");
        }
    }
    if (entry->request)
        welcome(entry, OWNERS_GAP);
    else
        send_snapshot(entry);
}

/* Redis did not answer, or nobody waits any more. */
static void snapshot_failed(struct entry *entry)
{
    if (entry->request) {
        join_failed(entry);
    } else if (entry->session) {
        entry->reading = false;
        snapshots_wait(entry->app, &entry->turn);
    } else {
        entry_end(entry);
    }
}

static void on_snapshot(void *ctx, const struct queue_answer *answer)
{
    struct entry *entry = ctx;
    snapshots_done(entry->app, answer->code == QUEUE_OK);
    if (answer->code != QUEUE_OK || entry->session == NULL) {
        snapshot_failed(entry);
        return;
    }
    json_member_raw(&entry->snapshot, "snapshot", json_get(answer->json, "tasks"), "[]");
    if (manager_run_internal(entry->app->manager, &store_notification_list,
                             entry->session->answerer.who->user_id, SPAN("{\"unread\":true}"), on_unread,
                             entry) != TASK_ACCEPTED)
        on_unread(entry, true, "user_limit", SPAN_NONE);
}

static void read_snapshot(struct snapshot_turn *turn)
{
    struct entry *entry = container_of(turn, struct entry, turn);
    entry->reading = true;
    queue_snapshot(entry->app->queue, entry->session->answerer.who->user_id, on_snapshot, entry);
}

static void on_joined(void *ctx, enum owners_joined result, const struct owner_position *at)
{
    struct entry *entry = ctx;
    entry->at = *at;
    if (result == OWNERS_UNAVAILABLE) {
        join_failed(entry);
    } else if (result == OWNERS_GAP) {
        if (snapshots_ask(entry->app, &entry->turn))
            read_snapshot(&entry->turn);
        else
            welcome_before(entry);
    } else {
        welcome(entry, result);
    }
}

/* Joins the owner's events from session->resume on. */
static void join(struct session *session, struct request *request)
{
    struct answerer *answerer = &session->answerer;
    struct app *app = answerer->app;
    struct redis *redis = queue_redis(app->queue);
    struct entry *entry = xcalloc(1, sizeof *entry);
    entry->session = session;
    entry->app = app;
    entry->request = request;
    entry->turn.go = read_snapshot;
    list_init(&entry->turn.node);
    entry->implied = request->handler == NULL;
    session->entry = entry;
    session_become(session, SESSION_JOINING);
    if (!app->redis_ready || redis_is_stalled(redis)) {
        join_failed(entry);
        return;
    }
    request_waits(request, on_stalled);
    redis_probe(redis); /* the first step, a subscription, uses the other connection */
    owners_join(app->owners, answerer->who->user_id, answerer->member, session->resume, on_joined, entry);
}

void auth_join_implied(struct session *session)
{
    struct request *request = request_new(&session->answerer, NULL, SPAN_NONE);
    session->resume = (struct owners_resume){.seq = 0};
    join(session, request);
}

/* ---- auth ---- */

/* Reads {"epoch","seq","mark"?}; false and answered if malformed. */
static bool take_resume(struct request *request, struct span value, struct owners_resume *ret)
{
    static const struct json_field fields[] = {
        {.name = "epoch", .kinds = KIND_STRING, .required = true, .min = 1, .max = sizeof ret->epoch - 1},
        {.name = "seq", .kinds = KIND_INTEGER, .required = true, .min = 0, .max = INT64_C(1) << 53},
        {.name = "mark", .kinds = KIND_STRING, .min = MARK_DIGITS, .max = MARK_DIGITS},
    };
    struct span values[NELEMS(fields)];
    struct json_field_error fault = {"resume", "resume: must be {epoch, seq, mark}"};
    char mark[MARK_DIGITS + 1] = "";
    int64_t seq = 0;
    *ret = (struct owners_resume){.seq = 0};
    if (value.p == NULL)
        return true;
    if (!json_match(value, fields, NELEMS(fields), values, &fault) || !json_int(values[1], &seq) ||
        !json_string_copy(values[0], ret->epoch, sizeof ret->epoch)) {
        fail_field(request, &fault);
        return false;
    }
    ret->seq = (uint64_t)seq;
    if (values[2].p && json_string_copy(values[2], mark, sizeof mark))
        ret->mark = event_mark_read(span_of(mark));
    return true;
}

static void on_auth_verified(struct session *session, struct request *request, struct principal *who,
                             const char *reason)
{
    if (who == NULL) {
        refuse_token(session, request, reason);
        return;
    }
    if (request->app->revocations_unknown) {
        principal_clear(who);
        request_fail(request, &ERROR_UNAVAILABLE);
        session_become(session, session->answerer.who ? SESSION_UNJOINED : SESSION_NEW);
        return;
    }
    if (session->answerer.who)
        refresh(session, who);
    else if (!set_principal(session, request, who))
        return;
    join(session, request);
}

/* Refuses auth: the session has joined already, or the caller is no session and authenticated with the
 * request. */
static void fail_authenticated(struct request *request)
{
    request_fail(request, &(struct request_error){.code = RPC_CONFLICT,
                                                  .word = "authenticated",
                                                  .message = "Already authenticated; use auth.refresh"});
}

void run_auth(struct request *request, const struct span *values)
{
    struct session *session = session_asking(request);
    if (session == NULL || session->state == SESSION_LIVE) {
        fail_authenticated(request);
        return;
    }
    if (values[0].p == NULL && session->answerer.who == NULL) {
        fail_param(request, "token", "is required");
        return;
    }
    if (!take_resume(request, values[1], &session->resume))
        return;
    if (values[0].p == NULL) {
        join(session, request);
        return;
    }
    session_become(session, SESSION_VERIFYING);
    token_verify(session, request, values[0], on_auth_verified);
}

/* Closes the session with a reason to try later: nobody would read an answer. */
static void close_try_later(struct session *session, struct principal *who)
{
    principal_clear(who);
    conn_close(session->conn, CLOSE_LATER, "try again later");
    session_become(session, SESSION_CLOSING);
}

static void on_upgrade_verified(struct session *session, struct request *request, struct principal *who,
                                const char *reason)
{
    if (who == NULL)
        refuse_token(session, request, reason);
    else if (session->answerer.app->revocations_unknown)
        close_try_later(session, who);
    else if (set_principal(session, request, who))
        session_become(session, SESSION_KNOWN);
}

void auth_open(struct session *session, struct span token)
{
    session_become(session, SESSION_VERIFYING);
    token_verify(session, NULL, token, on_upgrade_verified);
}

/* ---- auth.refresh ---- */

/* Refuses a token; the old one stays valid. Closes the connection after too many refusals. */
static void refuse_refresh(struct session *session, struct request *request, const char *reason)
{
    request_fail(request, &(struct request_error){.code = RPC_UNAUTHENTICATED, .message = reason});
    if (++session->failures >= FAILURES_MAX)
        conn_close(session->conn, CLOSE_AUTH, "too many bad tokens");
}

static void on_refresh_verified(struct session *session, struct request *request, struct principal *who,
                                const char *reason)
{
    if (who == NULL) {
        refuse_refresh(session, request, reason);
        return;
    }
    int64_t expires_at = who->expires_at;
    refresh(session, who);
    usage_session(session->answerer.app->queue, session->answerer.who->user_id, session->id, expires_at);
    struct buf *text = request_result(request);
    buf_append_char(text, '{');
    json_member_time(text, "expires_at", expires_at * 1000);
    buf_append_char(text, '}');
    request_reply(request, buf_span(text));
}

void run_auth_refresh(struct request *request, const struct span *values)
{
    struct session *session = session_asking(request);
    if (session)
        token_verify(session, request, values[0], on_refresh_verified);
    else
        fail_authenticated(request);
}
