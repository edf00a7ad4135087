/* SPDX-License-Identifier: MIT */
/* The configuration: precedence, files, names, errors that name what to do. */
#include "hub/config/options.h"
#include "tests/lib/tap.h"

#include <unistd.h>

static char dir[] = "/tmp/test-options-XXXXXX";

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    if (file == NULL || fputs(text, file) < 0)
        abort();
    fclose(file);
}

/* Loads with up to five arguments; the reason is freed by the next call. */
static char *last_reason;
static bool load(struct options *options, const char *a, const char *b, const char *c, const char *d)
{
    char program[] = "taskhub";
    char *argv[6] = {program};
    int argc = 1, rest;
    const char *args[] = {a, b, c, d};
    for (size_t i = 0; i < NELEMS(args) && args[i]; i++)
        argv[argc++] = xstrdup(args[i]);
    free(last_reason);
    last_reason = NULL;
    bool loaded = options_load(options, argc, argv, NULL, &rest, &last_reason);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    return loaded;
}

static void refused(const char *name, const char *want, const char *a, const char *b, const char *c,
                    const char *d)
{
    struct options options;
    if (load(&options, a, b, c, d)) {
        ok(false, "%s is refused", name);
        options_free(&options);
        return;
    }
    ok(strstr(last_reason, want) != NULL, "%s is refused: %s", name, last_reason);
}

static void refused_file(const char *name, const char *text, const char *want)
{
    write_file("bad.conf", text);
    refused(name, want, "--config", "bad.conf", NULL, NULL);
}

static void test_defaults(void)
{
    struct options options;
    setenv("HOME", "/home/x", 1);
    ok(load(&options, NULL, NULL, NULL, NULL), "loads without anything");
    is_text(options.listen, "127.0.0.1:8080", "default address");
    is_int(options.user_tasks, 5, "the default");
    is_int(options.global_tasks, 20, "the default, in all");
    is_text(options.data_dir, "/home/x/.local/state/taskhub", "data directory below HOME");
    ok(options.config_path == NULL, "no file was read");
    is_text(options.routes, "\n", "no route");
    options_free(&options);

    setenv("XDG_STATE_HOME", "/state", 1);
    ok(load(&options, NULL, NULL, NULL, NULL), "with XDG_STATE_HOME");
    is_text(options.data_dir, "/state/taskhub", "data directory of XDG");
    options_free(&options);
    setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1);
    ok(load(&options, NULL, NULL, NULL, NULL), "with STATE_DIRECTORY");
    is_text(options.data_dir, "/var/lib/one", "data directory of systemd");
    options_free(&options);
    unsetenv("STATE_DIRECTORY");
    setenv("TASKHUB_USER", "somebody", 1);
    ok(load(&options, NULL, NULL, NULL, NULL), "with a user");
    is_text(options.user, "somebody", "a short name is a name");
    is_text(options.data_dir, geteuid() == 0 ? "/var/lib/taskhub" : "/state/taskhub",
            "what is root's own is not the user's");
    options_free(&options);
    unsetenv("TASKHUB_USER");
    unsetenv("XDG_STATE_HOME");
    unsetenv("HOME");
    ok(load(&options, NULL, NULL, NULL, NULL), "without HOME");
    is_text(options.data_dir, "/var/lib/taskhub", "data directory without HOME");
    options_free(&options);
}

