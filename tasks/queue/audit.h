/* SPDX-License-Identifier: MIT */
/* The auditor: verifies the invariants of the queue on a live Redis, reading only, in slices that each take a
 * few milliseconds; and repairs before, if that is wanted, in slices of less than one. Loop thread only. */
#pragma once

#include "hub/base/span.h"

struct queue;

/* Walks records, owners and sets, then calls fn once with
 * {"clean":…,"tasks":N,"owners":N,"findings":[{"rule", "id","what"}…],"mended":[the same],"error"?:"…"}; at
 * most 1 000 findings are kept. `repairs`: what is damaged or miscounted is mended first
 * (tasks/queue/lua/92_repair.lua). `clean` is false as well when Redis did not answer. The report is valid
 * during the call. */
void audit_run(struct queue *queue, bool repairs, void (*fn)(void *ctx, bool clean, struct span report_json),
               void *ctx);
