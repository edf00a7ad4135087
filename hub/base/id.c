/* SPDX-License-Identifier: MIT */
/* Identifiers; see id.h. Pool and counter are per thread, so that no lock is needed. */
#include "hub/base/id.h"

#include "hub/base/clock.h"
#include "hub/base/digits.h"

#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

/* Draws 1 KiB of random bytes at a time: one system call is enough for about a hundred ids. */
static void random_bytes(unsigned char *to, size_t size)
{
    static _Thread_local unsigned char pool[1024];
    static _Thread_local size_t left;
    if (left < size) {
        randombytes_buf(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= size;
    memcpy(to, pool + left, size);
    sodium_memzero(pool + left, size);
}

/* Within a millisecond, or while the clock is behind, the counter distinguishes ids (RFC 9562 §6.2, method
 * 1). */
static void new_raw(unsigned char raw[static 16])
{
    static _Thread_local uint64_t last_ms;
    static _Thread_local unsigned counter;
    uint64_t ms = (uint64_t)clock_wall_ms();
    random_bytes(raw + 6, 10);
    if (ms <= last_ms) {
        counter++;
        if (counter > 0xfff) {
            counter = 0;
            last_ms++;
        }
        ms = last_ms;
    } else {
        counter = ((unsigned)raw[6] << 8 | raw[7]) & 0x7ff;
        last_ms = ms;
    }
    for (int i = 0; i < 6; i++)
        raw[i] = (unsigned char)(ms >> (40 - 8 * i));
    raw[6] = (unsigned char)(0x70 | counter >> 8);
    raw[7] = (unsigned char)counter;
    raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80);
}

static void write_raw(char *id, const unsigned char raw[static 16])
{
    char *p = id;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = HEX_DIGITS[raw[i] >> 4];
        *p++ = HEX_DIGITS[raw[i] & 15];
    }
    *p = '\0';
}

void id_new(char id[static ID_SIZE])
{
    unsigned char raw[16];
    new_raw(raw);
    write_raw(id, raw);
}

void id_new_tail(char id[static ID_SIZE], unsigned tail)
{
    unsigned char raw[16];
    new_raw(raw);
    raw[14] = (unsigned char)((raw[14] & 0xfc) | (tail >> 8 & 3));
    raw[15] = (unsigned char)tail;
    write_raw(id, raw);
}

void id_of_bytes(char id[static ID_SIZE], const unsigned char bytes[static 16])
{
    unsigned char raw[16];
    memcpy(raw, bytes, sizeof raw);
    raw[6] = (unsigned char)((raw[6] & 0x0f) | 0x80);
    raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80);
    write_raw(id, raw);
}

void id_bytes(unsigned char ret_bytes[static 16], const char id[static ID_SIZE])
{
    static const unsigned char at[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    for (size_t i = 0; i < 16; i++) {
        /* Only letters have bit 6 set. */
        unsigned high = (unsigned char)id[at[i]], low = (unsigned char)id[at[i] + 1];
        ret_bytes[i] = (unsigned char)((high + high / 64 * 9) << 4 | ((low + low / 64 * 9) & 15));
    }
}

bool id_valid(struct span text)
{
    if (text.n != ID_SIZE - 1)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

void id_random(char *text, size_t size)
{
    static const char alphabet[36] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i + 1 < size;) {
        unsigned char byte;
        random_bytes(&byte, 1);
        if (byte < 256 / sizeof alphabet * sizeof alphabet) /* so that all characters are equally likely */
            text[i++] = alphabet[byte % sizeof alphabet];
    }
    text[size - 1] = '\0';
}

/* Hashes the first line of a file, if it exists. Returns how many bytes. */
static size_t add_line(crypto_generichash_state *state, const char *path)
{
    char line[64] = "";
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(line, 1, sizeof line, file) : 0;
    if (file)
        fclose(file);
    crypto_generichash_update(state, (const unsigned char *)line, n);
    return n;
}

void id_host(char text[static ID_HOST_SIZE])
{
    crypto_generichash_state state;
    unsigned char digest[crypto_generichash_BYTES_MIN];
    char host[ID_HOST_SIZE] = "", tail[7];
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    size_t known = add_line(&state, "/etc/machine-id") + add_line(&state, "/proc/sys/kernel/random/boot_id");
    crypto_generichash_final(&state, digest, sizeof digest);
    if (known == 0)
        random_bytes(digest, sizeof digest);
    for (size_t i = 0; i < sizeof tail - 1; i++)
        tail[i] = HEX_DIGITS[digest[i] & 15];
    tail[sizeof tail - 1] = '\0';
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "host");
    snprintf(text, ID_HOST_SIZE, "%.40s-%s", host, tail);
}
