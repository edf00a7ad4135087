/* SPDX-License-Identifier: MIT */
/* The engine `threads`: a bounded pool of threads in this process, for light tasks (light.threads,
 * light.queue). */
#pragma once

#include "tasks/runner/engine.h"

extern const struct engine threads_engine;
