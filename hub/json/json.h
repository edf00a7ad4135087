/* SPDX-License-Identifier: MIT */
/* The strict slicer: checks a whole JSON text once (grammar of RFC 8259, UTF-8, duplicate keys, depth,
 * members), then takes it apart into spans of raw bytes, without allocating. Payload bytes are never changed.
 * Any thread.
 *
 * Every function except json_check() requires text that json_check() accepted. */
#pragma once

#include "hub/base/buf.h"

enum json_kind {
    KIND_NONE = 0,
    KIND_OBJECT = 1,
    KIND_ARRAY = 2,
    KIND_STRING = 4,
    KIND_INTEGER = 8, /* a number without fraction and exponent */
    KIND_NUMBER = 16, /* any other number */
    KIND_TRUE = 32,
    KIND_FALSE = 64,
    KIND_NULL = 128,
};

struct json_limits {
    unsigned depth;   /* nested arrays and objects, at most JSON_DEPTH_MAX */
    unsigned members; /* of one object, at most JSON_MEMBERS_MAX */
};
#define JSON_DEPTH_MAX 32
#define JSON_MEMBERS_MAX 256
#define JSON_LIMITS ((struct json_limits){JSON_DEPTH_MAX, JSON_MEMBERS_MAX})

/* Checks `text`: exactly one JSON value with optional white space around it. Returns the value's
 * kind, or KIND_NONE and a fixed English reason in *ret_reason. A string holding U+0000 is refused. */
enum json_kind json_check(struct span text, struct json_limits limits, const char **ret_reason);

/* The kind of one raw value (leading white space allowed). */
enum json_kind json_kind_of(struct span value);
/* Removes white space at both ends. */
struct span json_trim(struct span text);

struct json_iter {
    const char *p, *end;
};
/* Begins to walk an object or array. */
struct json_iter json_walk(struct span container);
/* The next member: key without quotes but still escaped, value raw. False at the end. */
bool json_next_member(struct json_iter *iter, struct span *ret_key, struct span *ret_value);
bool json_next_element(struct json_iter *iter, struct span *ret_value);
/* Whether an escaped key (as json_next_member gives it) spells `name`. */
bool json_key_is(struct span key, const char *name);
/* The raw value of member `name`, SPAN_NONE if there is none. O(size of the object). */
struct span json_get(struct span object, const char *name);

/* Appends the decoded text of a JSON string. */
void json_string_append(struct buf *to, struct span value);
/* Decodes a JSON string into `to`, NUL-terminated; false if it is not a string or needs more than size - 1
 * bytes. */
bool json_string_copy(struct span value, char *to, size_t size) MUSTCHECK;
/* The number of bytes of the decoded string. */
size_t json_string_bytes(struct span value);
/* Whether the value is the string `text`. */
bool json_string_is(struct span value, const char *text);
/* The value as an integer; false if it is not a KIND_INTEGER that fits. */
bool json_int(struct span value, int64_t *ret) MUSTCHECK;
/* The value as a double; false if it is not a number. */
bool json_double(struct span value, double *ret) MUSTCHECK;

/* One expected member of an object: the shape that requests and task arguments are declared in. */
struct json_field {
    const char *name;
    unsigned kinds; /* allowed json_kind bits */
    bool required;
    int64_t min, max;         /* KIND_INTEGER and KIND_NUMBER: range of the value; KIND_STRING: of its decoded
                                 bytes; KIND_ARRAY: of its elements; min = max = 0: no range */
    const char *const *words; /* KIND_STRING: NULL-ended list of the allowed words, or NULL */
};
struct json_field_error {
    char field[72];    /* name of the offending member (escaped as it came, cut) */
    char message[200]; /* English, names the field and what is expected */
};
/* Matches an object against its shape: values[i] becomes the raw value of fields[i] or SPAN_NONE.
 * False and *ret_error on an unknown, missing, wrongly typed or out-of-range member. */
bool json_match(struct span object, const struct json_field *fields, size_t count, struct span *values,
                struct json_field_error *ret_error) MUSTCHECK;
/* Fills *error with what was expected of a member; always false. */
bool json_refuse(struct json_field_error *error, struct span name, const char *expected);
