/* SPDX-License-Identifier: MIT */
/* Letter-to-sound rules by flite's English lexicon. Owns that lexicon, made on first use. Runs in the
 * child of one task; knows no recogniser. */
#include "tasks/speech/pronounce.h"

#include <ctype.h>
#include <flite/flite.h>
#include <string.h>

cst_lexicon *cmu_lex_init(void); /* libflite_cmulex has no header */

/* Flite's phones to the recogniser's: upper case, no stress mark, no separate schwa. */
static size_t put_phone(const char *phone, char *to, size_t room)
{
    size_t n = strlen(phone);
    if (n && isdigit((unsigned char)phone[n - 1]))
        n--;
    if (n == 0 || n + 2 > room)
        return 0;
    for (size_t i = 0; i < n; i++)
        to[i] = (char)toupper((unsigned char)phone[i]);
    if (n == 2 && memcmp(to, "AX", 2) == 0)
        to[1] = 'H';
    return n;
}

bool pronounce(const char *word, char *to, size_t size)
{
    static cst_lexicon *lexicon;
    if (lexicon == NULL)
        lexicon = cmu_lex_init();
    cst_val *phones = lex_lookup(lexicon, word, NULL, NULL);
    size_t used = 0;
    bool fits = true;
    for (const cst_val *phone = phones; phone && fits; phone = val_cdr(phone)) {
        if (used)
            to[used++] = ' ';
        size_t n = put_phone(val_string(val_car(phone)), to + used, size - used);
        used += n;
        fits = n > 0;
    }
    delete_val(phones);
    to[used] = '\0';
    return fits && used > 0;
}
