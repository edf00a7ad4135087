/* auth and auth.refresh: joining the owner's events, resume, and the snapshot after a gap. Loop thread. */
#include "handlers/rpc/rpc.h"
#include "handlers/session/auth_join.h"
#include "handlers/session/auth_turns.h"
#include "hub/base/clock.h"
#include "hub/base/log.h"
#include "tasks/queue/usage.h"
#include "tasks/store/requests.h"

#define FAILURES_MAX 5    /* refused refreshes before the connection closes */
#define CLOSE_AUTH 4401   /* token bad or expired */
#define CLOSE_LIMITS 4429 /* too many connections of this user */

/* ---- refusals ------------------------------------------------------------------------------------ */

static void refuse_token(struct request *request, struct conn *conn, const char *reason)
{
    if (request)
        request_fail(request, &(struct request_error){.code = RPC_UNAUTHENTICATED, .message = reason});
    conn_close(conn, CLOSE_AUTH, "authentication failed");
}

/* Gives the connection its principal (moved); false and answered if the user has too many connections. */
static bool adopt(struct request *request, struct conn *conn, struct principal *who)
{
    if (conn_set_who(conn, who))
        return true;
    principal_clear(who);
    if (request)
        request_fail(request, &(struct request_error){.code = RPC_USER_LIMIT,
                                                      .word = "connections",
                                                      .message = "Too many connections of this user"});
    conn_close(conn, CLOSE_LIMITS, "too many connections");
    return false;
}

/* ---- joining ------------------------------------------------------------------------------------- */

struct join { /* an auth request while owners_join() has not answered */
    struct request *request;
    uint64_t wanted; /* seq to resume from */
};

struct gap { /* an answer that waits for the snapshot */
    struct request *request;
    struct owner_position at;
    struct buf tasks;
};

static void write_roles(struct buf *to, unsigned roles)
{
    static const char *const texts[] = {"[]", "[\"admin\"]", "[\"viewer\"]", "[\"admin\",\"viewer\"]"};
    buf_append_text(to, texts[roles & (ROLE_ADMIN | ROLE_VIEWER)]);
}

static void write_time(struct buf *to, int64_t wall_s)
{
    char at[CLOCK_TEXT_SIZE];
    clock_format(wall_s * 1000, at);
    buf_append_json(to, span_of(at));
}

static void write_limits(struct buf *to, const struct options *o)
{
    buf_printf(
        to,
        ",\"limits\":{\"message_bytes\":%lld,\"args_bytes\":%lld,\"batch\":%lld,\"messages_per_s\":%lld,"
        "\"user_tasks\":%lld,\"user_light\":%lld,\"user_streams\":%lld,\"audio_max_bytes\":%lld,"
        "\"audio_window_bytes\":%lld}",
        (long long)o->message_bytes, (long long)o->args_bytes, (long long)o->batch,
        (long long)o->messages_per_s, (long long)o->user_tasks, (long long)o->user_light,
        (long long)o->user_streams, (long long)o->audio_max_bytes, (long long)o->audio_window_bytes);
}

/* What came behind the auth request and waited for its answer is handled now. */
static void entered(struct session *session)
{
    session->entering = NULL;
    auth_replay(session, false);
}

/* Answers and lets the events flow behind `seq`. `extra`: members to add, or NULL. */
static void welcome(struct request *request, enum owners_joined result, const struct owner_position *at,
                    uint64_t seq, const struct buf *extra)
{
    static const char *const words[] = {[OWNERS_OK] = "ok", [OWNERS_NONE] = "none", [OWNERS_GAP] = "gap"};
    struct app *app = request_app(request);
    struct conn *conn = request_conn(request);
    if (conn == NULL) { /* closed, or told already that Redis hangs */
        request_drop(request);
        return;
    }
    const struct principal *who = conn_who(conn);
    struct session *session = session_of(conn);
    struct buf text = BUF_INIT;
    buf_append_text(&text, "{\"user_id\":");
    buf_append_json(&text, span_of(who->user_id));
    buf_append_text(&text, ",\"roles\":");
    write_roles(&text, who->roles);
    buf_append_text(&text, ",\"expires_at\":");
    write_time(&text, who->expires_at);
    buf_append_text(&text, ",\"epoch\":");
    buf_append_json(&text, span_of(at->epoch));
    buf_printf(&text, ",\"seq\":%llu,\"resumed\":\"%s\"", (unsigned long long)at->head, words[result]);
    if (extra)
        buf_append_span(&text, buf_span(extra));
    write_limits(&text, app->options);
    buf_append_char(&text, '}');
    usage_session(app->queue, who->user_id, session->id, who->expires_at);
    request_reply(request, buf_span(&text));
    buf_free(&text);
    owners_start(conn_member(conn), seq);
    entered(session);
}

