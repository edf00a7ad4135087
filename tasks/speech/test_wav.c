/* SPDX-License-Identifier: MIT */
/* The WAV parser and what hostile headers do to it: every size is a claim only. */
#include "hub/base/buf.h"
#include "tasks/speech/wav.h"
#include "tests/lib/tap.h"

struct seen {
    unsigned formats;
    struct pcm_format format;
    struct buf data;
};

static void on_format(void *arg, const struct pcm_format *format)
{
    struct seen *seen = arg;
    seen->formats++;
    seen->format = *format;
}

static void on_data(void *arg, const uint8_t *bytes, size_t size)
{
    struct seen *seen = arg;
    buf_append(&seen->data, bytes, size);
}

static void put(struct buf *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        buf_append_char(to, (char)(value >> (8 * i)));
}

struct header {
    unsigned tag, channels, rate, bits, align;
    uint32_t data_size;
};

static void put_format(struct buf *to, const struct header *h)
{
    buf_append_text(to, "fmt ");
    put(to, 16, 4);
    put(to, h->tag, 2);
    put(to, h->channels, 2);
    put(to, h->rate, 4);
    put(to, (uint64_t)h->rate * h->align, 4);
    put(to, h->align, 2);
    put(to, h->bits, 2);
}

static void put_riff(struct buf *to)
{
    buf_append_text(to, "RIFF");
    put(to, 0xffffffff, 4);
    buf_append_text(to, "WAVE");
}

static void put_data(struct buf *to, uint32_t claimed, const char *bytes)
{
    buf_append_text(to, "data");
    put(to, claimed, 4);
    buf_append_text(to, bytes);
}

static const struct header usual = {1, 1, 16000, 16, 2, 8};

/* Feeds a file in pieces of `step` bytes; whether it was accepted to the end. */
static bool parse(const struct buf *file, size_t step, struct seen *seen, char reason[static 128])
{
    *seen = (struct seen){.formats = 0};
    struct wav *wav = wav_new(&(struct wav_sink){seen, on_format, on_data});
    bool good = true;
    for (size_t i = 0; good && i < file->len; i += step)
        good = wav_feed(wav, (const uint8_t *)file->data + i, file->len - i < step ? file->len - i : step);
    good = good && wav_finish(wav);
    snprintf(reason, 128, "%s", wav_reason(wav) ? wav_reason(wav) : "");
    wav_free(&wav);
    return good;
}

static void test_plain(void)
{
    for (size_t step = 1; step <= 64; step += 9) {
        struct buf file = BUF_INIT;
        struct seen seen;
        char reason[128];
        put_riff(&file);
        buf_append_text(&file, "LIST");
        put(&file, 5, 4); /* odd: one byte of padding follows */
        buf_append(&file, "abcde\0", 6);
        put_format(&file, &usual);
        put_data(&file, 8, "12345678trailing rubbish");
        ok(parse(&file, step, &seen, reason), "a WAV file in pieces of %zu", step);
        is_int(seen.formats, 1, "one format");
        is_int(seen.format.rate, 16000, "rate");
        is_int(seen.format.encoding, PCM_S16, "encoding");
        is_span(buf_span(&seen.data), "12345678", "the data chunk alone");
        buf_free(&seen.data);
        buf_free(&file);
    }
}

static void test_sizes(void)
{
    static const uint32_t unknown[] = {0, 0xffffffff, 0xfffffff0};
    struct seen seen;
    char reason[128];
    for (size_t i = 0; i < NELEMS(unknown); i++) {
        struct buf file = BUF_INIT;
        put_riff(&file);
        put_format(&file, &usual);
        put_data(&file, unknown[i], "123456");
        ok(parse(&file, 7, &seen, reason), "a streaming writer's size %u", unknown[i]);
        is_span(buf_span(&seen.data), "123456", "data runs to the end");
        buf_free(&seen.data);
        buf_free(&file);
    }
    struct buf file = BUF_INIT;
    put_riff(&file);
    put_format(&file, &usual);
    put_data(&file, 4000000000u, "1234");
    ok(parse(&file, 100, &seen, reason), "4 GB claimed, 4 bytes there");
    is_span(buf_span(&seen.data), "1234", "what is there counts");
    buf_free(&seen.data);
    buf_clear(&file);
    put_riff(&file);
    buf_append_text(&file, "junk");
    put(&file, 0xffffffff, 4);
    buf_append_text(&file, "xxxx");
    ok(!parse(&file, 5, &seen, reason), "a chunk that never ends hides the data");
    is_text(reason, "the WAV file ends before its sample data", "and the reason says so");
    buf_free(&file);
}

