/* SPDX-License-Identifier: MIT */
/* Bearers of tokens and revocations; see bearers.h. Loop thread; never reads Redis. */
#include "hub/auth/bearers.h"

#include <stdio.h>

struct revocation {
    struct table_node node; /* key: the entry's kind and name, "t …", "u …" */
    struct list all;
    int64_t until_s, before_s;
};

struct bearers {
    struct list all, revocations;
    struct table revoked;
    struct table tokens, owners; /* one bearing per name, which leads to the others */
};

/* ---- by name ---------------------------------------------------------------------------------------- */

static struct bearing *find(const struct table *table, struct span name)
{
    struct table_node *node = table_find(table, name);
    return node ? container_of(node, struct bearing, node) : NULL;
}

static void join(struct table *table, struct bearing *bearing, const char *name)
{
    struct bearing *first = find(table, span_of(name));
    bearing->node.key = span_of(name);
    bearing->first = first == NULL;
    list_init(&bearing->same);
    if (first)
        list_append(&first->same, &bearing->same);
    else
        table_insert(table, &bearing->node);
}

static void leave(struct table *table, struct bearing *bearing)
{
    if (bearing->first) {
        table_remove(table, &bearing->node);
        if (!list_empty(&bearing->same)) {
            struct bearing *next = container_of(bearing->same.next, struct bearing, same);
            next->first = true;
            table_insert(table, &next->node);
        }
    }
    list_remove(&bearing->same);
    bearing->node.key = SPAN_NONE;
}

void bearers_add(struct bearers *bearers, struct bearer *bearer)
{
    list_append(&bearers->all, &bearer->all);
    join(&bearers->tokens, &bearer->token, bearer->who->token_id);
    join(&bearers->owners, &bearer->owner, bearer->who->user_id);
}

void bearers_leave(struct bearers *bearers, struct bearer *bearer)
{
    if (bearer->token.node.key.p == NULL)
        return;
    list_remove(&bearer->all);
    leave(&bearers->tokens, &bearer->token);
    leave(&bearers->owners, &bearer->owner);
}

struct bearers *bearers_new(void)
{
    struct bearers *bearers = xcalloc(1, sizeof *bearers);
    list_init(&bearers->all);
    list_init(&bearers->revocations);
    return bearers;
}

void bearers_free(struct bearers **bearers)
{
    if (*bearers == NULL)
        return;
    bearers_forget(*bearers, INT64_MAX);
    table_free(&(*bearers)->revoked);
    table_free(&(*bearers)->tokens);
    table_free(&(*bearers)->owners);
    free(*bearers);
    *bearers = NULL;
}

/* ---- keys ------------------------------------------------------------------------------------------- */

void bearers_new_keys(struct bearers *bearers, const struct keyring *ring)
{
    list_for_each (node, &bearers->all) {
        struct bearer *bearer = container_of(node, struct bearer, all);
        if (!keyring_holds(ring, bearer->who->key))
            bearer->end(bearer, "the key of the token was removed");
    }
}

/* ---- revocations ----------------------------------------------------------------------------------- */

static const char revoked[] = "the token was revoked";

int64_t revocation_until(int64_t now_s, int64_t max_ttl_s)
{
    return now_s + max_ttl_s + REVOCATION_MARGIN_S;
}

void revocation_of_token(struct buf *to, const char *token_id, int64_t until_s)
{
    buf_printf(to, "t %s %lld", token_id, (long long)until_s);
}

void revocation_of_owner(struct buf *to, const char *owner, int64_t until_s, int64_t before_s)
{
    buf_printf(to, "u %s %lld %lld", owner, (long long)until_s, (long long)before_s);
}

static struct revocation *revocation_of(struct bearers *bearers, struct span name)
{
    struct table_node *node = table_find(&bearers->revoked, name);
    if (node)
        return container_of(node, struct revocation, node);
    struct revocation *revocation = table_new(&bearers->revoked, sizeof *revocation, name);
    list_append(&bearers->revocations, &revocation->all);
    return revocation;
}

/* Merges entries of one name: keeps the longest and, for an owner, the latest. */
static void note(struct bearers *bearers, struct span name, int64_t until_s, int64_t before_s)
{
    struct revocation *revocation = revocation_of(bearers, name);
    revocation->until_s = until_s > revocation->until_s ? until_s : revocation->until_s;
    revocation->before_s = before_s > revocation->before_s ? before_s : revocation->before_s;
}

static void end_by_token(struct bearing *bearing)
{
    struct bearer *bearer = container_of(bearing, struct bearer, token);
    bearer->end(bearer, revoked);
}

static void end_token(struct bearers *bearers, struct span token_id)
{
    struct bearing *first = find(&bearers->tokens, token_id);
    if (first == NULL)
        return;
    end_by_token(first);
    list_for_each (node, &first->same)
        end_by_token(container_of(node, struct bearing, same));
}

static void end_by_owner(struct bearing *bearing, int64_t before_s)
{
    struct bearer *bearer = container_of(bearing, struct bearer, owner);
    if (bearer->who->issued_at < before_s)
        bearer->end(bearer, revoked);
}

static void end_owner(struct bearers *bearers, struct span owner, int64_t before_s)
{
    struct bearing *first = find(&bearers->owners, owner);
    if (first == NULL)
        return;
    end_by_owner(first, before_s);
    list_for_each (node, &first->same)
        end_by_owner(container_of(node, struct bearing, same), before_s);
}

static bool seconds(struct span *rest, int64_t *ret)
{
    struct span word = span_cut(rest, ' ');
    *ret = 0;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        *ret = *ret * 10 + (word.p[i] - '0');
    }
    return word.n >= 1 && word.n <= 15;
}

bool bearers_revoke(struct bearers *bearers, struct span entry)
{
    struct span rest = entry, kind = span_cut(&rest, ' '), name = span_cut(&rest, ' ');
    int64_t until_s, before_s = 0;
    bool owner = span_is(kind, "u");
    if (name.n == 0 || !(owner || span_is(kind, "t")) || !seconds(&rest, &until_s) ||
        (owner && !seconds(&rest, &before_s)) || rest.p)
        return false;
    note(bearers, (struct span){entry.p, kind.n + 1 + name.n}, until_s, before_s);
    if (owner)
        end_owner(bearers, name, before_s);
    else
        end_token(bearers, name);
    return true;
}

/* The revocation of this kind and name, NULL if there is none. */
static const struct revocation *find_revocation(const struct bearers *bearers, char kind, const char *name)
{
    char key[OWNER_SIZE + 2];
    snprintf(key, sizeof key, "%c %s", kind, name);
    struct table_node *node = table_find(&bearers->revoked, span_of(key));
    return node ? container_of(node, struct revocation, node) : NULL;
}

bool bearers_revoked(const struct bearers *bearers, const struct principal *who)
{
    if (list_empty(&bearers->revocations)) /* as a rule */
        return false;
    const struct revocation *owner = find_revocation(bearers, 'u', who->user_id);
    return find_revocation(bearers, 't', who->token_id) || (owner && who->issued_at < owner->before_s);
}

void bearers_forget(struct bearers *bearers, int64_t now_s)
{
    list_for_each_safe (node, after, &bearers->revocations) {
        struct revocation *revocation = container_of(node, struct revocation, all);
        if (revocation->until_s >= now_s)
            continue;
        list_remove(&revocation->all);
        table_remove(&bearers->revoked, &revocation->node);
        free(revocation);
    }
}
