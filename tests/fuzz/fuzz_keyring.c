/* SPDX-License-Identifier: MIT */
/* Key files: a JSON Web Key Set, one key, or a line of base64url. */
#include "hub/auth/auth.h"
#include "tests/fuzz/fuzz.h"

#include <sodium.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *reason = NULL;
    if (sodium_init() < 0)
        abort();
    struct keyring *ring = keyring_parse(fuzz_span(data, size), &reason);
    HOLDS((ring == NULL) == (reason != NULL));
    if (ring) {
        const struct auth_claims claims = {
            .user_id = "alice", .audience = "taskhub", .issued_at = 1, .expires_at = 4000000000};
        const struct auth_rules rules = {.audience = "taskhub"};
        struct principal who = {0};
        const char *why = NULL;
        char *token = auth_sign(ring, &claims);
        if (token) { /* what it signs it accepts */
            HOLDS(auth_verify(ring, &rules, span_of(token), 2, &who, &why));
            principal_clear(&who);
        }
        free(token);
    }
    keyring_free(&ring);
    free(reason);
    return 0;
}
