/* SPDX-License-Identifier: MIT */
/* hub/redis/redis.c against a real redis-server: addresses, commands in one write, partial writes, loss,
 * restart, silence, subscriptions; and against a server that misbehaves. */
#include "hub/redis/redis.h"

#include "tests/lib/redis_server.h"
#include "tests/lib/wait.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct redis *redis;
static struct redis_server server;

static struct {
    unsigned ups, downs, replies, nulls, messages, subscribed;
    char reason[160], text[64];
    long long integer;
} seen;

static void on_up(void *ctx)
{
    (void)ctx;
    seen.ups++;
}

static void count_up(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void on_down(void *ctx, const char *reason)
{
    (void)ctx;
    seen.downs++;
    snprintf(seen.reason, sizeof seen.reason, "%s", reason);
}

static void on_reply(void *ctx, const redisReply *reply)
{
    (void)ctx;
    if (reply == NULL) {
        seen.nulls++;
        return;
    }
    seen.replies++;
    if (reply->type == REDIS_REPLY_INTEGER)
        seen.integer = reply->integer;
    else if (reply->str)
        snprintf(seen.text, sizeof seen.text, "%s", reply->str);
}

static void on_message(void *ctx, const redisReply *reply)
{
    (void)ctx;
    if (reply == NULL)
        seen.nulls++;
    else if (strcmp(reply->element[0]->str, "subscribe") == 0)
        seen.subscribed++;
    else
        seen.messages++;
}

static void on_count(uv_timer_t *timer)
{
    unsigned *count = timer->data;
    ++*count;
}

static void open_redis(const char *text, unsigned timeout_ms)
{
    struct redis_url url;
    memset(&seen, 0, sizeof seen);
    if (redis_url_parse(text, &url))
        abort();
    redis = redis_new(&loop, &url, timeout_ms, (struct redis_hooks){on_up, on_down, NULL});
    redis_url_free(&url);
}

static void close_redis(void)
{
    redis_free(&redis);
    redis_free(&redis);
    for (int i = 0; i < 3; i++)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static void test_commands(void)
{
    open_redis(server.url, 5000);
    redis_callv(redis, on_reply, NULL, "PING", NULL);
    is_int(seen.nulls, 1, "a command before the connection stands gets NULL at once");
    ok(!redis_is_up(redis), "it is not up yet");
    ok(reach(&seen.ups, 1), "on_up comes, also when the server starts later");
    ok(redis_is_up(redis), "it is up");
    redis_callv(redis, on_reply, NULL, "SET", "k", "v", NULL);
    for (int i = 0; i < 1000; i++)
        redis_callv(redis, on_reply, NULL, "INCR", "n", NULL);
    is_int(redis_in_flight(redis), 1001, "commands are counted until they are answered");
    ok(reach(&seen.replies, 1001), "all are answered");
    is_int(seen.integer, 1000, "in order");
    is_int(redis_in_flight(redis), 0, "none is in flight");
    redis_call(redis, on_reply, NULL, 3, (const char *[]){"SET", "b", "a\0b"}, (size_t[]){3, 1, 3});
    redis_callv(redis, on_reply, NULL, "STRLEN", "b", NULL);
    redis_callv(redis, NULL, NULL, "GET", "b", NULL);
    ok(reach(&seen.replies, 1003), "binary values go");
    is_int(seen.integer, 3, "with their NUL");
}

static void test_large(void)
{
    size_t size = 5u << 20;
    char *text = xmalloc(size);
    memset(text, 'x', size);
    unsigned before = seen.replies;
    redis_call(redis, on_reply, NULL, 3, (const char *[]){"SET", "large", text}, (size_t[]){3, 5, size});
    redis_callv(redis, on_reply, NULL, "GET", "large", NULL);
    redis_callv(redis, on_reply, NULL, "STRLEN", "large", NULL);
    ok(reach(&seen.replies, before + 3), "5 MiB go out in several writes and come back");
    free(text);
    is_int(seen.integer, (int64_t)size, "whole");
}

/* Shrinks the send buffer of the connection's socket, so that writes are partial. */
static void shrink_buffers(int size)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_un peer;
        socklen_t n = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &n) == 0 && peer.sun_family == AF_UNIX)
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
}

static void free_text(void *ctx, const redisReply *reply)
{
    free(ctx);
    on_reply(NULL, reply);
}

