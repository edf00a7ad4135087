/* SPDX-License-Identifier: MIT */
/* Principals and the names of owners; see principal.h. Any thread; no state. */
#include "hub/auth/principal.h"

#include "hub/base/utf8.h"
#include "hub/json/json.h"
#include "hub/json/json_write.h"

#include <ctype.h>

const char *const role_names[ROLES] = {"admin", "viewer"};

/* ---- principals ------------------------------------------------------------------------------------- */

void principal_clear(struct principal *who)
{
    free(who->user_id);
    free(who->tasks);
    memset(who, 0, sizeof *who);
}

bool principal_may_submit(const struct principal *who, const char *task)
{
    size_t n = strlen(task);
    if (who->tasks == NULL)
        return true;
    for (const char *line = who->tasks; line[0] && line[1]; line = strchr(line + 1, '\n'))
        if (strncmp(line + 1, task, n) == 0 && line[1 + n] == '\n')
            return true;
    return false;
}

/* ---- what is legal ---------------------------------------------------------------------------------- */

static bool is_plain(unsigned char c)
{
    return isalnum(c) || (c && strchr("._@+-", c));
}

/* The code point of a valid character of n bytes. */
static uint32_t decode(const unsigned char *p, size_t n)
{
    uint32_t code = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        code = code << 6 | (p[i] & 0x3fu);
    return code;
}

/* Invisible characters and those that make one name look like another (UAX #9, and the controls). */
static bool is_forbidden(uint32_t code)
{
    static const struct {
        uint32_t from, to;
    } ranges[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x061c, 0x061c},
                  {0x200e, 0x200f}, {0x202a, 0x202e}, {0x2066, 0x2069}};
    for (size_t i = 0; i < NELEMS(ranges); i++)
        if (code >= ranges[i].from && code <= ranges[i].to)
            return true;
    return false;
}

static bool is_legal(struct span user_id)
{
    const unsigned char *p = (const unsigned char *)user_id.p, *end = p + user_id.n;
    while (p < end) {
        size_t n = utf8_length(p, (size_t)(end - p));
        if (n == 0 || is_forbidden(decode(p, n)))
            return false;
        p += n;
    }
    return user_id.n >= 1 && user_id.n <= USER_ID_MAX;
}

/* ---- in and out ------------------------------------------------------------------------------------- */

bool owner_encode(struct span user_id, char to[static OWNER_SIZE])
{
    static const char digits[] = "0123456789ABCDEF";
    if (!is_legal(user_id))
        return false;
    for (size_t i = 0; i < user_id.n; i++) {
        unsigned char c = (unsigned char)user_id.p[i];
        if (is_plain(c)) {
            *to++ = (char)c;
            continue;
        }
        *to++ = '%';
        *to++ = digits[c >> 4];
        *to++ = digits[c & 15];
    }
    *to = '\0';
    return true;
}

bool owner_of_json(struct span value, char to[static OWNER_SIZE])
{
    char user_id[USER_ID_MAX + 1];
    return value.p && json_string_copy(value, user_id, sizeof user_id) && owner_encode(span_of(user_id), to);
}

static unsigned nibble(char digit)
{
    return digit <= '9' ? (unsigned)(digit - '0') & 15u : (unsigned)(digit - 'A' + 10) & 15u;
}

void owner_decode(struct span owner, char to[static USER_ID_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < owner.n && n < USER_ID_MAX; n++) {
        bool coded = owner.p[i] == '%' && owner.n - i >= 3;
        to[n] = coded ? (char)(nibble(owner.p[i + 1]) << 4 | nibble(owner.p[i + 2])) : owner.p[i];
        i += coded ? 3 : 1;
    }
    to[n] = '\0';
}

void owner_json_member(struct buf *to, const char *name, struct span owner)
{
    char user_id[USER_ID_MAX + 1];
    if (owner.n == 0 || memchr(owner.p, '%', owner.n) == NULL) {
        json_member_text(to, name, owner);
        return;
    }
    owner_decode(owner, user_id);
    json_member_text(to, name, span_of(user_id));
}
