/* SPDX-License-Identifier: MIT */
/* Connections that ask a real Sentinel for the primary: found, moved, unknown, and none that answers. */
#include "hub/redis/redis.h"

#include "tests/lib/redis_server.h"
#include "tests/lib/wait.h"

#include <arpa/inet.h>

static struct redis_server one, two;
static unsigned ports[2], port;
static struct redis *redis, *follower, *control;

static struct {
    unsigned ups, downs, replies, follower_ups;
    char reason[256], text[64];
} seen;

static void on_up(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void on_down(void *ctx, const char *reason)
{
    if (ctx != &seen.ups)
        return;
    seen.downs++;
    snprintf(seen.reason, sizeof seen.reason, "%s", reason);
}

/* The text of a reply, or the last text of an array. */
static void on_reply(void *ctx, const redisReply *reply)
{
    (void)ctx;
    seen.replies++;
    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements)
        reply = reply->element[reply->elements - 1];
    snprintf(seen.text, sizeof seen.text, "%s", reply && reply->str ? reply->str : "");
}

static struct redis *open_redis(unsigned *ups, const char *text)
{
    struct redis_url url;
    if (redis_url_parse(text, &url))
        abort();
    struct redis *opened = redis_new(&loop, &url, 5000, (struct redis_hooks){on_up, on_down, ups});
    redis_url_free(&url);
    return opened;
}

/* The URL of two Sentinels and a name; valid until the next call. */
static const char *sentinels(unsigned first, unsigned second, const char *name)
{
    static char text[128];
    snprintf(text, sizeof text, "redis+sentinel://127.0.0.1:%u,127.0.0.1:%u/%s", first, second, name);
    return text;
}

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, size) != 0 || getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        abort();
    close(fd);
    return ntohs(at.sin_port);
}

/* Sends words, ended by NULL, and waits for the answer. */
static void say(struct redis *to, const char *const *words)
{
    unsigned before = seen.replies;
    int count = 0;
    while (words[count])
        count++;
    redis_call(to, on_reply, NULL, count, words, NULL);
    reach(&seen.replies, before + 1);
}
#define SAY(to, ...) say(to, (const char *const[]){__VA_ARGS__, NULL})

/* The number of the server that the connection uses. */
static bool speaks_to(struct redis *to, size_t server)
{
    SAY(to, "CONFIG", "GET", "port");
    return strtoul(seen.text, NULL, 10) == ports[server];
}

static void start_server(struct redis_server *server, size_t i)
{
    unsigned ups = 0;
    char text[16];
    if (!redis_server_new(server))
        skip_all("no redis-server");
    struct redis *opened = open_redis(&ups, server->url);
    ports[i] = free_port();
    snprintf(text, sizeof text, "%u", ports[i]);
    reach(&ups, 1);
    SAY(opened, "CONFIG", "SET", "port", text);
    redis_free(&opened);
}

/* A Sentinel that watches the first server as "m". */
static pid_t start_sentinel(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/sentinel.conf", one.dir);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        abort();
    port = free_port();
    fprintf(file, "port %u\nsentinel monitor m 127.0.0.1 %u 1\n", port, ports[0]);
    fclose(file);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(one.dir) != 0 || freopen("sentinel.log", "a", stdout) == NULL)
            _exit(127);
        execlp("redis-server", "redis-server", path, "--sentinel", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void test_found(void)
{
    redis = open_redis(&seen.ups, sentinels(free_port(), port, "m"));
    follower = open_redis(&seen.follower_ups, sentinels(1, 2, "m"));
    redis_follow(follower, redis);
    ok(reach(&seen.ups, 1), "a Sentinel is found behind one that is not there: %s", seen.reason);
    ok(speaks_to(redis, 0), "it tells the primary");
    ok(reach(&seen.follower_ups, 1) && speaks_to(follower, 0), "who follows goes there, too");
}

/* Moves the primary as a fail-over does. */
static void test_moved(void)
{
    char text[32];
    unsigned ups = 0, downs = seen.downs; /* the Sentinel may have started slowly */
    snprintf(text, sizeof text, "redis://127.0.0.1:%u", port);
    control = open_redis(&ups, text);
    ok(reach(&ups, 1), "a Sentinel is greeted as any Redis");
    for (int i = 0; i < 3; i++) {
        redis_check_role(redis);
        SAY(redis, "PING");
    }
    is_int(seen.downs, downs, "nothing happens while it says the same");
    SAY(control, "SENTINEL", "REMOVE", "m");
    snprintf(text, sizeof text, "%u", ports[1]);
    SAY(control, "SENTINEL", "MONITOR", "m", "127.0.0.1", text, "1");
    redis_check_role(redis);
    ok(reach(&seen.ups, 2) && speaks_to(redis, 1), "another primary: the one of before is left");
    ok(reach(&seen.follower_ups, 2) && speaks_to(follower, 1), "by who follows, too");
    redis_free(&control);
}

static void test_trouble(const char *url, const char *reason)
{
    redis_free(&follower);
    redis_free(&redis);
    memset(&seen, 0, sizeof seen);
    redis = open_redis(&seen.ups, url);
    ok(reach(&seen.downs, 1) && strstr(seen.reason, reason), "%s: %s", reason, seen.reason);
    is_int(seen.ups, 0, "and nothing is up");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    if (loop_init(&loop) != 0)
        abort();
    start_server(&one, 0);
    start_server(&two, 1);
    pid_t sentinel = start_sentinel();
    test_found();
    test_moved();
    test_trouble(sentinels(port, port, "other"), "knows no primary");
    test_trouble(sentinels(free_port(), free_port(), "m"), "refused");
    redis_free(&redis);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    is_int(loop_deinit(&loop), 0, "no handle is left");
    kill(sentinel, SIGKILL);
    waitpid(sentinel, NULL, 0);
    redis_server_free(&one);
    redis_server_free(&two);
    return done_testing();
}
