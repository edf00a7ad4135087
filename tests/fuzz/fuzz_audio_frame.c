/* Binary frames of a client, between requests that open, end, abort and resume streams. The input is a list
 * of actions: one byte says which, one how many bytes of the rest it takes. */
#include "tests/fuzz/fake_hub.h"
#include "tests/fuzz/fuzz.h"

#define START                                                                                                \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"audio.start\",\"params\":{\"task\":\"process_speak_audio\"," \
    "\"args\":{\"resource_id\":\"r\"},\"format\":{\"encoding\":\"file\",\"name\":\"a.wav\"}}}"
#define RESUME                                                                                               \
    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"audio.resume\",\"params\":{\"task_id\":"                     \
    "\"0198d3a0-0000-7000-8000-00000000000f\"}}"

/* A frame for the stream that was opened last, with so many bytes of payload. */
static void frame(size_t payload)
{
    static char bytes[1 << 17];
    uint32_t number = fake_stream();
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (char)(number >> (24 - 8 * i));
    fake_binary((struct span){bytes, 4 + payload});
}

static void ask(const char *method)
{
    char text[128];
    int n = snprintf(text, sizeof text,
                     "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"%s\",\"params\":{\"stream\":%u}}", method,
                     fake_stream());
    fake_text((struct span){text, (size_t)n});
}

static void act(unsigned kind, unsigned parameter, struct span rest)
{
    switch (kind % 8) {
    case 0:
        fake_text(SPAN(START));
        break;
    case 1:
        frame(parameter * 257u); /* up to 65 535 bytes */
        break;
    case 2:
        fake_binary(rest);
        break;
    case 3:
        ask("audio.end");
        break;
    case 4:
        ask("audio.abort");
        break;
    case 5:
        fake_text(SPAN(RESUME));
        break;
    case 6:
        frame(parameter);
        break;
    default:
        fake_turn();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    fake_open(true, 0, data[0]);
    for (size_t at = 1; at + 1 < size;) {
        unsigned kind = data[at], parameter = data[at + 1];
        size_t left = size - at - 2, take = kind % 8 == 2 ? (parameter < left ? parameter : left) : 0;
        act(kind, parameter, fuzz_span(data + at + 2, take));
        at += 2 + take;
    }
    fake_close();
    return 0;
}