static void test_precedence(void)
{
    struct options options;
    write_file("good.conf", "# comment\n"
                            "limits.user_tasks = 7   # trailing\r\n"
                            "limits.global_tasks=70\n"
                            "\n"
                            "hub.name = \"file\"\n"
                            "speech.exec = \"cat # \\\"x\\\" \\\\\"\n"
                            "diagnostics = yes\n"
                            "routes.process_speak_audio = queue\n"
                            "routes.noop=threads\n");
    setenv("MAX_GLOBAL_CONCURRENT_TASKS", "71", 1);
    setenv("TASKHUB_HUB_NAME", "environment", 1);
    setenv("TASKHUB_LOG_LEVEL", "", 1);
    ok(load(&options, "--config=good.conf", "--hub-name=flag", NULL, NULL), "file, environment, flag");
    is_int(options.user_tasks, 7, "from the file");
    is_int(options.global_tasks, 71, "its other name beats the file");
    is_text(options.hub_name, "flag", "a flag beats the environment");
    is_text(options.speech_exec, "cat # \"x\" \\", "quoted value");
    is_text(options.log_level, "info", "an empty variable counts as not set");
    ok(options.diagnostics, "boolean");
    is_text(options.routes, "\nprocess_speak_audio=queue\nnoop=threads\n", "routes");
    is_text(options.config_path, "good.conf", "path of the file");
    is_int(options.origin[OPTION_ID_user_tasks].line, 2, "line is remembered");
    options_free(&options);

    setenv("TASKHUB_LIMITS_GLOBAL_TASKS", "72", 1);
    setenv("TASKHUB_ROUTES_NOOP", "queue", 1);
    ok(load(&options, "--config", "good.conf", NULL, NULL), "own name of the variable");
    is_int(options.global_tasks, 72, "beats the alias");
    is_text(options.routes, "\nprocess_speak_audio=queue\nnoop=queue\n",
            "route by environment beats the file");
    options_free(&options);
    ok(load(&options, "--config", "good.conf", "--routes-noop", "threads"), "route by flag");
    is_text(options.routes, "\nprocess_speak_audio=queue\nnoop=threads\n", "beats the environment");
    options_free(&options);
    unsetenv("TASKHUB_ROUTES_NOOP");
    unsetenv("TASKHUB_LIMITS_GLOBAL_TASKS");
    unsetenv("MAX_GLOBAL_CONCURRENT_TASKS");
    unsetenv("TASKHUB_HUB_NAME");
}

static void test_flags(void)
{
    struct options options;
    ok(load(&options, "--diagnostics", "--limits-batch", "3", NULL), "boolean flag alone");
    ok(options.diagnostics, "is true");
    is_int(options.batch, 3, "next flag is seen");
    options_free(&options);
    ok(load(&options, "--diagnostics", "false", NULL, NULL), "boolean flag with a word");
    ok(!options.diagnostics, "is false");
    options_free(&options);
    refused("unknown flag", "--nope", "--nope", "1", NULL, NULL);
    refused("misspelt flag", "did you mean --listen?", "--listn", "1", NULL, NULL);
    refused("flag without value", "--listen: needs a value", "--listen", NULL, NULL, NULL);
    refused("flag instead of a value", "--listen: needs a value", "--listen", "--limits-batch", "3", NULL);
    refused("number with a tail", "whole number between 1 and 1024", "--limits-batch", "3x", NULL, NULL);
    refused("empty number", "whole number", "--limits-batch=", NULL, NULL, NULL);
    refused("blank before a number", "whole number", "--limits-batch= 3", NULL, NULL, NULL);
    refused("huge number", "whole number", "--limits-batch", "99999999999999999999", NULL, NULL);
    refused("number out of range", "between 1 and 1024", "--limits-batch", "0", NULL, NULL);
    refused("bad boolean", "true or false", "--diagnostics=on", NULL, NULL, NULL);
    refused("bad word", "debug, info, warn or error", "--log-level", "loud", NULL, NULL);
    refused("password as argument", "password", "--redis-url", "redis://:secret@host", NULL, NULL);
    refused("password as parameter", "password", "--redis-url", "redis+sentinel://h/m?sentinel_password=x",
            NULL, NULL);
    refused("bad URL of Redis", "--redis-url: the port is not a number", "--redis-url", "redis://h:x", NULL,
            NULL);
    refused("URL without a scheme", "--redis-url: must be redis://", "--redis-url", "localhost:6379", NULL,
            NULL);
    refused("bad route", "threads or queue", "--routes-noop", "celery", NULL, NULL);
    static const char *const bad_listens[] = {
        "8080",         "127.0.0.1:x", "127.0.0.1:65536", ":80",  "::1:80", "[::1]80", "unix:",
        "127.0.0.1:-1", "127.0.0.1:",  "127.0.0.1:80\n1", "[]:80"};
    for (size_t i = 0; i < NELEMS(bad_listens); i++)
        refused(bad_listens[i], "--listen", "--listen", bad_listens[i], NULL, NULL);
    static const char *const good_listens[] = {"127.0.0.1:0", "[::1]:80", "unix:/x", "localhost:65535"};
    for (size_t i = 0; i < NELEMS(good_listens); i++) {
        ok(load(&options, "--listen", good_listens[i], NULL, NULL), "listen %s", good_listens[i]);
        options_free(&options);
    }
    refused("engine without its server", "needs speech.http_url", "--speech-engine", "http", NULL, NULL);
    refused("engine without its command", "needs speech.exec", "--speech-engine=exec",
            "--speech-exec= ", NULL, NULL);
    refused("missing file", "missing.conf", "--config", "missing.conf", NULL, NULL);
}

