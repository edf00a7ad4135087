/* SPDX-License-Identifier: MIT */
/* The length of the sound in files made of chunks. Owns nothing; reads the headers of chunks, never the
 * sound. */
#include "tasks/speech/mend.h"

#include "hub/base/mem.h"

#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNKS_MAX 1000 /* of a file that is looked through */

/* How each kind writes its chunks: a name, then a length. */
struct layout {
    enum media_kind kind;
    unsigned head; /* bytes before the first chunk */
    unsigned name, length;
    bool little;       /* the length's bytes */
    bool header_too;   /* the length counts name and length */
    unsigned multiple; /* chunks are padded to one of so many bytes */
    char sound[5];     /* how the name of the sound's chunk begins */
};

static const struct layout layouts[] = {
    {MEDIA_AIFF, 12, 4, 4, .multiple = 2, .sound = "SSND"},
    {MEDIA_CAF, 8, 4, 8, .multiple = 1, .sound = "data"},
    {MEDIA_W64, 40, 16, 8, .little = true, .header_too = true, .multiple = 8, .sound = "data"},
};

struct chunk {
    char name[4];
    uint64_t start, end; /* of what it holds; the end as it says */
};

static bool read_chunk(const struct layout *layout, int file, uint64_t at, struct chunk *ret_chunk)
{
    unsigned char header[24];
    unsigned size = layout->name + layout->length;
    if (pread(file, header, size, (off_t)at) != (ssize_t)size)
        return false;
    uint64_t length = 0;
    for (unsigned i = 0; i < layout->length; i++)
        length = length << 8 | header[layout->name + (layout->little ? layout->length - 1 - i : i)];
    if (layout->header_too)
        length = length < size ? 0 : length - size;
    memcpy(ret_chunk->name, header, sizeof(ret_chunk->name));
    ret_chunk->start = at + size;
    ret_chunk->end = length > INT64_MAX - ret_chunk->start ? INT64_MAX : ret_chunk->start + length;
    return true;
}

static uint64_t next_of(const struct layout *layout, const struct chunk *chunk)
{
    return (chunk->end + layout->multiple - 1) / layout->multiple * layout->multiple;
}

static bool is_name(const char name[static 4])
{
    for (unsigned i = 0; i < 4; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != ' ')
            return false;
    return true;
}

/* Whether chunks, and nothing else, stand from here to the end. A last one may be cut. */
static bool are_chunks(const struct layout *layout, int file, uint64_t at, uint64_t size)
{
    struct chunk chunk;
    for (unsigned i = 0; i < CHUNKS_MAX && at + layout->name + layout->length <= size; i++) {
        if (!read_chunk(layout, file, at, &chunk) || !is_name(chunk.name))
            return false;
        at = next_of(layout, &chunk);
    }
    return true;
}

static void write_length(const struct layout *layout, int file, const struct chunk *chunk, uint64_t length)
{
    unsigned char bytes[8];
    if (layout->header_too)
        length += layout->name + layout->length;
    for (unsigned i = 0; i < layout->length; i++)
        bytes[layout->little ? i : layout->length - 1 - i] = (unsigned char)(length >> 8 * i);
    if (pwrite(file, bytes, layout->length, (off_t)(chunk->start - layout->length)) < 0)
        return; /* then it is decoded as it says */
}

bool mend_length(enum media_kind kind, int file)
{
    const struct layout *layout = NULL;
    struct stat facts;
    for (size_t i = 0; i < NELEMS(layouts); i++)
        if (layouts[i].kind == kind)
            layout = &layouts[i];
    if (layout == NULL || fstat(file, &facts) != 0)
        return false;
    uint64_t at = layout->head, size = (uint64_t)facts.st_size;
    struct chunk chunk;
    for (unsigned i = 0; i < CHUNKS_MAX && read_chunk(layout, file, at, &chunk); i++) {
        if (memcmp(chunk.name, layout->sound, 4) != 0) {
            at = next_of(layout, &chunk);
            continue;
        }
        bool short_ = chunk.end < size && !are_chunks(layout, file, next_of(layout, &chunk), size);
        if (short_)
            write_length(layout, file, &chunk, size - chunk.start);
        return short_;
    }
    return false;
}