/* Redis did not answer: the connection may try again. */
static void join_failed(struct request *request)
{
    struct conn *conn = request_conn(request);
    fail_queue(request, QUEUE_UNAVAILABLE);
    if (conn) {
        session_of(conn)->joining = false;
        entered(session_of(conn));
    }
}

/* Redis hangs: nothing of the attempt remains, so that the connection may try again. */
static void on_stalled(struct request *request)
{
    struct conn *conn = request_conn(request);
    if (conn == NULL)
        return;
    struct session *session = session_of(conn);
    bool joining = session->join != NULL;
    owners_leave(conn_member(conn)); /* owners_join() will not answer any more, a snapshot will */
    free(session->join);
    session->join = NULL;
    session->joining = false;
    request_fail_early(request, &error_unavailable);
    if (joining)
        request_drop(request);
    entered(session);
}

static void gap_end(struct gap *gap)
{
    buf_free(&gap->tasks);
    free(gap);
}

/* The last part of a snapshot: unread notifications. Without the database the answer has none. */
static void on_unread(void *ctx, bool failed, const char *error_code, struct span result)
{
    struct gap *gap = ctx;
    if (failed) {
        log_warn("a snapshot lacks the notifications", "code", error_code);
    } else {
        struct span list = json_get(result, "notifications"), unread = json_get(result, "unread");
        if (list.p && unread.p) {
            buf_append_text(&gap->tasks, ",\"notifications\":");
            buf_append_span(&gap->tasks, list);
            buf_append_text(&gap->tasks, ",\"unread\":");
            buf_append_span(&gap->tasks, unread);
        }
    }
    welcome(gap->request, OWNERS_GAP, &gap->at, gap->at.head, &gap->tasks);
    gap_end(gap);
}

static void on_snapshot(void *ctx, const struct queue_answer *answer)
{
    struct gap *gap = ctx;
    struct app *app = request_app(gap->request);
    const struct principal *who = request_who(gap->request);
    if (answer->code != QUEUE_OK || who == NULL) {
        join_failed(gap->request);
        gap_end(gap);
        return;
    }
    struct span tasks = json_get(answer->json, "tasks");
    buf_append_text(&gap->tasks, ",\"snapshot\":");
    buf_append_span(&gap->tasks, tasks.p ? tasks : SPAN("[]"));
    if (manager_run_internal(app->manager, &store_notification_list, who->user_id, SPAN("{\"unread\":true}"),
                             on_unread, gap) != TASK_ACCEPTED)
        on_unread(gap, true, "busy", SPAN_NONE);
}

static void on_joined(void *ctx, enum owners_joined result, const struct owner_position *at)
{
    struct session *session = ctx;
    struct join join = *session->join;
    struct app *app = session->app;
    free(session->join);
    session->join = NULL;
    if (result == OWNERS_UNAVAILABLE) {
        join_failed(join.request);
    } else if (result == OWNERS_GAP) {
        struct gap *gap = xcalloc(1, sizeof *gap);
        gap->request = join.request;
        gap->at = *at;
        queue_snapshot(app->queue, conn_who(session->conn)->user_id, on_snapshot, gap);
    } else {
        welcome(join.request, result, at, result == OWNERS_OK ? join.wanted : at->head, NULL);
    }
}

void auth_leave(struct session *session)
{
    buf_free(&session->held);
    if (session->join == NULL)
        return;
    request_drop(session->join->request);
    free(session->join);
    session->join = NULL;
}

static void join(struct request *request, struct session *session, const struct owners_resume *resume)
{
    struct app *app = session->app;
    struct redis *redis = queue_redis(app->queue);
    session->joining = true;
    session->entering = request;
    if (!app->redis_ready || redis_is_stalled(redis)) {
        join_failed(request);
        return;
    }
    request_waits(request, on_stalled);
    redis_probe(redis); /* what comes first is a subscription, on the other connection */
    session->join = xmalloc(sizeof *session->join);
    *session->join = (struct join){request, resume->seq};
    owners_join(app->owners, conn_who(session->conn)->user_id, conn_member(session->conn), *resume, on_joined,
                session);
}

void auth_join_implied(struct session *session)
{
    struct request *request = request_new(session->conn, NULL, NULL, SPAN_NONE);
    join(request, session, &(struct owners_resume){"", 0});
}

/* ---- auth ---------------------------------------------------------------------------------------- */

