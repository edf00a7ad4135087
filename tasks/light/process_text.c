/* SPDX-License-Identifier: MIT */
/* Type process_text: figures of a text that a person wrote. */
#include "tasks/model/ctx.h"
#include "tasks/model/task_type.h"
#include "tasks/model/text.h"

#include <math.h>
#include <stdio.h>

enum { ARG_TEXT, ARG_LANGUAGE };
static const struct json_field args[] = {
    [ARG_TEXT] = {.name = "text", .kinds = KIND_STRING, .required = true, .min = 1, .max = 48000},
    [ARG_LANGUAGE] = {.name = "language", .kinds = KIND_STRING, .min = 2, .max = 2},
};

static bool check(const struct span *values, struct json_field_error *ret_error)
{
    char language[3];
    if (values[ARG_LANGUAGE].p == NULL ||
        (json_string_copy(values[ARG_LANGUAGE], language, sizeof language) &&
         strspn(language, "abcdefghijklmnopqrstuvwxyz") == 2))
        return true;
    return json_refuse(ret_error, SPAN("language"), "must be two letters like en");
}

/* Rounds to one decimal place. */
static double tenths(double value)
{
    return round(value * 10) / 10;
}

static json_t *keywords_of(const struct text_figures *figures)
{
    json_t *list = json_array();
    for (size_t i = 0; i < figures->keyword_count; i++) {
        const struct text_keyword *keyword = &figures->keywords[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:i}", "word", keyword->word, "count", (int)keyword->count));
    }
    return list;
}

static json_t *result_of(const struct text_figures *figures, bool english)
{
    json_t *readability = json_pack("{s:f}", "lix", tenths(figures->lix));
    if (english)
        json_object_update_new(readability,
                               json_pack("{s:f, s:f}", "flesch_reading_ease", tenths(figures->flesch),
                                         "flesch_kincaid_grade", tenths(figures->grade)));
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:o, s:o}", "characters", (json_int_t)figures->characters,
                     "words", (json_int_t)figures->words, "sentences", (json_int_t)figures->sentences,
                     "words_per_sentence", tenths(figures->words_per_sentence), "reading_time_s",
                     tenths(figures->reading_time_s), "readability", readability, "keywords",
                     keywords_of(figures));
}

static void run(struct task_ctx *ctx)
{
    const char *text = task_arg_text(ctx, "text"), *language = task_arg_text(ctx, "language");
    struct text_figures figures;
    task_progress(ctx, 0, "processing", NULL);
    text_measure(span_of(text), language, &figures);
    task_finish(ctx, result_of(&figures, language == NULL || strcmp(language, "en") == 0));
}

const struct task_type task_type_process_text = {
    .name = "process_text",
    .title = "Words, sentences, reading time, readability and keywords of a text",
    .kind = TASK_LIGHT,
    .repeatable = true,
    .args = args,
    .arg_count = NELEMS(args),
    .check = check,
    .run = run,
};