static char *large_text(size_t size)
{
    char *text = xmalloc(size + 1);
    memset(text, 'y', size);
    text[size] = '\0';
    return text;
}

/* Long words between short ones, through a socket that takes little at a time; each word is freed when its
 * answer has come. */
static void test_partial(void)
{
    unsigned before = seen.replies;
    shrink_buffers(4096);
    for (int i = 0; i < 50; i++) {
        char *text = large_text(20000 + (size_t)i);
        redis_callv(redis, on_reply, NULL, "SET", "small", "v", NULL);
        redis_callv(redis, free_text, text, "SET", "partial", text, NULL);
    }
    redis_callv(redis, on_reply, NULL, "STRLEN", "partial", NULL);
    ok(reach(&seen.replies, before + 101), "a megabyte goes through a small buffer");
    is_int(seen.integer, 20049, "in order and whole");
}

static void test_kill_within_reply(void)
{
    unsigned before = seen.replies, nulls = seen.nulls, downs = seen.downs, ups = seen.ups;
    for (int i = 0; i < 20; i++)
        redis_callv(redis, on_reply, NULL, "GET", "large", NULL);
    ok(reach(&seen.replies, before + 1), "large answers begin to come");
    redis_server_kill(&server);
    ok(reach(&seen.downs, downs + 1), "the server is killed meanwhile");
    is_int(seen.replies - before + seen.nulls - nulls, 20, "every command is answered once");
    redis_server_start(&server);
    ok(reach(&seen.ups, ups + 1), "up after the restart");
}

static void test_kill(void)
{
    unsigned nulls = seen.nulls;
    redis_callv(redis, on_reply, NULL, "BLPOP", "nothing", "0", NULL);
    loop_flush(&loop);
    redis_server_kill(&server);
    unsigned downs = seen.downs, ups = seen.ups;
    ok(reach(&seen.downs, downs + 1), "kill -9 of the server: on_down (%s)", seen.reason);
    is_int(seen.nulls, nulls + 1, "the pending command got NULL");
    is_int(redis_in_flight(redis), 0, "nothing is in flight");
    ok(reach(&seen.downs, downs + 3), "failed attempts are told (%s)", seen.reason);
    redis_server_start(&server);
    ok(reach(&seen.ups, ups + 1), "after its restart: on_up");
    unsigned before = seen.replies;
    redis_callv(redis, on_reply, NULL, "GET", "n", NULL);
    ok(reach(&seen.replies, before + 1), "commands go again");
    is_text(seen.text, "1000", "and find the data");
}

static void test_silence(void)
{
    close_redis();
    open_redis(server.url, 400);
    ok(reach(&seen.ups, 1), "up with a short timeout");
    kill(server.pid, SIGSTOP);
    redis_callv(redis, on_reply, NULL, "PING", NULL);
    ok(reach(&seen.downs, 1), "a stopped server counts as lost: %s", seen.reason);
    is_int(seen.nulls, 1, "its command got NULL");
    kill(server.pid, SIGCONT);
    ok(reach(&seen.ups, 2), "up when it goes on");
    kill(server.pid, SIGSTOP);
    char *text = large_text(5u << 20);
    redis_callv(redis, free_text, text, "SET", "stopped", text, NULL);
    ok(reach(&seen.downs, 2), "so does one that stopped while it was written to: %s", seen.reason);
    is_int(seen.nulls, 2, "its command got NULL");
    kill(server.pid, SIGCONT);
    ok(reach(&seen.ups, 3), "up when it goes on");
    text = large_text(5u << 20);
    redis_callv(redis, free_text, text, "SET", "stopped", text, NULL);
    redis_callv(redis, on_reply, NULL, "STRLEN", "stopped", NULL);
    ok(reach(&seen.replies, 2), "a short stop");
    is_int(seen.integer, 5 << 20, "loses nothing");
}

static void on_stall(void *ctx)
{
    unsigned *stalls = ctx;
    ++*stalls;
}

