/* One connection of a hub that exists only for fuzzing: the real handlers above, and below them functions
 * that answer what the input's fate says, one turn later. Checks every text that goes to the client. */
#pragma once

#include "hub/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* Opens the connection. `fate` decides what the queue will answer. */
void fake_open(bool authenticated, unsigned roles, uint32_t fate);
/* A message of the client; nothing happens once the connection has closed. */
void fake_text(struct span message);
void fake_binary(struct span frame);
/* Ends the turn: hooks run, then what the queue was asked is answered. */
void fake_turn(void);
/* The client goes away; outstanding answers still come. Everything is as before fake_open(). */
void fake_close(void);
/* The number of the stream that was opened last, 0 if there is none. */
uint32_t fake_stream(void);
