/* SPDX-License-Identifier: MIT */
/* The auditor: verifies the invariants of the queue on a live Redis, read-only, in slices of a few
 * milliseconds each; repairs first, if asked to, in slices of less than one millisecond. Loop thread only. */
#pragma once

#include "hub/base/span.h"

struct queue;

/* Walks records, owners and sets, then calls fn once with
 * {"clean":…,"tasks":N,"owners":N,"findings":[{"rule", "id","what"}…],"mended":[likewise],"error"?:"…"};
 * keeps at most 1 000 findings. `repairs`: mends what is damaged or miscounted first
 * (tasks/queue/lua/92_repair.lua). `clean` is also false when Redis did not answer. The report is valid
 * during the call. */
void audit_run(struct queue *queue, bool repairs, void (*fn)(void *ctx, bool clean, struct span report_json),
               void *ctx);
