/* SPDX-License-Identifier: MIT */
/* Names of languages (BCP 47), and whether a text is written with Latin letters. Any thread. */
#pragma once

#include "hub/base/span.h"

#include <stdbool.h>

#define LANGUAGE_TAG_MAX 35 /* bytes, as RFC 5646 recommends */

/* Whether this is a well-formed tag of RFC 5646, such as "en", "pt-BR" or "zh-Hant-TW"; registers of subtags
 * are not asked, and the irregular tags of old are refused. */
bool language_well_formed(const char *tag);
/* Whether two tags begin with the same language: "en-US" and "EN". */
bool language_same(const char *tag, const char *other);
/* Whether UTF-8 text has at least one letter or digit that English words are compared by: A to Z, 0 to 9 and
 * the accented ones of Latin-1 and Latin Extended-A. */
bool text_has_latin(struct span text);
