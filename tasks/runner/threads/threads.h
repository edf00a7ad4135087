/* SPDX-License-Identifier: MIT */
/* The engine `threads`: runs light tasks on a bounded pool of threads in this process (light.threads,
 * light.queue). Loop thread. */
#pragma once

#include "tasks/runner/engine.h"

extern const struct engine threads_engine;
