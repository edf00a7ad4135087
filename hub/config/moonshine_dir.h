/* SPDX-License-Identifier: MIT */
/* Where the speech engine moonshine lies: its library, the runtime that it needs, its model and their
 * licences, all in one folder. The worker loads them (tasks/speech/moonshine.h); the hub only says whether
 * they are there. No state; any thread. */
#pragma once

#include "hub/config/options.h"

#define MOONSHINE_LIBRARY "libmoonshine.so"

/* The folder (free()): speech.moonshine_dir, else `moonshine` beside the program. */
char *moonshine_dir(const struct options *options);
/* Whether the worker will be able to load the library: tries it in a child process, which the library cannot
 * harm. False and *ret_reason (free()). Blocks for some tenths of a second. */
bool moonshine_try(const struct options *options, char **ret_reason) MUSTCHECK;
