/* SPDX-License-Identifier: MIT */
/* The shape of language tags, as the grammar of RFC 5646 says it, and of letters. Owns nothing. */
#include "tasks/model/language.h"

#include <ctype.h>
#include <regex.h>
#include <string.h>
#include <strings.h>

#define LANGUAGE "([a-z]{2,3}(-[a-z]{3}){0,3}|[a-z]{4,8})"
#define SCRIPT "(-[a-z]{4})?"
#define REGION "(-([a-z]{2}|[0-9]{3}))?"
#define VARIANTS "(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
#define EXTENSIONS "(-[0-9a-wyz](-[a-z0-9]{2,8})+)*"
#define PRIVATE_USE "(-x(-[a-z0-9]{1,8})+)?"

bool language_well_formed(const char *tag)
{
    regex_t grammar;
    if (strlen(tag) > LANGUAGE_TAG_MAX ||
        regcomp(&grammar, "^" LANGUAGE SCRIPT REGION VARIANTS EXTENSIONS PRIVATE_USE "$",
                REG_EXTENDED | REG_ICASE | REG_NOSUB) != 0)
        return false;
    bool matches = regexec(&grammar, tag, 0, NULL, 0) == 0;
    regfree(&grammar);
    return matches;
}

bool language_same(const char *tag, const char *other)
{
    size_t length = strcspn(tag, "-");
    return length == strcspn(other, "-") && strncasecmp(tag, other, length) == 0;
}

bool text_has_latin(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i], next = i + 1 < text.n ? (unsigned char)text.p[i + 1] : 0;
        if (c < 0x80    ? isalnum(c)
            : c == 0xc3 ? next != 0x97 && next != 0xb7 && next >= 0x80
                        : c == 0xc4 || c == 0xc5)
            return true;
    }
    return false;
}
