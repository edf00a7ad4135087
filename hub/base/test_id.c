/* SPDX-License-Identifier: MIT */
/* hub/base/id.c: UUID version 7 in order, the check of ids, random text. */
#include "hub/base/id.h"

#include "hub/base/clock.h"
#include "hub/base/mem.h"
#include "tests/lib/tap.h"

#include <pthread.h>
#include <sodium.h>
#include <unistd.h>

#define MANY 20000 /* more than fit into one millisecond's counter */

static char ids[2][MANY][ID_SIZE];

static void *make_ids(void *arg)
{
    char(*to)[ID_SIZE] = arg;
    for (size_t i = 0; i < MANY; i++)
        id_new(to[i]);
    return NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void test_order(void)
{
    int64_t before = clock_wall_ms();
    pthread_t other;
    pthread_create(&other, NULL, make_ids, ids[1]);
    make_ids(ids[0]);
    pthread_join(other, NULL);

    bool valid = true, rising = true, version = true;
    for (size_t i = 0; i < MANY; i++) {
        valid = valid && id_valid(span_of(ids[0][i]));
        version = version && ids[0][i][14] == '7' && strchr("89ab", ids[0][i][19]);
        rising = rising && (i == 0 || strcmp(ids[0][i - 1], ids[0][i]) < 0);
    }
    ok(valid, "%d ids are canonical", MANY);
    ok(version, "version 7 and the RFC's variant");
    ok(rising, "ids of one thread sort by time of creation");

    char high[9] = "", low[5] = "";
    memcpy(high, ids[0][0], 8);
    memcpy(low, ids[0][0] + 9, 4);
    int64_t ms = (int64_t)(strtoull(high, NULL, 16) << 16 | strtoull(low, NULL, 16));
    ok(ms >= before && ms <= clock_wall_ms(), "the first 48 bits are the milliseconds");

    qsort(ids, (size_t)2 * MANY, ID_SIZE, by_text);
    bool unique = true;
    const char(*all)[ID_SIZE] = (const char(*)[ID_SIZE])ids;
    for (size_t i = 1; i < (size_t)2 * MANY; i++)
        unique = unique && strcmp(all[i - 1], all[i]) != 0;
    ok(unique, "ids of two threads do not repeat");
}

static void test_bytes(void)
{
    unsigned char bytes[16];
    char id[ID_SIZE], again[ID_SIZE];
    id_bytes(bytes, "0198d3a0-0000-7000-8000-00000000f9af");
    ok(memcmp(bytes, "\x01\x98\xd3\xa0\0\0\x70\0\x80\0\0\0\0\0\xf9\xaf", 16) == 0, "an id's bytes");
    id_new(id);
    id[14] = '8'; /* version 8, made of bytes */
    id_bytes(bytes, id);
    id_of_bytes(again, bytes);
    is_text(again, id, "and back");
}

static void test_valid(void)
{
    static const char *const bad[] = {
        "",
        "0198d3a0-0000-7000-8000-00000000000",
        "0198d3a0-0000-7000-8000-0000000000000",
        "0198D3A0-0000-7000-8000-000000000000",
        "0198d3a000000-7000-8000-000000000000",
        "0198d3a0-0000-7000-8000-00000000000g",
        "{198d3a0-0000-7000-8000-00000000000}",
        "../../..-0000-7000-8000-000000000000",
    };
    ok(id_valid(SPAN("0198d3a0-0000-7000-8000-00000000000f")), "a canonical id");
    for (size_t i = 0; i < NELEMS(bad); i++)
        ok(!id_valid(span_of(bad[i])), "'%s' is no id", bad[i]);
    ok(!id_valid(SPAN_NONE), "the absent span is no id");
    ok(!id_valid((struct span){"0198d3a0-0000-7000-8000-0000000000\0f", 36}), "a NUL byte is no digit");
}

static void test_random(void)
{
    char a[25], b[25];
    id_random(a, sizeof a);
    id_random(b, sizeof b);
    is_int(strlen(a), 24, "as long as wanted");
    is_int(strspn(a, "abcdefghijklmnopqrstuvwxyz0123456789"), 24, "letters and digits only");
    ok(strcmp(a, b) != 0, "not the same twice");
    static char many[36001];
    unsigned counts[256] = {0}, off = 0;
    id_random(many, sizeof many);
    for (const char *p = many; *p; p++)
        counts[(unsigned char)*p]++;
    for (unsigned i = 0; i < 256; i++)
        off += counts[i] && (counts[i] < 800 || counts[i] > 1200); /* six standard deviations */
    is_int(off, 0, "each letter is as likely as any other");
}

static void test_host(void)
{
    char a[ID_HOST_SIZE], b[ID_HOST_SIZE], host[65] = "";
    gethostname(host, sizeof host - 1);
    host[40] = '\0';
    id_host(a);
    id_host(b);
    ok(strncmp(a, host, strlen(host)) == 0, "%s begins with the host's name", a);
    is_int(strspn(a + strlen(host) + 1, "0123456789abcdef"), 6, "six digits tell the machine");
    is_text(a, b, "the same each time");
}

int main(void)
{
    if (sodium_init() < 0)
        skip_all("libsodium does not start");
    test_order();
    test_bytes();
    test_valid();
    test_random();
    test_host();
    return done_testing();
}
