/* SPDX-License-Identifier: MIT */
/* The JSON slicer: what it accepts can be walked, decoded and matched; and it agrees with jansson about
 * what JSON is, except where either has a limit of its own. */
#include "hub/json/json.h"
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

static void walk(struct span value, unsigned depth)
{
    struct span key, member;
    struct json_iter iter;
    int64_t integer;
    double number;
    char small[8];
    HOLDS(depth <= JSON_DEPTH_MAX);
    switch (json_kind_of(value)) {
    case KIND_OBJECT:
        for (iter = json_walk(value); json_next_member(&iter, &key, &member);) {
            json_key_is(key, "task_id");
            walk(member, depth + 1);
        }
        break;
    case KIND_ARRAY:
        for (iter = json_walk(value); json_next_element(&iter, &member);)
            walk(member, depth + 1);
        break;
    case KIND_STRING: {
        struct buf text = BUF_INIT, again = BUF_INIT;
        json_string_append(&text, value);
        const char *reason;
        buf_append_json(&again, buf_span(&text)); /* decoded and encoded again it is JSON */
        HOLDS(json_check(buf_span(&again), JSON_LIMITS, &reason) == KIND_STRING);
        HOLDS(json_string_copy(value, small, sizeof small) == (text.len < sizeof small));
        buf_free(&text);
        buf_free(&again);
        break;
    }
    default:
        if (!json_int(value, &integer) && !json_double(value, &number))
            HOLDS(json_kind_of(value) != KIND_NONE);
    }
}

static void match(struct span object)
{
    static const char *const words[] = {"stop", "skip", NULL};
    static const struct json_field fields[] = {
        {.name = "task", .kinds = KIND_STRING, .required = true, .min = 1, .max = 64},
        {.name = "args", .kinds = KIND_OBJECT},
        {.name = "priority", .kinds = KIND_INTEGER, .min = 0, .max = 9},
        {.name = "ratio", .kinds = KIND_NUMBER, .min = -1, .max = 1},
        {.name = "on_error", .kinds = KIND_STRING, .words = words},
        {.name = "list", .kinds = KIND_ARRAY, .min = 1, .max = 3},
        {.name = "flag", .kinds = KIND_TRUE},
    };
    struct span values[NELEMS(fields)];
    struct json_field_error error = {0};
    if (json_match(object, fields, NELEMS(fields), values, &error))
        HOLDS(values[0].p != NULL);
    else
        HOLDS(error.field[0] != '\0' || error.message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = fuzz_span(data, size);
    const char *reason = NULL;
    enum json_kind kind = json_check(text, JSON_LIMITS, &reason);
    json_error_t error;
    json_t *tree = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (kind == KIND_NONE) {
        HOLDS(reason != NULL);
        HOLDS(tree == NULL || strstr(reason, "nested too deeply") || strstr(reason, "too many members") ||
              memchr(text.p, '\0', text.n)); /* jansson takes a NUL byte for the end of the text */
    } else {
        HOLDS(tree != NULL || json_error_code(&error) == json_error_numeric_overflow);
        walk(text, 0);
        if (kind == KIND_OBJECT)
            match(text);
    }
    json_decref(tree);
    return 0;
}
