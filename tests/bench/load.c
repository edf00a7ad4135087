/* SPDX-License-Identifier: MIT */
/* Load generator: closed loop, one thread, own WebSocket client. Checks every event it is given.
 *
 *   load   (default)   every user keeps --inflight submissions outstanding, each with an idempotency key
 *   drain  (--drain)   the same, but nothing runs yet: prints {"accepted":N} when all were accepted and
 *                      {"first":1} at the first event; the rate is that from then on
 *   watch  (--watch N) one user waits for N ended tasks that somebody else submitted
 *   hold   (--hold S)  only opens and authenticates, then stays S seconds
 *   echo   (--echo)    the same closed loop against a server that sends every message back
 *
 * Prints one JSON object; exit code 1 if anything was missing, doubled, late, early, at the wrong
 * connection, out of sequence or refused. */
#include "hub/auth/auth.h"
#include "hub/base/clock.h"
#include "hub/json/json.h"
#include "tests/bench/ledger.h"
#include "tests/bench/samples.h"
#include "tests/bench/wsclient.h"

#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/resource.h>

static struct {
    char *host, *key_file, *task, *args, *user, *prefix;
    int64_t port, users, inflight, idle, expect, count, watch, parallel;
    double duration, timeout, hold, linger;
    bool echo, no_keys, drain;
} set = {
    .host = (char[]){"127.0.0.1"},
    .task = (char[]){"noop"},
    .args = (char[]){"{}"},
    .prefix = (char[]){"user"},
    .port = 8080,
    .users = 1,
    .inflight = 1,
    .expect = 1,
    .parallel = 128,
    .timeout = 30,
    .linger = 0.2,
};

static const struct setting {
    const char *name, *help;
    char **text;
    int64_t *number;
    double *seconds;
    bool *flag;
} settings[] = {
    {"host", "A: IPv4 address of the server (127.0.0.1)", .text = &set.host},
    {"port", "N: its port (8080)", .number = &set.port},
    {"key-file", "FILE: key that signs the users' tokens", .text = &set.key_file},
    {"users", "N: connections that submit, one user each (1)", .number = &set.users},
    {"inflight", "N: outstanding submissions per user (1)", .number = &set.inflight},
    {"idle", "N: further connections that must be given nothing (0)", .number = &set.idle},
    {"prefix", "TEXT: user names are TEXT1, TEXT2, … (user)", .text = &set.prefix},
    {"task", "NAME: type of the tasks (noop)", .text = &set.task},
    {"args", "JSON: their arguments ({})", .text = &set.args},
    {"expect", "N: events that each task must have at least (1)", .number = &set.expect},
    {"count", "N: stop after so many submissions", .number = &set.count},
    {"duration", "S: stop submitting after so many seconds (5)", .seconds = &set.duration},
    {"timeout", "S: give up waiting after so many seconds (30)", .seconds = &set.timeout},
    {"linger", "S: look for late events so long (0.2)", .seconds = &set.linger},
    {"watch", "N: wait for N ended tasks of --user", .number = &set.watch},
    {"user", "NAME: whose tasks --watch waits for", .text = &set.user},
    {"hold", "S: open, authenticate, print, stay so long", .seconds = &set.hold},
    {"parallel", "N: connections being opened at once (128)", .number = &set.parallel},
    {"echo", ": the server is an echo server", .flag = &set.echo},
    {"no-keys", ": submissions carry no idempotency key", .flag = &set.no_keys},
    {"drain", ": tell when all --count were accepted, and when the first ran", .flag = &set.drain},
};

struct slot { /* one outstanding submission */
    int64_t id;
    uint64_t since_us; /* 0 = free */
};
struct user {
    struct slot *slots;
    int64_t next;
    uint64_t given_seq; /* the highest seq of a logged event */
    uint64_t told_seq;  /* the same, or what a reply stood for */
    bool ready;
};

