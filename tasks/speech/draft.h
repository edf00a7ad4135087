/* SPDX-License-Identifier: MIT */
/* Live text of an utterance whose voice is not known yet: a forked child decodes the samples as they come,
 * with whatever spectral mean it has, while its parent still gathers the voice's true mean. Its text is
 * shown as partial text and then discarded. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct draft;

/* Forks the child; NULL if that fails (then only the live text is missing). The decoder must be loaded and
 * idle. */
struct draft *draft_start(void);
/* Passes on the next samples, at 16 kHz. Never blocks: once the child falls behind, its text no longer
 * changes. */
void draft_audio(struct draft *draft, const int16_t *samples, size_t count);
/* Returns the newest text, valid until the next call, and how many samples it was made from; "" and 0
 * while there is none. Never blocks. */
const char *draft_text(struct draft *draft, size_t *ret_samples);
/* Kills the child and frees its text; NULL is fine. */
void draft_stop(struct draft **draft);
