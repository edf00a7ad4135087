/* SPDX-License-Identifier: MIT */
/* Binary frames of a client, between requests that end, abort and resume streams. The input is a list of
 * actions: one byte says which, one how many bytes of the rest it takes. */
#include "handlers/methods/audio_stream.h"
#include "tests/fuzz/hub.h"

#define TASK "0198d3a0-0000-7000-8000-00000000000f"
#define RESUME                                                                                               \
    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"audio.resume\",\"params\":{\"task_id\":\"" TASK "\"}}"

/* What Redis would answer to audio.start: a stream of a new task, or one that is resumed. */
static void open_stream(unsigned task)
{
    char id[] = TASK;
    struct stream *stream = stream_new(app.audio, "fuzz", NULL);
    id[ID_SIZE - 2] = (char)('0' + task % 10);
    if (stream)
        stream_open(stream, id, &reader->client, task);
}

/* A frame for the stream that was opened last, with so many bytes of payload. */
static void frame(size_t payload)
{
    static char bytes[1 << 17];
    uint32_t number = reader->client.last_stream;
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (char)(number >> (24 - 8 * i));
    audio_frame(&reader->client, (struct span){bytes, 4 + payload}, payload == 63);
}

static void ask(const char *method)
{
    char text[128];
    int n = snprintf(text, sizeof text,
                     "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"%s\",\"params\":{\"stream\":%u}}", method,
                     reader->client.last_stream);
    client_says((struct span){text, (size_t)n});
}

static void act(unsigned kind, unsigned parameter, struct span rest)
{
    switch (kind % 8) {
    case 0:
        open_stream(parameter);
        break;
    case 1:
        frame(parameter * 257u); /* up to 65 535 bytes */
        break;
    case 2:
        audio_frame(&reader->client, rest, false);
        break;
    case 3:
        ask("audio.end");
        break;
    case 4:
        ask("audio.abort");
        break;
    case 5:
        client_says(SPAN(RESUME));
        break;
    case 6:
        frame(parameter);
        break;
    default:
        turn(parameter & 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    client_comes(true, 0);
    for (size_t at = 1; at + 1 < size;) {
        unsigned kind = data[at], parameter = data[at + 1];
        size_t left = size - at - 2, take = kind % 8 == 2 ? (parameter < left ? parameter : left) : 0;
        act(kind, parameter, fuzz_span(data + at + 2, take));
        at += 2 + take;
    }
    client_leaves();
    return 0;
}
