/* SPDX-License-Identifier: MIT */
/* Files of web/, the Lua library and NOTICE as they were at build time. Immutable; any thread. */
#pragma once

#include "hub/base/span.h"

struct embed {
    const char *name; /* "app/index.html", "sdk/taskhub.js", "queue.lua" … */
    const char *type; /* media type, e.g. "text/html; charset=utf-8" */
    const char *etag; /* quoted, from the content's hash */
    struct span data;
};
/* Returns the file of that name, NULL if there is none. */
const struct embed *embed_find(struct span name);
