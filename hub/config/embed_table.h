/* SPDX-License-Identifier: MIT */
/* The generated table behind embed_find(), made by hub/config/embed.py. Immutable. */
#pragma once

#include "hub/config/embed.h"

extern const struct embed embed_table[];
extern const size_t embed_count;
