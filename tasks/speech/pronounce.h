/* SPDX-License-Identifier: MIT */
/* Pronunciations of words that the recogniser's dictionary lacks, by letter-to-sound rules. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The phones of a word ([a-z'] only) in the dictionary's alphabet, separated by spaces. False if there
 * are none or they need more than `size` bytes. */
bool pronounce(const char *word, char *to, size_t size);