static void test_stall(void)
{
    unsigned stalls = 0;
    close_redis();
    open_redis(server.url, 60000);
    redis_on_stall(redis, NULL, 200, on_stall, &stalls);
    reach(&seen.ups, 1);
    redis_callv(redis, on_reply, NULL, "GET", "n", NULL);
    ok(reach(&seen.replies, 1) && stalls == 0 && !redis_is_stalled(redis), "a prompt answer is no stall");
    kill(server.pid, SIGSTOP);
    uint64_t began = uv_now(&loop.uv);
    redis_probe(redis);
    redis_probe(redis);
    is_int((int64_t)redis_in_flight(redis), 1, "a probe is sent when nothing else is under way");
    ok(reach(&stalls, 1) && uv_now(&loop.uv) - began >= 150, "silence is told");
    ok(redis_is_stalled(redis) && redis_is_up(redis), "the connection stays up, stalled");
    redis_callv(redis, on_reply, NULL, "GET", "n", NULL);
    kill(server.pid, SIGCONT);
    ok(reach(&seen.replies, 2), "late answers come");
    ok(!redis_is_stalled(redis) && stalls == 1 && seen.nulls == 0, "and end the stall, told once");
}

/* A connection that waits for answers is not hanging while another one is answered. */
static void test_probe(void)
{
    unsigned stalls = 0;
    struct redis_url url;
    close_redis();
    open_redis(server.url, 60000);
    if (redis_url_parse(server.url, &url))
        abort();
    struct redis *probe = redis_new(&loop, &url, 60000, (struct redis_hooks){.ctx = NULL});
    redis_url_free(&url);
    redis_on_stall(redis, probe, 200, on_stall, &stalls);
    reach(&seen.ups, 1);
    redis_callv(redis, on_reply, NULL, "BLPOP", "nothing", "0.8", NULL);
    ok(reach(&seen.replies, 1), "an answer that takes long");
    is_int(stalls, 0, "is no hang");
    kill(server.pid, SIGSTOP);
    redis_callv(redis, on_reply, NULL, "GET", "n", NULL);
    ok(reach(&stalls, 1) && redis_is_stalled(redis), "silence on both is");
    kill(server.pid, SIGCONT);
    ok(reach(&seen.replies, 2) && !redis_is_stalled(redis), "until an answer comes");
    redis_free(&redis);
    redis_free(&probe);
}

static void test_refused(void)
{
    close_redis();
    open_redis("redis://127.0.0.1:1", 400);
    ok(reach(&seen.downs, 2), "a refused TCP connection is told and tried again: %s", seen.reason);
    close_redis();
    open_redis("redis://localhost:1", 400);
    ok(reach(&seen.downs, 2), "a host name is looked up: %s", seen.reason);
    close_redis();
    open_redis("redis://no-such-host.invalid", 400);
    ok(reach(&seen.downs, 1), "a name that does not exist: %s", seen.reason);
    close_redis();
    open_redis("redis://localhost:1", 400);
    for (int i = 0; i < 2; i++)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    close_redis();
    open_redis("unix:/nonexistent/socket", 400);
    ok(reach(&seen.downs, 2), "a missing socket too: %s", seen.reason);
    close_redis();
    char text[160];
    snprintf(text, sizeof text, "%s?db=99", server.url);
    open_redis(text, 400);
    ok(reach(&seen.downs, 1), "a database out of range: %s", seen.reason);
}

static void test_subscriptions(void)
{
    struct redis *other;
    close_redis();
    open_redis(server.url, 1000);
    reach(&seen.ups, 1);
    other = redis;
    open_redis(server.url, 0);
    reach(&seen.ups, 1);
    redis_subscribe(redis, on_message, NULL, SPAN("a"));
    ok(reach(&seen.subscribed, 1), "the subscription is confirmed");
    redis_callv(other, NULL, NULL, "PUBLISH", "a", "1", NULL);
    ok(reach(&seen.messages, 1), "a message comes");
    redis_unsubscribe(redis, SPAN("a"));
    redis_subscribe(redis, on_message, NULL, SPAN("a"));
    redis_unsubscribe(redis, SPAN("a"));
    redis_unsubscribe(redis, SPAN("a"));
    redis_subscribe(redis, on_message, NULL, SPAN("a"));
    ok(reach(&seen.subscribed, 3), "leaving and coming again in one turn");
    redis_callv(other, NULL, NULL, "PUBLISH", "a", "2", NULL);
    ok(reach(&seen.messages, 2), "messages still come");
    redis_unsubscribe(redis, SPAN("a"));
    redis_subscribe(redis, on_message, NULL, SPAN("b"));
    ok(reach(&seen.subscribed, 4), "another channel");
    redis_callv(other, NULL, NULL, "PUBLISH", "a", "3", NULL);
    redis_callv(other, NULL, NULL, "PUBLISH", "b", "3", NULL);
    ok(reach(&seen.messages, 3), "its message comes");
    is_int(seen.messages, 3, "and none of the left one");
    unsigned nulls = seen.nulls;
    redis_server_kill(&server);
    ok(reach(&seen.nulls, nulls + 1), "a loss is told to the subscription");
    redis_server_start(&server);
    unsigned ups = seen.ups;
    reach(&seen.ups, ups + 1);
    for (unsigned i = 0; i < 100 && (!redis_is_up(redis) || !redis_is_up(other)); i++)
        reach(&seen.ups, seen.ups + 1);
    redis_subscribe(redis, on_message, NULL, SPAN("b"));
    ok(reach(&seen.subscribed, 5), "subscribed again after the restart");
    redis_callv(other, NULL, NULL, "PUBLISH", "b", "4", NULL);
    ok(reach(&seen.messages, 4), "messages come again");
    redis_free(&other);
}

