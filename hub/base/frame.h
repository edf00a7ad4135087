/* SPDX-License-Identifier: MIT */
/* WebSocket frames (RFC 6455 §5): those of a client are read strictly, heads of a server's are written.
 * Extensions are unknown here. No state but what the caller holds; any thread. */
#pragma once

#include "hub/base/span.h"

#include <stdint.h>

enum frame_opcode {
    FRAME_CONTINUATION = 0,
    FRAME_TEXT = 1,
    FRAME_BINARY = 2,
    FRAME_CLOSE = 8,
    FRAME_PING = 9,
    FRAME_PONG = 10,
};

/* ---- as a server sends them: unmasked ---- */
#define FRAME_HEAD_MAX 10
/* Writes the head of a final frame with `size` payload bytes; returns its length, 2 to FRAME_HEAD_MAX. */
size_t frame_head(char to[static FRAME_HEAD_MAX], enum frame_opcode opcode, size_t size);
/* Returns the bytes of the whole frame that `data` begins with, whose head is there. */
size_t frame_size(struct span data);

/* ---- as a client sends them: masked ---- */
enum frame_what {
    FRAME_MORE,   /* nothing yet: more bytes are needed */
    FRAME_PIECE,  /* a piece of a message, at most a frame */
    FRAME_PINGED, /* a whole ping */
    FRAME_PONGED, /* a whole pong */
    FRAME_CLOSED, /* a whole close frame; `code` is 1000 where it has none */
    FRAME_WRONG,  /* against the protocol: close with `code`; what follows means nothing */
    FRAME_WHATS,
};

struct frame_reader { /* of one connection; all zero at its start */
    uint64_t left;    /* payload bytes of the frame that are still to come */
    unsigned char mask[4];
    bool inside; /* a frame of a message has begun and not ended */
    bool final;  /* it is the last one of its message */
    bool open;   /* a message has begun and not ended */
    bool binary; /* its kind */
};

struct frame {
    enum frame_what what;
    struct span data;   /* payload, unmasked; valid as long as what was read */
    uint64_t left;      /* of a piece: bytes of its frame that are still to come */
    bool final, binary; /* of a piece: it ends its message; the message's kind */
    unsigned code;
    const char *reason; /* English, for FRAME_WRONG */
};

#define FRAME_KEPT_MAX                                                                                       \
    130 /* at FRAME_MORE fewer bytes than that are left: all but the end of a control frame */
/* Reads what stands first in the `n` bytes at `data`, and unmasks it in place. Returns how many bytes it has
 * used; what it leaves at FRAME_MORE comes again, with more behind it. */
size_t frame_read(struct frame_reader *reader, char *data, size_t n, struct frame *ret);
