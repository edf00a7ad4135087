/* SPDX-License-Identifier: MIT */
/* Gathered files whose header says that the sound is shorter than it is. One thread. */
#pragma once

#include "tasks/speech/sniff.h"

/* Corrects the length of the sound in an AIFF, CAF or W64 file (a descriptor to read and write) if what
 * follows it is no chunk of the file: then it is sound. Returns whether it did. Leaves the position alone. */
bool mend_length(enum media_kind kind, int file);
