/* SPDX-License-Identifier: MIT */
/* Starting the private worker; see private_worker.h. What it must know travels in its environment. */
#include "hub/private_worker.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define LINES_MAX (OPTION_IDS + 8)
#define DRAIN_S 5 /* unless configured: a hub shall be gone within ten seconds of its SIGTERM */

struct lines {
    char *text[LINES_MAX + 1];
    size_t count;
};

static void add_line(void *ctx, const char *name, const char *value)
{
    struct lines *lines = ctx;
    if (lines->count == LINES_MAX)
        abort();
    lines->text[lines->count++] = xasprintf("%s=%s", name, value);
}

static void free_lines(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        free(lines->text[i]);
}

char *private_worker_program(char **ret_reason)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    char *path = xasprintf("%.*s/taskhub-worker", slash ? (int)(slash - self) : 0, self);
    if (access(path, X_OK) == 0)
        return path;
    *ret_reason = xasprintf("%s was not found; it belongs beside taskhub", path);
    free(path);
    return NULL;
}

static bool is_default(const struct options *options, enum option_id id)
{
    return options->origin[id].source == OPTION_DEFAULT;
}

static int64_t drain_s(const struct options *options)
{
    return is_default(options, OPTION_ID_worker_drain_s) ? DRAIN_S : options->worker_drain_s;
}

unsigned private_worker_grace_ms(const struct options *options)
{
    return (unsigned)drain_s(options) * 1000 + 2000;
}

struct child *private_worker_new(struct loop *loop, const struct options *options, const char *program,
                                 const char *hub_name, const char *redis_url, int descriptor)
{
    struct lines lines = {.count = 0};
    char text[160];
    const char *const argv[] = {program, NULL};
    options_export(options, add_line, &lines);
    add_line(&lines, "TASKHUB_REDIS_URL", redis_url);
    add_line(&lines, "TASKHUB_DATA_DIR", options->data_dir);
    if (options->config_path)
        add_line(&lines, "TASKHUB_CONFIG", options->config_path);
    if (*options->worker_name == '\0') {
        snprintf(text, sizeof text, "%s-worker", hub_name);
        add_line(&lines, "TASKHUB_WORKER_NAME", text);
    }
    snprintf(text, sizeof text, "%lld", (long long)drain_s(options));
    add_line(&lines, "TASKHUB_WORKER_DRAIN_S", text);
    lines.text[lines.count] = NULL;
    const struct child_config config = {
        .name = "taskhub-worker",
        .argv = argv,
        .environment = (const char *const *)lines.text,
        .inherit = {descriptor},
        .inherit_count = descriptor >= 0,
        .death_signal = SIGKILL,
    };
    struct child *child = child_new(loop, &config);
    free_lines(&lines);
    return child;
}
