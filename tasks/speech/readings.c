/* SPDX-License-Identifier: MIT */
/* Readings of written forms. Owns the words of numbers and the tables of signs, currencies, units and
 * abbreviations. Work and memory are bounded: at most READINGS_MAX readings, of at most DIGITS_TAKEN digits.
 */
#include "tasks/speech/readings.h"

#include "hub/base/buf.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define DIGITS_MAX 9 /* longer numbers are read digit by digit */
#define DIGITS_TAKEN 32

static bool is_digit(char c)
{
    return isdigit((unsigned char)c);
}

static bool is_letter(char c)
{
    return isalpha((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* ---- sets of readings ---- */

void readings_free(struct readings *readings)
{
    for (size_t i = 0; i < readings->count; i++)
        free(readings->list[i]);
    readings->count = 0;
}

__attribute__((format(printf, 2, 3))) static void add(struct readings *to, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (size_t i = 0; i < to->count; i++)
        if (strcmp(to->list[i], text) == 0)
            return;
    if (to->count < READINGS_MAX && *text)
        to->list[to->count++] = xstrdup(text);
}

/* Adds the readings that a table separates by bars. */
static void add_listed(struct readings *to, const char *list)
{
    for (size_t length; *list; list += length + (list[length] == '|')) {
        length = strcspn(list, "|");
        add(to, "%.*s", (int)length, list);
    }
}

/* ---- numbers in words ---- */

static const char *const small[] = {
    "zero",     "one",     "two",     "three",     "four",     "five",     "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",   "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
};
static const char *const tens[] = {"",      "",      "twenty",  "thirty", "forty",
                                   "fifty", "sixty", "seventy", "eighty", "ninety"};
static const struct {
    unsigned long size;
    const char *name;
} scales[] = {{1000000, "million"}, {1000, "thousand"}, {100, "hundred"}};

struct spelled { /* a number in words, as a value */
    char text[256];
};

static void say(struct spelled *to, const char *word)
{
    size_t n = strlen(to->text);
    snprintf(to->text + n, sizeof(to->text) - n, "%s%s", n ? " " : "", word);
}

static void say_number(struct spelled *to, unsigned long n, bool with_and)
{
    bool said = false;
    for (size_t i = 0; i < NELEMS(scales); i++) {
        if (n < scales[i].size)
            continue;
        say_number(to, n / scales[i].size, with_and);
        say(to, scales[i].name);
        n %= scales[i].size;
        said = true;
        if (n && with_and && (scales[i].size == 100 || n < 100))
            say(to, "and");
    }
    if (n >= 20) {
        say(to, tens[n / 10]);
        n %= 10;
        said = true;
    }
    if (n || !said)
        say(to, small[n]);
}

static struct spelled spell(unsigned long n, bool with_and)
{
    struct spelled to = {""};
    say_number(&to, n, with_and);
    return to;
}

static struct spelled singly(const char *digits)
{
    struct spelled to = {""};
    for (; *digits; digits++)
        say(&to, small[*digits - '0']);
    return to;
}

/* Two digits as the end of a year or a time: "oh five", "fifty five". */
static struct spelled pair(unsigned long n)
{
    struct spelled to = {""};
    if (n < 10)
        say(&to, "oh");
    say_number(&to, n, false);
    return to;
}

/* The last word as an ordinal, or in the plural. */
static void change_last(struct spelled *it, bool ordinal)
{
    static const char *const odd[][2] = {{"one", "first"},     {"two", "second"},   {"three", "third"},
                                         {"five", "fifth"},    {"eight", "eighth"}, {"nine", "ninth"},
                                         {"twelve", "twelfth"}};
    char *space = strrchr(it->text, ' '), *last = space ? space + 1 : it->text;
    size_t n = strlen(last), room = sizeof(it->text) - (size_t)(last - it->text);
    for (size_t i = 0; ordinal && i < NELEMS(odd); i++)
        if (strcmp(last, odd[i][0]) == 0) {
            snprintf(last, room, "%s", odd[i][1]);
            return;
        }
    if (n && last[n - 1] == 'y')
        snprintf(last + n - 1, room - n + 1, ordinal ? "ieth" : "ies");
    else
        snprintf(last + n, room - n, ordinal ? "th" : n && last[n - 1] == 'x' ? "es" : "s");
}

static struct spelled ordinal_of(unsigned long n, bool plural)
{
    struct spelled to = spell(n, false);
    change_last(&to, true);
    if (plural)
        strncat(to.text, "s", sizeof(to.text) - strlen(to.text) - 1);
    return to;
}

/* ---- whole numbers ---- */

struct number {
    char digits[DIGITS_TAKEN + 1];
    size_t length; /* of the digits */
    size_t bytes;  /* with the commas between */
    bool grouped;
    bool singly; /* too long, or with leading zeros */
    unsigned long value;
};

static bool is_group(const char *text)
{
    return text[0] == ',' && is_digit(text[1]) && is_digit(text[2]) && is_digit(text[3]) &&
           !is_digit(text[4]);
}

/* Reads a whole number, also "12,000". */
static struct number take_number(const char *text)
{
    struct number it = {.bytes = 0};
    for (const char *p = text; it.length < DIGITS_TAKEN; p++) {
        bool group = it.length && is_group(p);
        if (!is_digit(*p) && !group)
            break;
        it.grouped |= group;
        if (!group)
            it.digits[it.length++] = *p;
        it.bytes++;
    }
    it.singly = it.length > DIGITS_MAX || (it.length > 1 && it.digits[0] == '0');
    it.value = it.length <= DIGITS_MAX ? strtoul(it.digits, NULL, 10) : 0;
    return it;
}

static bool is_year(const struct number *it)
{
    return it->length == 4 && !it->grouped && it->value >= 1100 && it->value < 2100 &&
           (it->value < 2000 || it->value > 2009);
}

/* "fourteen fifty five", "seven forty seven", "nineteen hundred". */
static void add_pairs(struct readings *to, const struct number *it)
{
    unsigned long left = it->value / 100, right = it->value % 100;
    if (it->grouped || it->length < 3 || it->length > 4)
        return;
    if (right)
        add(to, "%s %s", spell(left, false).text, pair(right).text);
}

/* "fourteen hundred fifty five". */
static void add_hundreds(struct readings *to, unsigned long n)
{
    unsigned long left = n / 100, right = n % 100;
    if (n < 1100 || n > 9999 || left % 10 == 0)
        return;
    if (right == 0)
        add(to, "%s hundred", spell(left, false).text);
    else
        for (int i = 0; i < 2; i++)
            add(to, "%s hundred %s%s", spell(left, false).text, i ? "and " : "", spell(right, false).text);
}

static void add_cardinals(struct readings *to, const struct number *it, bool year_first)
{
    if (it->singly)
        add(to, "%s", singly(it->digits).text);
    if (it->length > DIGITS_MAX)
        return;
    if (year_first && is_year(it)) {
        add_pairs(to, it);
        if (it->value % 100 == 0)
            add_hundreds(to, it->value);
    }
    for (int i = 0; i < 2; i++)
        add(to, "%s", spell(it->value, i).text);
    for (int i = 0; i < 2; i++) {
        struct spelled text = spell(it->value, i);
        if (it->value >= 100 && strncmp(text.text, "one ", 4) == 0)
            add(to, "a %s", text.text + 4);
    }
    add_pairs(to, it);
    add_hundreds(to, it->value);
    if (it->length > 1 && !it->grouped)
        add(to, "%s", singly(it->digits).text);
}

/* ---- what follows a number ---- */

/* "10:30" */
static void add_time(struct readings *to, unsigned long hour, unsigned long minute)
{
    static const struct {
        unsigned minute;
        const char *past, *before;
    } parts[] = {{30, "half", NULL}, {15, "quarter", NULL}, {45, NULL, "quarter"}};
    unsigned long twelve = hour % 12 ? hour % 12 : 12, next = twelve % 12 + 1;
    struct spelled at = spell(twelve, false), following = spell(next, false);
    for (int i = 0; i < 2; i++) {
        struct spelled shown = spell(i ? twelve : hour, false);
        if (minute == 0)
            add(to, "%s o'clock", shown.text), add(to, "%s", shown.text), add(to, "%s hundred", shown.text);
        else
            add(to, "%s %s", shown.text, pair(minute).text);
    }
    for (size_t i = 0; i < NELEMS(parts); i++)
        for (int a = 0; a < 2 && parts[i].minute == minute; a++) {
            const char *article = a ? "a " : "", *part = parts[i].past ? parts[i].past : parts[i].before;
            add(to, "%s%s %s %s", article, part, parts[i].past ? "past" : "to",
                parts[i].past ? at.text : following.text);
            add(to, "%s%s %s %s", article, part, parts[i].past ? "after" : "of",
                parts[i].past ? at.text : following.text);
        }
    for (int i = 0; i < 2 && minute; i++) {
        struct spelled count = spell(minute < 31 ? minute : 60 - minute, false);
        add(to, "%s %s%s %s", count.text, i ? "minutes " : "", minute < 31 ? "past" : "to",
            minute < 31 ? at.text : following.text);
    }
}

static size_t read_clock(const struct number *it, const char *rest, bool more, struct readings *ret)
{
    (void)more;
    if (rest[0] != ':' || !is_digit(rest[1]) || !is_digit(rest[2]) || is_digit(rest[3]) || rest[1] > '5' ||
        it->length > 2 || it->value > 24)
        return 0;
    add_time(ret, it->value, strtoul(rest + 1, NULL, 10));
    return 3;
}

/* "3.5" */
static void add_decimal(struct readings *to, const struct number *whole, const struct number *fraction)
{
    struct readings wholes = {.count = 0};
    if (whole->length)
        add_cardinals(&wholes, whole, false);
    for (size_t i = 0; i < wholes.count; i++) {
        add(to, "%s point %s", wholes.list[i], singly(fraction->digits).text);
        if (fraction->length == 2 && !fraction->singly)
            add(to, "%s point %s", wholes.list[i], spell(fraction->value, false).text);
    }
    if (whole->value == 0)
        add(to, "point %s", singly(fraction->digits).text);
    readings_free(&wholes);
}

static size_t read_decimal(const struct number *it, const char *rest, bool more, struct readings *ret)
{
    (void)more;
    if (rest[0] != '.' || !is_digit(rest[1]))
        return 0;
    struct number fraction = take_number(rest + 1);
    fraction.bytes = fraction.length; /* no groups behind the point */
    add_decimal(ret, it, &fraction);
    return fraction.grouped ? 0 : 1 + fraction.length;
}

/* "3/4"; `more`: behind a whole number. */
static void add_fraction(struct readings *to, unsigned long n, unsigned long d, bool more)
{
    struct spelled top = spell(n, false), bottom = spell(d, false), part = ordinal_of(d, n != 1);
    const char *usual = d == 2   ? (n == 1 ? "half" : "halves")
                        : d == 4 ? (n == 1 ? "quarter" : "quarters")
                                 : part.text;
    const char *const joins[] = {"and ", ""};
    if (n > d)
        add(to, "%s %s", top.text, bottom.text);
    for (int i = more ? 0 : 1; i < 2 && d > 1; i++) {
        add(to, "%s%s %s", joins[i], n == 1 && i == 0 ? "a" : top.text, usual);
        add(to, "%s%s %s", joins[i], top.text, usual);
        add(to, "%s%s %s", joins[i], top.text, part.text);
        if (n == 1)
            add(to, "%sa %s", joins[i], usual);
        if (n == 1 && d == 2)
            add(to, "%shalf", joins[i]);
    }
    add(to, "%s over %s", top.text, bottom.text);
    add(to, "%s slash %s", top.text, bottom.text);
    add(to, "%s out of %s", top.text, bottom.text);
    add(to, "%s %s", top.text, bottom.text);
}

static size_t read_fraction(const struct number *it, const char *rest, bool more, struct readings *ret)
{
    if (rest[0] != '/' || !is_digit(rest[1]) || it->length > 4)
        return 0;
    struct number d = take_number(rest + 1);
    if (d.length > 4 || d.grouped || rest[1 + d.bytes] == '/')
        return 0;
    add_fraction(ret, it->value, d.value, more);
    return 1 + d.bytes;
}

/* "21st", "1990s" */
static size_t read_ending(const struct number *it, const char *rest, bool more, struct readings *ret)
{
    static const char *const endings[] = {"st", "nd", "rd", "th", "s", "'s"};
    (void)more;
    for (size_t i = 0; i < NELEMS(endings); i++) {
        size_t n = strlen(endings[i]);
        if (strncasecmp(rest, endings[i], n) != 0 || is_letter(rest[n]) || is_digit(rest[n]))
            continue;
        struct readings cardinals = {.count = 0};
        add_cardinals(&cardinals, it, i >= 4);
        for (size_t k = 0; k < cardinals.count; k++) {
            struct spelled text = {""};
            say(&text, cardinals.list[k]);
            change_last(&text, i < 4);
            add(ret, "%s", text.text);
        }
        readings_free(&cardinals);
        return n;
    }
    return 0;
}

/* "10-20", "1914–1918", "555-1234" */
static size_t read_range(const struct number *it, const char *rest, bool more, struct readings *ret)
{
    size_t dash = rest[0] == '-' ? 1 : strncmp(rest, "\xe2\x80\x93", 3) == 0 ? 3 : 0;
    (void)more;
    if (dash == 0 || !is_digit(rest[dash]) || it->length > 4)
        return 0;
    struct number to = take_number(rest + dash);
    if (to.length > 4 || rest[dash + to.bytes] == '-')
        return 0;
    struct readings a = {.count = 0}, b = {.count = 0};
    add_cardinals(&a, it, true);
    add_cardinals(&b, &to, true);
    for (size_t i = 0; i < 2 && i < a.count; i++)
        for (size_t k = 0; k < 2 && k < b.count; k++) {
            add(ret, "%s to %s", a.list[i], b.list[k]);
            add(ret, "%s %s", a.list[i], b.list[k]);
        }
    add(ret, "%s %s", singly(it->digits).text, singly(to.digits).text);
    readings_free(&a);
    readings_free(&b);
    return dash + to.bytes;
}

static size_t read_plain(const struct number *it, bool continued, struct readings *ret)
{
    if (continued)
        add(ret, "%s", singly(it->digits).text);
    else
        add_cardinals(ret, it, true);
    if (!continued && it->value >= 1 && it->value <= 31 && it->length <= 2) /* a day: "March 5" */
        add(ret, "%s", ordinal_of(it->value, false).text);
    return it->bytes;
}

/* `before`: the character in front; `more`: another number stands before. */
static size_t read_number(const char *at, char before, bool more, struct readings *ret)
{
    static size_t (*const suffixes[])(const struct number *, const char *, bool, struct readings *) = {
        read_clock, read_decimal, read_fraction, read_ending, read_range};
    struct number it = take_number(at);
    for (size_t i = 0; i < NELEMS(suffixes) && !is_digit(before); i++) {
        size_t n = suffixes[i](&it, at + it.bytes, more, ret);
        if (n)
            return it.bytes + n;
        readings_free(ret);
    }
    return read_plain(&it, is_digit(before), ret);
}

/* ---- money ---- */

static const struct currency {
    const char *sign, *one, *many, *part, *parts;
} currencies[] = {
    {"$", "dollar", "dollars", "cent", "cents"},
    {"\xc2\xa3", "pound", "pounds", "penny", "pence"},
    {"\xe2\x82\xac", "euro", "euros", "cent", "cents"},
    {"\xc2\xa5", "yen", "yen", "sen", "sen"},
};

/* The word of a scale behind an amount, "$2.5 million" or "$3bn"; *ret_bytes = what it takes. */
static const char *scale_behind(const char *rest, size_t *ret_bytes)
{
    static const char *const names[][2] = {{" million", "million"},   {" billion", "billion"},
                                           {" trillion", "trillion"}, {" thousand", "thousand"},
                                           {"million", "million"},    {"billion", "billion"},
                                           {"bn", "billion"},         {"m", "million"},
                                           {"b", "billion"},          {"k", "thousand"}};
    for (size_t i = 0; i < NELEMS(names); i++) {
        size_t n = strlen(names[i][0]);
        if (strncasecmp(rest, names[i][0], n) == 0 && !is_letter(rest[n]) && !is_digit(rest[n])) {
            *ret_bytes = n;
            return names[i][1];
        }
    }
    *ret_bytes = 0;
    return NULL;
}

static void add_amount(struct readings *to, const struct currency *money, const char *whole,
                       unsigned long cents)
{
    const char *name = strcmp(whole, "one") == 0 ? money->one : money->many;
    const char *part = cents == 1 ? money->part : money->parts;
    struct spelled count = spell(cents, false);
    add(to, "%s %s and %s %s", whole, name, count.text, part);
    add(to, "%s %s %s %s", whole, name, count.text, part);
    add(to, "%s %s and %s", whole, name, count.text);
    add(to, "%s %s %s", whole, name, count.text);
    add(to, "%s %s", whole, pair(cents).text);
}

static void add_round_amount(struct readings *to, const struct currency *money, const struct readings *wholes,
                             const char *scale)
{
    for (size_t i = 0; i < wholes->count && i < 6; i++) {
        const char *whole = wholes->list[i], *between = scale ? " " : "", *size = scale ? scale : "";
        bool one = scale == NULL && strcmp(whole, "one") == 0;
        add(to, "%s%s%s %s", whole, between, size, one ? money->one : money->many);
        add(to, "%s%s%s %s", whole, between, size, one ? money->many : money->one);
        if (one)
            add(to, "a %s", money->one);
        add(to, "%s%s%s", whole, between, size);
    }
}

static size_t read_money(const char *at, const struct currency *money, struct readings *ret)
{
    const char *p = at + strlen(money->sign);
    struct number whole = take_number(p), cents = {.length = 0};
    p += whole.bytes;
    if (p[0] == '.' && is_digit(p[1]))
        cents = take_number(p + 1);
    p += cents.length ? 1 + cents.length : 0;
    size_t bytes;
    const char *scale = scale_behind(p, &bytes);
    struct readings wholes = {.count = 0};
    if (cents.length && (scale || cents.length != 2))
        add_decimal(&wholes, &whole, &cents);
    else
        add_cardinals(&wholes, &whole, false);
    if (scale || cents.value == 0 || cents.length != 2) {
        add_round_amount(ret, money, &wholes, scale);
    } else {
        if (whole.value == 0)
            add(ret, "%s %s", spell(cents.value, false).text, cents.value == 1 ? money->part : money->parts);
        for (size_t i = 0; i < wholes.count && i < 3; i++)
            add_amount(ret, money, wholes.list[i], cents.value);
    }
    readings_free(&wholes);
    return (size_t)(p - at) + bytes;
}

/* ---- signs, units, abbreviations, initialisms ---- */

enum where { ANYWHERE, AFTER_NUMBER, BEFORE_NUMBER };

static const struct {
    const char *sign;
    enum where where;
    const char *readings;
} signs[] = {
    {"%", AFTER_NUMBER, "percent|per cent"},
    {"&", ANYWHERE, "and"},
    {"@", ANYWHERE, "at"},
    {"#", BEFORE_NUMBER, "number|hash|hashtag|pound"},
    {"+", BEFORE_NUMBER, "plus|and"},
    {"=", ANYWHERE, "equals|is|is equal to|makes"},
    {"\xc2\xb0"
     "C",
     AFTER_NUMBER, "degrees celsius|degree celsius|degrees centigrade|degrees c|degrees"},
    {"\xc2\xb0"
     "F",
     AFTER_NUMBER, "degrees fahrenheit|degree fahrenheit|degrees f|degrees"},
    {"\xc2\xb0", AFTER_NUMBER, "degrees|degree"},
    {"\xc3\x97", AFTER_NUMBER, "times|by"},
};

static const struct {
    const char *word;
    enum where where;
    const char *readings;
} words[] = {
    {"km/h", AFTER_NUMBER, "kilometers per hour|kilometers an hour|kilometer per hour|k m h"},
    {"km", AFTER_NUMBER, "kilometers|kilometer|k m|k"},
    {"m", AFTER_NUMBER, "meters|meter|m|million"},
    {"cm", AFTER_NUMBER, "centimeters|centimeter|c m"},
    {"mm", AFTER_NUMBER, "millimeters|millimeter|m m"},
    {"kg", AFTER_NUMBER, "kilograms|kilogram|kilos|kilo|k g"},
    {"g", AFTER_NUMBER, "grams|gram|g"},
    {"mg", AFTER_NUMBER, "milligrams|milligram|m g"},
    {"lb", AFTER_NUMBER, "pounds|pound"},
    {"lbs", AFTER_NUMBER, "pounds|pound"},
    {"oz", AFTER_NUMBER, "ounces|ounce"},
    {"l", AFTER_NUMBER, "liters|liter"},
    {"ml", AFTER_NUMBER, "milliliters|milliliter|m l"},
    {"ft", AFTER_NUMBER, "feet|foot"},
    {"in", AFTER_NUMBER, "in|inches|inch"},
    {"mi", AFTER_NUMBER, "miles|mile"},
    {"mph", AFTER_NUMBER, "miles per hour|miles an hour|mile per hour|m p h"},
    {"h", AFTER_NUMBER, "hours|hour|h"},
    {"hr", AFTER_NUMBER, "hours|hour"},
    {"hrs", AFTER_NUMBER, "hours|hour"},
    {"min", AFTER_NUMBER, "minutes|minute"},
    {"s", AFTER_NUMBER, "seconds|second|s"},
    {"sec", AFTER_NUMBER, "seconds|second"},
    {"ms", AFTER_NUMBER, "milliseconds|millisecond"},
    {"kb", AFTER_NUMBER, "kilobytes|kilobyte|k b"},
    {"mb", AFTER_NUMBER, "megabytes|megabyte|m b"},
    {"gb", AFTER_NUMBER, "gigabytes|gigabyte|g b|gigs"},
    {"tb", AFTER_NUMBER, "terabytes|terabyte|t b"},
    {"hz", AFTER_NUMBER, "hertz"},
    {"khz", AFTER_NUMBER, "kilohertz"},
    {"mhz", AFTER_NUMBER, "megahertz"},
    {"ghz", AFTER_NUMBER, "gigahertz"},
    {"w", AFTER_NUMBER, "watts|watt|w"},
    {"kw", AFTER_NUMBER, "kilowatts|kilowatt"},
    {"v", AFTER_NUMBER, "volts|volt|v"},
    {"am", AFTER_NUMBER, "a m|am|in the morning"},
    {"pm", AFTER_NUMBER, "p m|pm|in the afternoon|in the evening"},
    {"no", BEFORE_NUMBER, "no|number"},
    {"dr", ANYWHERE, "doctor|drive"},
    {"st", ANYWHERE, "saint|street"},
    {"ave", ANYWHERE, "avenue|ave"},
    {"vs", ANYWHERE, "versus|v s"},
    {"etc", ANYWHERE, "et cetera|etcetera"},
    {"prof", ANYWHERE, "professor"},
    {"jr", ANYWHERE, "junior"},
    {"sr", ANYWHERE, "senior"},
};

static const struct {
    const char *sign;
    unsigned n, d;
} vulgar[] = {{"\xc2\xbd", 1, 2}, {"\xc2\xbc", 1, 4}, {"\xc2\xbe", 3, 4}};

static bool stands(enum where where, bool after, const char *rest)
{
    rest += *rest == '.';
    return where == ANYWHERE || (where == AFTER_NUMBER ? after : is_digit(rest[strspn(rest, " ")]));
}

static size_t read_sign(const char *at, char before, bool after, struct readings *ret)
{
    for (size_t i = 0; i < NELEMS(signs); i++) {
        size_t n = strlen(signs[i].sign);
        if (strncmp(at, signs[i].sign, n) == 0 && stands(signs[i].where, after, at + n)) {
            add_listed(ret, signs[i].readings);
            return n;
        }
    }
    for (size_t i = 0; i < NELEMS(vulgar); i++)
        if (strncmp(at, vulgar[i].sign, strlen(vulgar[i].sign)) == 0) {
            add_fraction(ret, vulgar[i].n, vulgar[i].d, after);
            return strlen(vulgar[i].sign);
        }
    if (at[0] == '-' && is_digit(at[1]) && (before == '\0' || before == ' ')) {
        add_listed(ret, "minus|negative");
        return 1;
    }
    if (at[0] == '.' && is_digit(at[1])) {
        struct number none = {.length = 0}, fraction = take_number(at + 1);
        add_decimal(ret, &none, &fraction);
        return 1 + fraction.bytes;
    }
    return 0;
}

static size_t read_word(const char *at, bool after, struct readings *ret)
{
    for (size_t i = 0; i < NELEMS(words); i++) {
        size_t n = strlen(words[i].word);
        if (strncasecmp(at, words[i].word, n) == 0 && !is_letter(at[n]) && !is_digit(at[n]) &&
            at[n] != '\'' && stands(words[i].where, after, at + n)) {
            add_listed(ret, words[i].readings);
            return n;
        }
    }
    return 0;
}

/* The value of a Roman numeral in its shortest form, 0 = none. */
static unsigned roman(const char *text, size_t length)
{
    static const struct {
        const char *digits;
        unsigned value;
    } parts[] = {{"C", 100}, {"XC", 90}, {"L", 50}, {"XL", 40}, {"X", 10},
                 {"IX", 9},  {"V", 5},   {"IV", 4}, {"I", 1}};
    unsigned value = 0;
    size_t at = 0;
    for (size_t i = 0; i < NELEMS(parts); i++)
        for (size_t k = 0, n = strlen(parts[i].digits);
             k < 3 && at + n <= length && memcmp(text + at, parts[i].digits, n) == 0; k++, at += n)
            value += parts[i].value;
    return at == length ? value : 0;
}

/* "USA", "U.S.A.", "VIII" */
static size_t read_capitals(const char *at, struct readings *ret)
{
    char joined[8] = "", apart[16] = "";
    size_t n = 0, taken = 0;
    bool dotted = is_letter(at[0]) && at[1] == '.' && isalpha((unsigned char)at[2]) && at[3] == '.';
    while (n < 6 && (dotted ? isalpha((unsigned char)at[taken]) && at[taken + 1] == '.'
                            : isupper((unsigned char)at[taken]))) {
        char letter = (char)tolower((unsigned char)at[taken]);
        apart[2 * n] = letter;
        apart[2 * n + 1] = ' ';
        joined[n++] = letter;
        taken += dotted ? 2 : 1;
    }
    if (n < 2 || is_letter(at[taken]) || is_digit(at[taken]) || at[taken] == '\'')
        return 0;
    apart[2 * n - 1] = '\0';
    bool spelled = dotted || strpbrk(joined, "aeiouy") == NULL;
    unsigned value = dotted ? 0 : roman(at, n);
    if (value) {
        add(ret, "%s", spell(value, false).text);
        add(ret, "the %s", ordinal_of(value, false).text);
    }
    add(ret, "%s", spelled ? apart : joined);
    add(ret, "%s", spelled ? joined : apart);
    return taken;
}

static bool after_number(const char *text, const char *at)
{
    while (at > text && at[-1] == ' ')
        at--;
    return at > text && is_digit(at[-1]);
}

size_t readings_at(const char *text, const char *at, struct readings *ret)
{
    char before = at > text ? at[-1] : '\0';
    ret->count = 0;
    if (is_digit(*at))
        return read_number(at, before, before == ' ' && after_number(text, at), ret);
    for (size_t i = 0; i < NELEMS(currencies); i++)
        if (strncmp(at, currencies[i].sign, strlen(currencies[i].sign)) == 0 &&
            is_digit(at[strlen(currencies[i].sign)]))
            return read_money(at, &currencies[i], ret);
    bool after = after_number(text, at);
    size_t n = read_sign(at, before, after, ret);
    if (n == 0 && isalpha((unsigned char)*at) && !is_letter(before) && before != '\'') {
        n = read_word(at, after, ret);
        n = n ? n : read_capitals(at, ret);
    }
    return n;
}
