/* SPDX-License-Identifier: MIT */
/* Type process_speak_audio: live speech to text, with a score if the text to read is known. Hub and worker
 * share the descriptor; the functions exist only in taskhub-worker (tasks/speech/), so the hub sees NULL.
 * Runs in a child of its own, forked from a parent that has the recogniser loaded. */
#include "tasks/model/language.h"
#include "tasks/model/task_type.h"
#include "tasks/speech/speech.h"

#pragma weak speech_preload
#pragma weak speech_reach
#pragma weak speech_run

static const char *const encodings[] = {"pcm_s16le", "file", NULL};

static const struct json_field args[] = {
    {.name = "resource_id", .kinds = KIND_STRING, .required = true, .min = 1, .max = 128},
    {.name = "user_name", .kinds = KIND_STRING, .min = 0, .max = 128},
    {.name = "expected_text", .kinds = KIND_STRING, .min = 0, .max = 8000},
    {.name = "language", .kinds = KIND_STRING, .min = 2, .max = LANGUAGE_TAG_MAX},
    {.name = "format", .kinds = KIND_OBJECT}, /* added by audio.start */
};
enum { ARG_EXPECTED_TEXT = 2, ARG_LANGUAGE, ARG_FORMAT };

static const struct json_field format[] = {
    {.name = "encoding", .kinds = KIND_STRING, .required = true, .words = encodings},
    {.name = "sample_rate", .kinds = KIND_INTEGER, .min = 8000, .max = 96000},
    {.name = "channels", .kinds = KIND_INTEGER, .min = 1, .max = 2},
    {.name = "name", .kinds = KIND_STRING, .min = 0, .max = 255},
};

static bool is_language(struct span value)
{
    char tag[LANGUAGE_TAG_MAX + 1];
    return json_string_copy(value, tag, sizeof(tag)) && language_well_formed(tag);
}

/* "" stands for no text at all. */
static bool is_readable(struct span value)
{
    struct buf text = BUF_INIT;
    json_string_append(&text, value);
    bool readable = text.len == 0 || text_has_latin(buf_span(&text));
    buf_free(&text);
    return readable;
}

static bool check(const struct span *values, struct json_field_error *ret_error)
{
    struct span found[NELEMS(format)];
    if (values[ARG_LANGUAGE].p && !is_language(values[ARG_LANGUAGE]))
        return json_refuse(ret_error, SPAN("language"), "must be a language tag (BCP 47) like en or pt-BR");
    if (values[ARG_EXPECTED_TEXT].p && !is_readable(values[ARG_EXPECTED_TEXT]))
        return json_refuse(ret_error, SPAN("expected_text"),
                           "must have Latin letters or digits: no other words are scored");
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