static void test_refused(void)
{
    static const struct {
        struct header header;
        const char *reason;
    } cases[] = {
        {{1, 0, 16000, 16, 0, 8}, "the WAV file must have 1 to 8 channels"},
        {{1, 65535, 16000, 16, 65534, 8}, "the WAV file must have 1 to 8 channels"},
        {{1, 1, 0, 16, 2, 8}, "the WAV file's sample rate must be 4 000 to 192 000 Hz"},
        {{1, 1, 4000000000u, 16, 2, 8}, "the WAV file's sample rate must be 4 000 to 192 000 Hz"},
        {{1, 2, 16000, 16, 2, 8}, "the WAV file's block size contradicts its format"},
        {{1, 1, 16000, 12, 2, 8}, "the WAV file is not linear PCM of 8, 16, 24 or 32 bits or floats"},
        {{85, 1, 16000, 16, 2, 8}, "the WAV file is not linear PCM of 8, 16, 24 or 32 bits or floats"},
    };
    for (size_t i = 0; i < NELEMS(cases); i++) {
        struct buf file = BUF_INIT;
        struct seen seen;
        char reason[128];
        put_riff(&file);
        put_format(&file, &cases[i].header);
        put_data(&file, 8, "12345678");
        ok(!parse(&file, 11, &seen, reason), "case %zu is refused", i);
        is_text(reason, cases[i].reason, "with its reason");
        is_int(seen.data.len, 0, "and gives no data");
        buf_free(&file);
    }
}

static void test_order(void)
{
    struct buf file = BUF_INIT;
    struct seen seen;
    char reason[128];
    put_riff(&file);
    put_data(&file, 8, "12345678");
    ok(!parse(&file, 64, &seen, reason), "data before the format");
    is_text(reason, "the WAV file's data stands before its format", "its reason");
    buf_clear(&file);
    put_riff(&file);
    put_format(&file, &usual);
    put_format(&file, &usual);
    ok(!parse(&file, 64, &seen, reason), "two formats");
    buf_clear(&file);
    buf_append_text(&file, "RIFF....AVI rest of it");
    ok(!parse(&file, 3, &seen, reason), "another RIFF file");
    is_text(reason, "this is not a WAV file", "its reason");
    buf_clear(&file);
    put_riff(&file);
    ok(!parse(&file, 3, &seen, reason), "a file cut in its header");
    buf_free(&file);
}

static void test_extensible(void)
{
    struct buf file = BUF_INIT;
    struct seen seen;
    char reason[128];
    put_riff(&file);
    buf_append_text(&file, "fmt ");
    put(&file, 40, 4);
    put(&file, 0xfffe, 2);
    put(&file, 2, 2);
    put(&file, 48000, 4);
    put(&file, 48000 * 8, 4);
    put(&file, 8, 2);
    put(&file, 32, 2);
    put(&file, 22, 2);
    put(&file, 32, 2);
    put(&file, 3, 4); /* speakers */
    put(&file, 3, 2); /* float */
    buf_append(&file, "\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71", 14);
    put_data(&file, 8, "12345678");
    ok(parse(&file, 13, &seen, reason), "the extensible format");
    is_int(seen.format.encoding, PCM_F32, "its sub-format counts");
    is_int(seen.format.channels, 2, "channels");
    buf_free(&seen.data);
    buf_free(&file);
}

int main(void)
{
    test_plain();
    test_sizes();
    test_refused();
    test_order();
    test_extensible();
    return done_testing();
}