static void test_environment(void)
{
    setenv("TASKHUB_DATABASE_URL", "postgresql://u:p@h/d", 1);
    refused("PostgreSQL", "DATABASE_URL: PostgreSQL is not in this build", NULL, NULL, NULL, NULL);
    unsetenv("TASKHUB_DATABASE_URL");
    refused("Celery", "--celery-broker-url: an existing", "--celery-broker-url", "redis://x", NULL, NULL);
    setenv("TASKHUB_LISTN", "x", 1);
    refused("slip in a variable", "did you mean TASKHUB_LISTEN?", NULL, NULL, NULL, NULL);
    unsetenv("TASKHUB_LISTN");
    setenv("TASKHUB_PORT", "tcp://10.0.0.1:80", 1);
    setenv("TASKHUB_SERVICE_HOST", "10.0.0.1", 1);
    struct options options;
    ok(load(&options, NULL, NULL, NULL, NULL), "variables of container platforms pass");
    options_free(&options);
}

/* What an alias says that is meant for another program is passed over, and said. */
static void test_foreign_aliases(void)
{
    static const struct {
        const char *alias, *value, *key;
    } rows[] = {{"DATABASE_URL", "postgresql://u:hunter2@h/d", "database_url"},
                {"DATABASE_URL", "mysql://u:hunter2@h/d", "database_url"},
                {"CELERY_BROKER_URL", "redis://:hunter2@x", "celery.broker_url"},
                {"CELERY_RESULT_BACKEND", "rpc://", "celery.result_backend"}};
    for (size_t i = 0; i < NELEMS(rows); i++) {
        struct options options;
        setenv(rows[i].alias, rows[i].value, 1);
        ok(load(&options, NULL, NULL, NULL, NULL), "%s=%s is no mistake", rows[i].alias, rows[i].value);
        ok(options.warnings && strstr(options.warnings, rows[i].key) &&
               strstr(options.warnings, rows[i].alias) && strstr(options.warnings, "hunter2") == NULL,
           "but a warning that names %s: %s", rows[i].key, options.warnings);
        is_text(options.database_url, "", "it sets nothing");
        options_free(&options);
        unsetenv(rows[i].alias);
    }
}

static void test_overridden_aliases(void)
{
    struct options options;
    setenv("REDIS_URL", "garbage", 1);
    setenv("MAX_GLOBAL_CONCURRENT_TASKS", "many", 1);
    setenv("DATABASE_URL", "postgresql://h/d", 1);
    setenv("TASKHUB_LIMITS_GLOBAL_TASKS", "9", 1);
    setenv("TASKHUB_DATABASE_URL", "sqlite:x.db", 1);
    ok(load(&options, "--redis-url", "redis://h:1", NULL, NULL), "what is overridden is not looked at");
    is_text(options.redis_url, "redis://h:1", "a flag beats an alias");
    is_int(options.global_tasks, 9, "so does the own name");
    ok(options.warnings == NULL, "nothing to warn of");
    options_free(&options);
    unsetenv("TASKHUB_LIMITS_GLOBAL_TASKS");
    refused("a number that is ours", "MAX_GLOBAL_CONCURRENT_TASKS: must be", "--redis-url", "redis://h", NULL,
            NULL);
    unsetenv("MAX_GLOBAL_CONCURRENT_TASKS");
    refused("a Redis that is ours", "REDIS_URL: must be redis://", NULL, NULL, NULL, NULL);
    unsetenv("REDIS_URL");
    unsetenv("DATABASE_URL");
    unsetenv("TASKHUB_DATABASE_URL");
}

