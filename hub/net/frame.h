/* WebSocket frames as a server sends them (RFC 6455 §5.2): final, unmasked, built into a buffer. Pure
 * functions, any thread. */
#pragma once

#include "hub/base/buf.h"

enum frame_opcode { FRAME_TEXT = 1, FRAME_CLOSE = 8, FRAME_PING = 9 };

#define FRAME_HEADER_MAX 10

/* Appends the header of a frame with `size` payload bytes, which the caller appends next. */
void frame_begin(struct buf *to, enum frame_opcode opcode, size_t size);
/* Bytes of the whole frame that `data` begins with (made by frame_begin()). */
size_t frame_size(struct span data);
/* Appends a close frame; `reason` is cut at 123 bytes. */
void frame_close(struct buf *to, unsigned code, const char *reason);