static struct {
    struct ws_client *client;
    struct user *users;
    struct ledger ledger;
    struct samples accepted, ended;
    struct keyring *keys;
    unsigned conns, opened, opening, ready, dead;
    uint64_t submitted, accepts, completed, failed, errors, out_of_sequence, inflight;
    uint64_t began_us, first_us, last_us, stopped_us;
    uint64_t key_word; /* what the keys of this run begin with */
    bool running, stopping;
} run;

/* A line for who started this program, before the report. */
static void tell(const char *name, uint64_t value)
{
    printf("{\"%s\":%llu}\n", name, (unsigned long long)value);
    fflush(stdout);
}

static double seconds_since(uint64_t us)
{
    return (double)(clock_mono_us() - us) / 1e6;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static void name_of(unsigned index, char *name, size_t size)
{
    if (index >= set.users)
        snprintf(name, size, "idle%u", index + 1);
    else if (set.watch && set.user)
        snprintf(name, size, "%s", set.user);
    else
        snprintf(name, size, "%s%u", set.prefix, index + 1);
}

static void authenticate(struct ws_conn *conn)
{
    char name[OWNER_SIZE];
    name_of(conn->index, name, sizeof name);
    int64_t now = clock_wall_ms() / 1000;
    const struct auth_claims claims = {
        .user_id = name, .audience = "taskhub", .issued_at = now, .expires_at = now + 3600};
    char *token = auth_sign(run.keys, &claims);
    if (token == NULL)
        die("%s: cannot sign", set.key_file);
    struct buf text = BUF_INIT;
    buf_printf(&text, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"auth\",\"params\":{\"token\":\"%s\"}}",
               token);
    ws_send(conn, buf_span(&text));
    buf_free(&text);
    free(token);
}

static bool may_submit(void)
{
    return run.running && !run.stopping && (set.count == 0 || run.submitted < (uint64_t)set.count);
}

static void submit(struct ws_conn *conn, unsigned at)
{
    static struct buf text;
    struct user *user = &run.users[conn->index];
    user->slots[at] = (struct slot){++user->next * set.inflight + at, clock_mono_us()};
    run.submitted++;
    run.inflight++;
    buf_clear(&text);
    buf_append_text(&text, "{\"jsonrpc\":\"2.0\",\"id\":");
    buf_append_i64(&text, user->slots[at].id);
    buf_append_text(&text, ",\"method\":\"task.submit\",\"params\":{\"task\":\"");
    buf_append_text(&text, set.task);
    buf_append_text(&text, "\",\"args\":");
    buf_append_text(&text, set.args);
    if (!set.no_keys && !set.echo)
        buf_printf(&text, ",\"idempotency_key\":\"%016llx-%u-%llu\"", (unsigned long long)run.key_word,
                   conn->index, (unsigned long long)run.submitted);
    buf_append_text(&text, "}}");
    ws_send(conn, buf_span(&text));
}

static void slot_free(struct ws_conn *conn, unsigned at)
{
    run.users[conn->index].slots[at].since_us = 0;
    run.inflight--;
    if (may_submit())
        submit(conn, at);
}

/* ---- answers ----------------------------------------------------------------------------------- */

static void ended(struct ledger_entry *entry)
{
    if (entry->ended_well)
        run.completed++;
    else
        run.failed++;
    run.last_us = clock_mono_us();
    samples_add(&run.ended, run.last_us - entry->submitted_us);
    slot_free(ws_conn_at(run.client, (unsigned)entry->owner), entry->slot);
}

static struct span text_of(struct span object, const char *name)
{
    struct span value = json_get(object, name);
    return value.n >= 2 && value.p[0] == '"' ? (struct span){value.p + 1, value.n - 2} : SPAN_NONE;
}

/* A reply to the submission with this id: from now on the task has an owner. */
static void on_reply(struct ws_conn *conn, int64_t id, struct span result)
{
    unsigned at = (unsigned)(id % set.inflight);
    struct user *user = &run.users[conn->index];
    if (user->slots[at].id != id || user->slots[at].since_us == 0) {
        run.errors++;
        return;
    }
    run.last_us = clock_mono_us();
    if (set.echo) {
        run.completed++;
        samples_add(&run.ended, run.last_us - user->slots[at].since_us);
        slot_free(conn, at);
        return;
    }
    struct span task = result.p ? text_of(result, "task_id") : SPAN_NONE;
    if (task.p == NULL) {
        if (run.errors++ < 1000)
            slot_free(conn, at);
        return;
    }
    int64_t seq;
    if (json_int(json_get(result, "seq"), &seq) && (uint64_t)seq > user->told_seq)
        user->told_seq = (uint64_t)seq;
    if (++run.accepts == (uint64_t)set.count && set.drain)
        tell("accepted", run.accepts);
    samples_add(&run.accepted, run.last_us - user->slots[at].since_us);
    struct ledger_entry *entry = ledger_entry(&run.ledger, task);
    entry->owner = (int)conn->index;
    entry->slot = at;
    entry->submitted_us = user->slots[at].since_us;
    if (entry->first >= 0 && entry->first != entry->owner)
        run.ledger.wrong_owner++;
    if (entry->ended)
        ended(entry);
}

/* A logged event's seq rises, and `from` names nothing that this connection was not given. */
static void check_sequence(struct user *user, struct span params)
{
    int64_t seq, from;
    if (!json_int(json_get(params, "seq"), &seq))
        return;
    if (!json_int(json_get(params, "from"), &from))
        from = seq - 1;
    if ((uint64_t)seq <= user->given_seq || (uint64_t)from > user->told_seq)
        run.out_of_sequence++;
    user->given_seq = (uint64_t)seq;
    if (user->told_seq < (uint64_t)seq)
        user->told_seq = (uint64_t)seq;
}

static void on_event(struct ws_conn *conn, struct span params)
{
    struct span task = text_of(params, "task_id"), status = text_of(params, "status");
    if (run.first_us == 0) {
        run.first_us = clock_mono_us();
        if (set.drain)
            tell("first", 1);
    }
    if (task.p == NULL || status.p == NULL) {
        run.errors++;
        return;
    }
    if (conn->index >= set.users) {
        run.ledger.wrong_owner++;
        return;
    }
    check_sequence(&run.users[conn->index], params);
    struct ledger_entry *entry = ledger_entry(&run.ledger, task);
    if (set.watch)
        entry->owner = (int)conn->index;
    if (!ledger_event(&run.ledger, entry, (int)conn->index, status))
        return;
    if (set.watch) {
        run.last_us = clock_mono_us();
        run.completed += entry->ended_well;
        run.failed += !entry->ended_well;
    } else if (entry->owner >= 0) {
        ended(entry);
    }
}

static void on_authenticated(struct ws_conn *conn, struct span result)
{
    int64_t seq;
    if (result.p == NULL) {
        die("authentication was refused");
    } else if (json_int(json_get(result, "seq"), &seq)) {
        run.users[conn->index].given_seq = (uint64_t)seq;
        run.users[conn->index].told_seq = (uint64_t)seq;
    }
    run.users[conn->index].ready = true;
    run.ready++;
    run.opening--;
}

static void on_text(struct ws_conn *conn, struct span text)
{
    const char *reason;
    int64_t id;
    if (json_check(text, JSON_LIMITS, &reason) != KIND_OBJECT) {
        run.errors++;
        return;
    }
    struct span method = json_get(text, "method");
    if (method.p && !set.echo) {
        if (json_string_is(method, "task.event"))
            on_event(conn, json_get(text, "params"));
    } else if (!json_int(json_get(text, "id"), &id)) {
        run.errors++;
    } else if (!run.users[conn->index].ready) {
        on_authenticated(conn, json_get(text, "result"));
    } else {
        on_reply(conn, id, json_get(text, "result"));
    }
}

static void on_open(struct ws_conn *conn)
{
    if (set.echo)
        on_authenticated(conn, SPAN("{}"));
    else
        authenticate(conn);
}

static void on_dead(struct ws_conn *conn, const char *why)
{
    struct user *user = &run.users[conn->index];
    if (run.dead++ < 3)
        fprintf(stderr, "connection %u ended: %s\n", conn->index, why);
    if (!user->ready)
        run.opening--;
    for (int64_t i = 0; user->slots && i < set.inflight; i++)
        run.inflight -= user->slots[i].since_us != 0;
}

/* ---- phases ------------------------------------------------------------------------------------ */

/* Opens and authenticates everything; seconds it took. */
static double open_all(void)
{
    uint64_t from = clock_mono_us();
    while (run.ready + run.dead < run.conns && seconds_since(from) < set.timeout + run.conns / 500.0) {
        while (run.opened < run.conns && run.opening < set.parallel) {
            run.opening++;
            ws_open(ws_conn_at(run.client, run.opened++));
        }
        ws_poll(run.client, 50);
    }
    return seconds_since(from);
}

static void load_phase(void)
{
    for (unsigned at = 0; at < set.inflight; at++)
        for (unsigned i = 0; i < set.users; i++)
            if (run.users[i].ready && may_submit())
                submit(ws_conn_at(run.client, i), at);
    for (unsigned i = 0; i < set.users; i++)
        ws_flush(ws_conn_at(run.client, i));
    while (run.dead < run.conns) {
        if (!run.stopping && ((set.duration > 0 && seconds_since(run.began_us) >= set.duration) ||
                              (set.count && run.submitted >= (uint64_t)set.count))) {
            run.stopping = true;
            run.stopped_us = clock_mono_us();
        }
        if (run.stopping && (run.inflight == 0 || seconds_since(run.stopped_us) > set.timeout))
            break;
        ws_poll(run.client, 20);
    }
}

static void watch_phase(void)
{
    fprintf(stderr, "watching\n");
    while (run.completed + run.failed < (uint64_t)set.watch && run.dead == 0 &&
           seconds_since(run.last_us) < set.timeout)
        ws_poll(run.client, 100);
    run.began_us = run.first_us ? run.first_us : run.began_us;
}

/* Prints what was measured; whether all was well. */
static bool report(double open_s)
{
    uint64_t done = run.completed + run.failed;
    uint64_t missing = set.echo ? 0 : ledger_missing(&run.ledger, (unsigned)set.expect);
    uint64_t unfinished = set.watch ? (uint64_t)set.watch - done : run.inflight;
    double elapsed = (double)(run.last_us - run.began_us) / 1e6;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    struct buf out = BUF_INIT;
    buf_printf(&out,
               "{\"open_s\":%.3f,\"elapsed_s\":%.4f,\"submitted\":%llu,\"accepted\":%llu,\"completed\":%llu,"
               "\"failed\":%llu,\"tasks_per_s\":%.1f,\"accept_ms\":",
               open_s, elapsed, (unsigned long long)run.submitted, (unsigned long long)run.accepts,
               (unsigned long long)run.completed, (unsigned long long)run.failed,
               elapsed > 0 ? (double)done / elapsed : 0);
    samples_write(&run.accepted, &out);
    buf_append_text(&out, ",\"complete_ms\":");
    samples_write(&run.ended, &out);
    const struct {
        const char *name;
        uint64_t value;
        bool fault; /* anything but 0 is one */
    } rows[] = {
        {"events", run.ledger.events, false},
        {"missing", missing, true},
        {"wrong_owner", run.ledger.wrong_owner, true},
        {"duplicate_final", run.ledger.duplicate_final, true},
        {"after_final", run.ledger.after_final, true},
        {"before_accept", set.watch ? 0 : run.ledger.before_accept, true},
        {"out_of_sequence", run.out_of_sequence, true},
        {"orphans", set.watch ? 0 : ledger_orphans(&run.ledger), true},
        {"unfinished", unfinished, true},
        {"errors", run.errors, true},
        {"dead", run.dead, true},
    };
    bool well = true;
    for (size_t i = 0; i < NELEMS(rows); i++) {
        buf_printf(&out, ",\"%s\":%llu", rows[i].name, (unsigned long long)rows[i].value);
        well = well && !(rows[i].fault && rows[i].value);
    }
    buf_printf(&out, ",\"generator_cpu_s\":%.3f}", cpu);
    printf("%.*s\n", SPAN_ARG(buf_span(&out)));
    buf_free(&out);
    return well;
}

static bool all_phases(void)
{
    double open_s = open_all();
    if (run.ready < run.conns)
        fprintf(stderr, "only %u of %u connections are ready\n", run.ready, run.conns);
    run.began_us = run.last_us = clock_mono_us();
    run.running = true;
    if (set.hold > 0) {
        printf("{\"ready\":%u,\"open_s\":%.3f}\n", run.ready, open_s);
        fflush(stdout);
        while (seconds_since(run.began_us) < set.hold)
            ws_poll(run.client, 100);
        return run.dead == 0;
    }
    if (set.watch)
        watch_phase();
    else
        load_phase();
    if (set.drain && run.first_us)
        run.began_us = run.first_us;
    uint64_t end = clock_mono_us();
    while (seconds_since(end) < set.linger)
        ws_poll(run.client, 20);
    return report(open_s);
}

/* ---- start ------------------------------------------------------------------------------------- */

static void usage(void)
{
    puts("usage: load [--OPTION VALUE]…");
    for (size_t i = 0; i < NELEMS(settings); i++)
        printf("  --%s %s\n", settings[i].name, settings[i].help);
    exit(2);
}

static void read_settings(int argc, char **argv)
{
    struct option options[NELEMS(settings) + 1] = {0};
    for (size_t i = 0; i < NELEMS(settings); i++)
        options[i] = (struct option){settings[i].name, settings[i].flag ? no_argument : required_argument,
                                     NULL, (int)i};
    for (int at; (at = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (at < 0 || at >= (int)NELEMS(settings))
            usage();
        const struct setting *setting = &settings[at];
        char *end = NULL;
        errno = 0;
        if (setting->text)
            *setting->text = optarg;
        else if (setting->number)
            *setting->number = strtoll(optarg, &end, 10);
        else if (setting->seconds)
            *setting->seconds = strtod(optarg, &end);
        else
            *setting->flag = true;
        if (errno || (end && *end))
            die("--%s: '%s' is no number", setting->name, optarg);
    }
    if (optind != argc || set.users < 0 || set.inflight < 1 || set.idle < 0 || set.expect < 0)
        usage();
    if (set.count == 0 && set.duration <= 0)
        set.duration = 5;
    if (set.watch)
        set.users = 1;
}

int main(int argc, char **argv)
{
    static const struct ws_ops ops = {on_open, on_text, on_dead};
    char *reason = NULL;
    read_settings(argc, argv);
    if (sodium_init() < 0)
        die("libsodium does not start");
    randombytes_buf(&run.key_word, sizeof run.key_word);
    if (!set.echo && (set.key_file == NULL || (run.keys = keyring_load(set.key_file, &reason)) == NULL))
        die("--key-file: %s", reason ? reason : "is required");
    run.conns = (unsigned)(set.users + set.idle);
    run.users = xcalloc(run.conns ? run.conns : 1, sizeof *run.users);
    for (unsigned i = 0; i < set.users; i++)
        run.users[i].slots = xcalloc((size_t)set.inflight, sizeof(struct slot));
    run.client = ws_client_new(set.host, (unsigned)set.port, run.conns, &ops);
    bool well = all_phases();
    ws_client_free(&run.client);
    for (unsigned i = 0; i < run.conns; i++)
        free(run.users[i].slots);
    free(run.users);
    ledger_free(&run.ledger);
    samples_free(&run.accepted);
    samples_free(&run.ended);
    keyring_free(&run.keys);
    return well ? 0 : 1;
}