static void test_bad_files(void)
{
    refused_file("unknown key", "nope = 1\n", "bad.conf: line 1: nope: unknown key");
    refused_file("misspelt key", "\n\nlimits.user_task = 1\n",
                 "bad.conf: line 3: limits.user_task: unknown key, did you mean limits.user_tasks?");
    refused_file("duplicate key", "hub.name = a\nhub.name = a\n",
                 "bad.conf: line 2: hub.name: is given twice, first in line 1");
    refused_file("duplicate route", "routes.a = queue\nroutes.a = queue\n",
                 "line 2: routes.a: is given twice");
    refused_file("no equals sign", "listen 127.0.0.1:1\n", "`key = value` expected");
    refused_file("no equals sign, a secret perhaps", "redis.url\tsecret x\n", "line 1: redis.url: `key");
    refused_file("out of range", "limits.batch = 5000\n", "line 1: limits.batch: must be a whole number");
    refused_file("open quote", "hub.name = \"a\n", "quoted value");
    refused_file("text after quote", "hub.name = \"a\" b\n", "quoted value");
    refused_file("bad escape", "hub.name = \"a\\n\"\n", "quoted value");
    refused_file("bad route name", "routes.A = queue\n", "no name of a task type");
    refused_file("wrong word", "redis.fsync = never\n", "everysec or always");
    struct options options = {0};
    char *reason = NULL;
    ok(!options_parse_file(&options, "x", (struct span){"hub.name = a\0b\n", 15}, &reason), "NUL is refused");
    free(reason);
    options_free(&options);
}

static void test_print(void)
{
    struct options options;
    setenv("REDIS_URL", "redis://user:hunter2@host:1/2", 1);
    setenv("DATABASE_URL", "sqlite:/x.db?key=hunter2", 1);
    ok(load(&options, "--hub-name", "h", "--speech-exec", "a \"b\""), "loads");
    struct buf text = BUF_INIT;
    options_print(&options, &text);
    buf_append_char(&text, '\0');
    ok(strstr(text.data, "hunter2") == NULL, "the password is not shown");
    ok(strstr(text.data, "redis.url = redis://…@host:1/2 ") != NULL, "the host is");
    ok(strstr(text.data, "database_url = sqlite:/x.db?… ") != NULL, "nor what stands behind a ?");
    ok(strstr(text.data, "environment REDIS_URL") != NULL, "origin of an alias");
    ok(strstr(text.data, "# --hub-name") != NULL, "origin of a flag");
    ok(strstr(text.data, "speech.exec = \"a \\\"b\\\"\"") != NULL, "quoted for a file");
    buf_clear(&text);
    options_help(&text);
    options_document(&text);
    buf_append_char(&text, '\0');
    ok(strstr(text.data, "--limits-user-tasks N") != NULL, "help lists flags");
    ok(strstr(text.data, "`MAX_CONCURRENT_TASKS_PER_USER`") != NULL, "the page lists aliases");
    buf_free(&text);
    options_free(&options);
    unsetenv("REDIS_URL");
    unsetenv("DATABASE_URL");
}

static void test_export(void)
{
    struct options options;
    struct child_env to = {0};
    ok(load(&options, "--limits-batch", "9", NULL, NULL), "loads");
    options_export(&options, &to);
    ok(to.size == sizeof "TASKHUB_LIMITS_BATCH=9" && strcmp(to.lines, "TASKHUB_LIMITS_BATCH=9") == 0,
       "only flags are handed down, as variables");
    free(to.lines);
    options_free(&options);
}

int main(void)
{
    if (mkdtemp(dir) == NULL || chdir(dir) != 0)
        abort();
    unsetenv("REDIS_URL");
    unsetenv("TASKHUB_CONFIG");
    test_defaults();
    test_precedence();
    test_flags();
    test_environment();
    test_foreign_aliases();
    test_overridden_aliases();
    test_bad_files();
    test_print();
    test_export();
    unlink("good.conf");
    unlink("bad.conf");
    rmdir(dir);
    free(last_reason);
    return done_testing();
}