/* ---- a server that misbehaves ---- */

static struct {
    int listener;
    const struct span *says; /* one answer per read, then it closes */
    size_t count;
} peer;

static void *peer_main(void *data)
{
    char heard[4096];
    for (int fd; (fd = accept(peer.listener, NULL, NULL)) >= 0; close(fd))
        for (size_t i = 0; i < peer.count && read(fd, heard, sizeof heard) > 0; i++)
            if (send(fd, peer.says[i].p, peer.says[i].n, MSG_NOSIGNAL) < 0)
                break;
    return data;
}

/* The outcome of a command of `size` bytes when the server answers with `says`. */
static void with_peer(const struct span *says, size_t count, size_t size, unsigned downs)
{
    char path[] = "/tmp/test-redis-XXXXXX", url[80];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;
    close(mkstemp(path));
    unlink(path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    snprintf(url, sizeof url, "unix:%s", path);
    peer.says = says;
    peer.count = count;
    peer.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(peer.listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(peer.listener, 8) != 0 || pthread_create(&thread, NULL, peer_main, NULL) != 0)
        abort();
    close_redis();
    open_redis(url, 5000);
    if (size && reach(&seen.ups, 1)) {
        char *text = large_text(size);
        redis_callv(redis, free_text, text, "SET", "k", text, NULL);
    }
    reach(&seen.downs, downs);
    close_redis();
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(peer.listener);
    unlink(path);
}

static void test_peers(void)
{
    const struct {
        const char *what, *reason;
        struct span says[2];
        size_t count, size;
        unsigned replies, nulls;
    } rows[] = {
        {"closes within an answer", "closed", {SPAN("$0\r\n\r\n+PONG\r\n"), SPAN("$10\r\nabc")}, 2, 10, 0, 1},
        {"speaks no RESP",
         "Protocol error",
         {SPAN("$0\r\n\r\n+PONG\r\n"), SPAN("HTTP/1.1 400\r\n")},
         2,
         10,
         0,
         1},
        {"answers twice", "nothing", {SPAN("$0\r\n\r\n+PONG\r\n"), SPAN("+OK\r\n+OK\r\n")}, 2, 10, 1, 0},
        {"answers what it was not sent whole",
         "too big",
         {SPAN("$0\r\n\r\n+PONG\r\n"), SPAN("-ERR too big\r\n")},
         2,
         9u << 20,
         0,
         1},
        {"turns us away", "number of clients", {SPAN("-ERR max number of clients reached\r\n")}, 1, 0, 0, 0},
        {"wants a password", "NOAUTH", {SPAN("-NOAUTH Authentication required.\r\n")}, 1, 0, 0, 0},
        {"nests deeply",
         "",
         {SPAN("$0\r\n\r\n+PONG\r\n"),
          SPAN("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n")},
         2,
         10,
         0,
         1},
    };
    for (size_t i = 0; i < NELEMS(rows); i++) {
        with_peer(rows[i].says, rows[i].count, rows[i].size, 1);
        ok(seen.downs >= 1 && strstr(seen.reason, rows[i].reason), "one that %s is left: %s", rows[i].what,
           seen.reason);
        is_int(seen.replies, rows[i].replies, "%s: answers", rows[i].what);
        is_int(seen.nulls, rows[i].nulls, "%s: commands without one", rows[i].what);
    }
}

static char *tcp_port(void)
{
    static char text[8];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, size) != 0 || getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        abort();
    close(fd);
    snprintf(text, sizeof text, "%u", ntohs(at.sin_port));
    return text;
}

