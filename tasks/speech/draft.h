/* SPDX-License-Identifier: MIT */
/* Live text of an utterance whose voice is not known yet: a forked child decodes the samples as they come
 * with whatever spectral mean it has, while its parent still gathers the voice's true mean. What it says
 * is shown as partial text and then forgotten. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct draft;

/* Forks the child; NULL if that fails (there is no live text then, and nothing else is lost). The decoder
 * must be loaded and idle. */
struct draft *draft_start(void);
/* The next samples, at 16 kHz. Never blocks: once the child does not keep up its text stays as it is. */
void draft_audio(struct draft *draft, const int16_t *samples, size_t count);
/* The newest text, valid until the next call, and how many samples it was made from. "" and 0 while there
 * is none. Never blocks. */
const char *draft_text(struct draft *draft, size_t *ret_samples);
/* Kills the child and forgets its text; NULL is fine. */
void draft_stop(struct draft **draft);
