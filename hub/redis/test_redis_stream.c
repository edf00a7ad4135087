/* SPDX-License-Identifier: MIT */
/* hub/redis/redis_stream.c against hiredis' own formatting: random commands through a stream that takes any
 * number of bytes; lent words are written from their place. */
#include "hub/redis/redis_stream.h"

#include "tests/lib/tap.h"

#include <errno.h>
#include <hiredis/hiredis.h>

#define WORDS_MAX 12
#define LENT_MIN 1024

static struct {
    struct buf got;
    size_t most;           /* most bytes it takes at once, 0 = any number */
    bool reluctant;        /* sometimes takes nothing */
    const char *from, *to; /* memory whose bytes are counted */
    size_t lent;           /* bytes written from that memory */
    unsigned writes;
} peer;

static unsigned random_state = 1;

static unsigned chance(unsigned n)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 8) % n;
}

static ssize_t take(struct redis_stream *stream, const struct iovec *pieces, int count)
{
    size_t room = peer.most ? 1 + chance((unsigned)peer.most) : SIZE_MAX, taken = 0;
    (void)stream;
    peer.writes++;
    if (peer.reluctant && chance(3) == 0) {
        errno = chance(2) ? EAGAIN : EINTR;
        return -1;
    }
    for (int i = 0; i < count && taken < room; i++) {
        size_t n = pieces[i].iov_len < room - taken ? pieces[i].iov_len : room - taken;
        const char *bytes = pieces[i].iov_base;
        buf_append(&peer.got, bytes, n);
        taken += n;
        if (bytes >= peer.from && bytes < peer.to)
            peer.lent += n;
    }
    return (ssize_t)taken;
}

static struct redis_stream stream = {.fd = -1, .writev = take};

struct command {
    int count;
    size_t sizes[WORDS_MAX];
    char *words[WORDS_MAX];
    uint64_t end;
};

static size_t random_size(void)
{
    switch (chance(6)) {
    case 0:
        return LENT_MIN - 2 + chance(4);
    case 1:
        return chance(70000);
    default:
        return chance(30);
    }
}

static void command_new(struct command *command)
{
    command->count = 1 + (int)chance(WORDS_MAX);
    for (int i = 0; i < command->count; i++) {
        command->sizes[i] = random_size();
        command->words[i] = xmalloc(command->sizes[i] + 1);
        for (size_t k = 0; k < command->sizes[i]; k++)
            command->words[i][k] = (char)chance(256);
    }
}

static void command_free(struct command *command)
{
    for (int i = 0; i < command->count; i++)
        free(command->words[i]);
    command->count = 0;
}

static void append_formatted(struct buf *want, const struct command *command)
{
    char *text;
    const char *words[WORDS_MAX];
    memcpy(words, command->words, sizeof words);
    int n = (int)redisFormatCommandArgv(&text, command->count, words, command->sizes);
    buf_append(want, text, (size_t)n);
    redisFreeCommand(text);
}

/* Adds and writes commands; frees the words of each as soon as its last byte is written. */
static bool same_as_formatted(size_t most, bool reluctant)
{
    struct redis_out out = {0};
    struct command commands[40] = {0};
    struct buf want CLEANUP(buf_free) = BUF_INIT;
    buf_clear(&peer.got);
    peer.most = most;
    peer.reluctant = reluctant;
    for (size_t i = 0; i < NELEMS(commands) || !redis_out_empty(&out); i++) {
        if (i < NELEMS(commands)) {
            command_new(&commands[i]);
            redis_out_command(&out, commands[i].count, (const char *const *)commands[i].words,
                              commands[i].sizes, true);
            commands[i].end = out.taken;
            append_formatted(&want, &commands[i]);
        }
        if (chance(2) && redis_out_flush(&out, &stream) != 0 && redis_out_empty(&out))
            return false;
        for (size_t k = 0; k < NELEMS(commands); k++)
            if (commands[k].end <= out.sent)
                command_free(&commands[k]);
    }
    bool same = span_equal(buf_span(&peer.got), buf_span(&want)) && out.taken == want.len;
    redis_out_free(&out);
    return same;
}

static void test_formatted(void)
{
    bool whole = true, partial = true;
    for (int i = 0; i < 40; i++) {
        whole = whole && same_as_formatted(0, false);
        partial = partial && same_as_formatted(1 + chance(60000), true);
    }
    ok(whole, "commands are written as hiredis would format them");
    ok(partial, "also in parts, by a stream that refuses now and then");
}

/* Every byte of a long word is written from its own memory, in one write with the rest. */
static void test_lent(void)
{
    struct redis_out out = {0};
    char *word = xmalloc(100000);
    memset(word, 'x', 100000);
    peer.from = word;
    peer.to = word + 100000;
    peer.most = peer.lent = peer.writes = 0;
    peer.reluctant = false;
    const char *words[] = {"SET", word, word};
    redis_out_command(&out, 3, words, (size_t[]){3, LENT_MIN, LENT_MIN - 1}, true);
    redis_out_command(&out, 3, words, (size_t[]){3, 100000, 3}, true);
    redis_out_command(&out, 3, words, (size_t[]){3, 5000, 5000}, false);
    is_int(redis_out_flush(&out, &stream), 0, "all goes out");
    is_int(peer.writes, 1, "in one write");
    is_int(peer.lent, 100000 + LENT_MIN, "long words from where they are, no others");
    ok(redis_out_empty(&out) && out.word_count == 0, "nothing waits");
    redis_out_free(&out);
    free(word);
}

/* A slow stream does not let the buffer grow without bound, and a clear wipes it. */
static void test_rest(void)
{
    struct redis_out out = {0};
    size_t most = 0;
    peer.most = 20000;
    for (int i = 0; i < 20000; i++) {
        redis_out_command(&out, 1, (const char *[]){"secret"}, NULL, true);
        if (out.taken - out.sent > 300000)
            redis_out_flush(&out, &stream);
        most = out.bytes.cap > most ? out.bytes.cap : most;
    }
    ok(most <= 2 << 20, "a rest that never ends holds %zu bytes", most);
    const char *memory = out.bytes.data;
    redis_out_clear(&out);
    ok(redis_out_empty(&out) && (out.bytes.data == NULL || memory[9] == '\0'), "cleared and wiped");
    redis_out_free(&out);
}

int main(void)
{
    test_formatted();
    test_lent();
    test_rest();
    buf_free(&peer.got);
    return done_testing();
}
