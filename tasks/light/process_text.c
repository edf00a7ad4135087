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
    snprintf(ret_error->field, sizeof ret_error->field, "language");
    snprintf(ret_error->message, sizeof ret_error->message, "language: must be two letters like en");
    return false;
}

static void set_count(json_t *object, const char *name, int64_t value)
{
    json_object_set_new(object, name, json_integer(value));
}

/* With one digit behind the point. */
static void set_figure(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, json_real(round(value * 10) / 10));
}

static json_t *keywords_of(const struct text_figures *figures)
{
    json_t *list = json_array();
    for (size_t i = 0; i < figures->keyword_count; i++) {
        json_t *keyword = json_object();
        json_object_set_new(keyword, "word", json_string(figures->keywords[i].word));
        set_count(keyword, "count", figures->keywords[i].count);
        json_array_append_new(list, keyword);
    }
    return list;
}

static json_t *result_of(const struct text_figures *figures, bool english)
{
    json_t *result = json_object(), *readability = json_object();
    set_count(result, "characters", figures->characters);
    set_count(result, "words", figures->words);
    set_count(result, "sentences", figures->sentences);
    set_figure(result, "words_per_sentence", figures->words_per_sentence);
    set_figure(result, "reading_time_s", figures->reading_time_s);
    set_figure(readability, "lix", figures->lix);
    if (english) {
        set_figure(readability, "flesch_reading_ease", figures->flesch);
        set_figure(readability, "flesch_kincaid_grade", figures->grade);
    }
    json_object_set_new(result, "readability", readability);
    json_object_set_new(result, "keywords", keywords_of(figures));
    return result;
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