/* {"epoch","seq"}; false and answered if it is not that. */
static bool take_resume(struct request *request, struct span value, struct owners_resume *ret)
{
    static const struct json_field fields[] = {
        {.name = "epoch", .kinds = KIND_STRING, .required = true, .min = 1, .max = sizeof ret->epoch - 1},
        {.name = "seq", .kinds = KIND_INTEGER, .required = true, .min = 0, .max = INT64_C(1) << 53},
    };
    struct span values[NELEMS(fields)];
    struct json_field_error fault = {"resume", "resume: must be {epoch, seq}"};
    int64_t seq = 0;
    *ret = (struct owners_resume){"", 0};
    if (value.p == NULL)
        return true;
    if (!json_match(value, fields, NELEMS(fields), values, &fault) || !json_int(values[1], &seq) ||
        !json_string_copy(values[0], ret->epoch, sizeof ret->epoch)) {
        fail_param(request, fault.field, fault.message);
        return false;
    }
    ret->seq = (uint64_t)seq;
    return true;
}

static void on_auth_verified(struct verify *verify, struct session *session, struct principal *who,
                             const char *reason)
{
    const struct principal *before = conn_who(session->conn);
    if (who == NULL) {
        refuse_token(verify->request, session->conn, reason);
        return;
    }
    if (before && strcmp(before->user_id, who->user_id) != 0) {
        principal_clear(who);
        refuse_token(verify->request, session->conn, "The token is another user's");
        return;
    }
    if (before)
        conn_refresh_who(session->conn, who);
    else if (!adopt(verify->request, session->conn, who))
        return;
    join(verify->request, session, &verify->resume);
}

void run_auth(struct request *request, const struct span *values)
{
    struct session *session = session_of(request_conn(request));
    struct owners_resume resume;
    if (session->joining) {
        request_fail(request, &(struct request_error){.code = RPC_CONFLICT,
                                                      .word = "authenticated",
                                                      .message = "Already authenticated; use auth.refresh"});
        return;
    }
    bool waits = session->upgrade != NULL; /* the token of the upgrade, for its turn */
    if (values[0].p == NULL && conn_who(session->conn) == NULL && !waits) {
        fail_param(request, "token", "token: is required");
        return;
    }
    if (!take_resume(request, values[1], &resume))
        return;
    session->joining = session->asked = true;
    session->entering = request;
    if (values[0].p == NULL && waits) {
        session->upgrade->request = request;
        session->upgrade->resume = resume;
        return;
    }
    if (values[0].p == NULL) {
        join(request, session, &resume);
        return;
    }
    struct verify *verify = verify_new(session, request, values[0]);
    verify->resume = resume;
    verify_start(verify, on_auth_verified);
}

static void on_upgrade_verified(struct verify *verify, struct session *session, struct principal *who,
                                const char *reason)
{
    session->upgrade = NULL;
    if (verify->request) /* auth without a token came meanwhile */
        on_auth_verified(verify, session, who, reason);
    else if (who == NULL)
        refuse_token(NULL, session->conn, reason);
    else if (conn_who(session->conn))
        principal_clear(who); /* an auth request was quicker */
    else
        adopt(NULL, session->conn, who);
}

void auth_open(struct session *session, struct span token)
{
    session->upgrade = verify_new(session, NULL, token);
    verify_start(session->upgrade, on_upgrade_verified);
}

/* ---- auth.refresh -------------------------------------------------------------------------------- */

/* The old token still counts; who keeps sending bad ones is closed. */
static void refuse_refresh(struct request *request, struct session *session, const char *reason)
{
    bool close = ++session->failures >= FAILURES_MAX;
    struct conn *conn = session->conn;
    request_fail(request, &(struct request_error){.code = RPC_UNAUTHENTICATED, .message = reason});
    if (close)
        conn_close(conn, CLOSE_AUTH, "too many bad tokens");
}

static void on_refresh_verified(struct verify *verify, struct session *session, struct principal *who,
                                const char *reason)
{
    struct buf text = BUF_INIT;
    if (who == NULL) {
        refuse_refresh(verify->request, session, reason);
        return;
    }
    if (strcmp(conn_who(session->conn)->user_id, who->user_id) != 0) {
        principal_clear(who);
        refuse_refresh(verify->request, session, "The token is another user's");
        return;
    }
    int64_t expires_at = who->expires_at;
    conn_refresh_who(session->conn, who);
    usage_session(session->app->queue, conn_who(session->conn)->user_id, session->id, expires_at);
    buf_append_text(&text, "{\"expires_at\":");
    write_time(&text, expires_at);
    buf_append_char(&text, '}');
    request_reply(verify->request, buf_span(&text));
    buf_free(&text);
}

void run_auth_refresh(struct request *request, const struct span *values)
{
    struct session *session = session_of(request_conn(request));
    verify_start(verify_new(session, request, values[0]), on_refresh_verified);
}