/* Answers are delivered when a replica has the write, or as unknown. */
static void test_replicas(void)
{
    struct redis_server copy;
    unsigned fell_short = 0, ups = 0;
    const char *port = tcp_port();
    close_redis();
    open_redis(server.url, 5000);
    redis_confirm(redis, 1, 100, count_up, &fell_short);
    reach(&seen.ups, 1);
    redis_callv(redis, on_reply, NULL, "CONFIG", "SET", "port", port, NULL);
    redis_callv(redis, on_reply, NULL, "SET", "copied", "1", NULL);
    ok(reach(&seen.nulls, 2) && seen.replies == 0, "without a replica nothing is told of what was done");
    is_int(fell_short, 1, "which is said once a turn");
    is_int(redis_in_flight(redis), 0, "nothing is in flight");

    if (!redis_server_new(&copy))
        abort();
    struct redis_url url;
    if (redis_url_parse(copy.url, &url))
        abort();
    struct redis *other = redis_new(&loop, &url, 5000, (struct redis_hooks){count_up, NULL, &ups});
    redis_url_free(&url);
    reach(&ups, 1);
    redis_callv(other, NULL, NULL, "REPLICAOF", "127.0.0.1", port, NULL);
    for (unsigned i = 0; i < 100 && seen.replies == 0; i++) {
        unsigned before = seen.nulls;
        redis_callv(redis, on_reply, NULL, "INCR", "copied", NULL);
        UNTIL(seen.replies || seen.nulls > before);
    }
    is_int(seen.replies, 1, "with one the answer is told");
    for (int i = 0; i < 100; i++)
        redis_callv(redis, on_reply, NULL, "INCR", "copied", NULL);
    long long last = seen.integer;
    ok(reach(&seen.replies, 101) && seen.integer == last + 100, "those of a turn in their order");
    kill(copy.pid, SIGSTOP);
    unsigned nulls = seen.nulls;
    redis_callv(redis, on_reply, NULL, "INCR", "copied", NULL);
    ok(reach(&seen.nulls, nulls + 1), "a replica that hangs has nothing");
    redis_callv(redis, on_reply, NULL, "INCR", "copied", NULL);
    redis_free(&redis);
    is_int(seen.nulls, nulls + 2, "freed: what was under way is told as unknown");
    redis_free(&other);
    redis_server_free(&copy);
}

/* A silent subscriber sends PINGs, and notices that they are not answered. */
static void test_silent_subscriber(void)
{
    close_redis();
    open_redis(server.url, 400);
    reach(&seen.ups, 1);
    redis_subscribe(redis, on_message, NULL, SPAN("a"));
    reach(&seen.subscribed, 1);
    unsigned ticks = 0;
    uv_timer_t timer;
    uv_timer_init(&loop.uv, &timer);
    timer.data = &ticks;
    uv_timer_start(&timer, on_count, 100, 100);
    ok(reach(&ticks, 15) && seen.downs == 0, "signs of life keep a quiet subscription");
    uv_close((uv_handle_t *)&timer, NULL);
    kill(server.pid, SIGSTOP);
    ok(reach(&seen.downs, 1), "without them it is dropped: %s", seen.reason);
    is_int(seen.nulls, 1, "which is told to the subscription");
    kill(server.pid, SIGCONT);
    ok(reach(&seen.ups, 2), "up when it goes on");
    redis_subscribe(redis, on_message, NULL, SPAN("a"));
    ok(reach(&seen.subscribed, 2), "and subscribed again");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    if (!redis_server_new(&server))
        skip_all("no redis-server");
    if (loop_init(&loop) != 0)
        abort();
    test_commands();
    test_large();
    test_partial();
    test_kill_within_reply();
    test_kill();
    test_silence();
    test_stall();
    test_probe();
    test_refused();
    test_subscriptions();
    test_silent_subscriber();
    test_replicas();
    test_peers();
    close_redis();
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    redis_server_free(&server);
    return done_testing();
}
