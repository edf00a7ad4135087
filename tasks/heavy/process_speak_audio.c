/* SPDX-License-Identifier: MIT */
/* Type process_speak_audio: live speech to text, with a score if the text to read is known. Hub and worker
 * share the descriptor; the functions exist only in taskhub-worker (tasks/speech/), so the hub sees NULL.
 * Runs in a child of its own, forked from a parent that has the recogniser loaded. */
#include "tasks/model/task_type.h"
#include "tasks/speech/speech.h"

#pragma weak speech_preload
#pragma weak speech_reach
#pragma weak speech_run

static const char *const languages[] = {"en", NULL};
static const char *const encodings[] = {"pcm_s16le", "file", NULL};

static const struct json_field args[] = {
    {.name = "resource_id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 128},
    {.name = "user_name", .kinds = KIND_STRING, .min = 0, .max = 128},
    {.name = "expected_text", .kinds = KIND_STRING, .min = 0, .max = 8000},
    {.name = "language", .kinds = KIND_STRING, .words = languages},
    {.name = "format", .kinds = KIND_OBJECT}, /* added by audio.start */
};
enum { ARG_FORMAT = 4 };

static const struct json_field format[] = {
    {.name = "encoding", .kinds = KIND_STRING, .required = true, .words = encodings},
    {.name = "sample_rate", .kinds = KIND_INTEGER, .min = 8000, .max = 96000},
    {.name = "channels", .kinds = KIND_INTEGER, .min = 1, .max = 2},
    {.name = "name", .kinds = KIND_STRING, .min = 0, .max = 255},
};

static bool check(const struct span *values, struct json_field_error *ret_error)
{
    struct span found[NELEMS(format)];
    return values[ARG_FORMAT].p == NULL ||
           json_match(values[ARG_FORMAT], format, NELEMS(format), found, ret_error);
}

const struct task_type task_type_process_speak_audio = {
    .name = "process_speak_audio",
    .title = "Speech to text while it is spoken, with a score for a given text",
    .kind = TASK_HEAVY,
    .queue = "live",
    .isolation = TASK_FRESH,
    .stream = true,
    .args = args,
    .arg_count = NELEMS(args),
    .check = check,
    .soft_limit_s = 7200,
    .coalesce_ms = 0,
    .configured_reach = speech_reach,
    .preload = speech_preload,
    .run = speech_run,
};
