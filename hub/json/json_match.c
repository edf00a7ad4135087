/* SPDX-License-Identifier: MIT */
/* Shapes: matches an object against the expected members (json_match() of json.h). Any thread; no state. */
#include "hub/json/json.h"

#include <stdio.h>

static const char *kind_word(unsigned kinds)
{
    static const struct {
        unsigned kind;
        const char *word;
    } words[] = {
        {KIND_STRING, "a string"},  {KIND_INTEGER, "an integer"}, {KIND_NUMBER, "a number"},
        {KIND_OBJECT, "an object"}, {KIND_ARRAY, "an array"},     {KIND_TRUE, "true or false"},
        {KIND_NULL, "null"},
    };
    if (kinds & KIND_NUMBER)
        return "a number";
    for (size_t i = 0; i < NELEMS(words); i++)
        if (kinds & words[i].kind)
            return words[i].word;
    return "absent";
}

bool json_refuse(struct json_field_error *error, struct span name, const char *expected)
{
    snprintf(error->field, sizeof error->field, "%.*s", (int)(name.n > 64 ? 64 : name.n), name.p);
    snprintf(error->message, sizeof error->message, "%s: %s", error->field, expected);
    return false;
}

static int64_t count_elements(struct span array)
{
    struct json_iter iter = json_walk(array);
    struct span value;
    int64_t n = 0;
    while (json_next_element(&iter, &value))
        n++;
    return n;
}

/* Whether the value's size lies in the field's range. */
static bool in_range(const struct json_field *f, struct span value, enum json_kind kind)
{
    int64_t n = 0;
    double number;
    if (f->min == 0 && f->max == 0)
        return true;
    if (kind == KIND_NUMBER)
        return json_double(value, &number) && number >= (double)f->min && number <= (double)f->max;
    if (kind == KIND_STRING)
        n = (int64_t)json_string_bytes(value);
    else if (kind == KIND_ARRAY)
        n = count_elements(value);
    else if (kind != KIND_INTEGER)
        return true;
    else if (!json_int(value, &n))
        return false;
    return n >= f->min && n <= f->max;
}

static const char *unit_of(enum json_kind kind)
{
    return kind == KIND_STRING  ? "text of bytes between"
           : kind == KIND_ARRAY ? "a list of length between"
                                : "between";
}

static bool is_word(const char *const *words, struct span value)
{
    while (*words && !json_string_is(value, *words))
        words++;
    return *words != NULL;
}

static void print_words(char *to, size_t size, const char *const *words)
{
    size_t at = (size_t)snprintf(to, size, "must be one of");
    for (; *words && at < size; words++)
        at += (size_t)snprintf(to + at, size - at, " %s", *words);
}

static bool match_one(const struct json_field *f, struct span value, struct json_field_error *error)
{
    char expected[120];
    unsigned kinds =
        f->kinds | (f->kinds & KIND_NUMBER ? KIND_INTEGER : 0u) | (f->kinds & KIND_TRUE ? KIND_FALSE : 0u);
    enum json_kind kind = json_kind_of(value);
    if (!(kind & kinds))
        snprintf(expected, sizeof expected, "must be %s", kind_word(f->kinds));
    else if (!in_range(f, value, kind))
        snprintf(expected, sizeof expected, "must be %s %lld and %lld", unit_of(kind), (long long)f->min,
                 (long long)f->max);
    else if (kind == KIND_STRING && f->words && !is_word(f->words, value))
        print_words(expected, sizeof expected, f->words);
    else
        return true;
    return json_refuse(error, span_of(f->name), expected);
}

static size_t find_field(const struct json_field *fields, size_t count, struct span key)
{
    size_t i = 0;
    while (i < count && !json_key_is(key, fields[i].name))
        i++;
    return i;
}

bool json_match(struct span object, const struct json_field *fields, size_t count, struct span *values,
                struct json_field_error *ret_error)
{
    for (size_t i = 0; i < count; i++)
        values[i] = SPAN_NONE;
    if (object.p) {
        struct json_iter iter = json_walk(object);
        struct span key, value;
        while (json_next_member(&iter, &key, &value)) {
            size_t i = find_field(fields, count, key);
            if (i == count)
                return json_refuse(ret_error, key, "unknown field");
            if (!match_one(&fields[i], value, ret_error))
                return false;
            values[i] = value;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (fields[i].required && values[i].p == NULL)
            return json_refuse(ret_error, span_of(fields[i].name), "is required");
    return true;
}
