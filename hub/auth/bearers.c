/* SPDX-License-Identifier: MIT */
/* Bearers of tokens; see bearers.h. */
#include "hub/auth/bearers.h"

#include "hub/base/table.h"

struct bearer_group {
    struct table_node node;
    struct list members;
    char name[];
};

struct bearers {
    struct list all;
    struct table tokens, owners; /* of groups, none of them empty */
};

/* ---- groups ----------------------------------------------------------------------------------------- */

static struct bearer_group *group_of(struct table *table, const char *name)
{
    struct table_node *node = table_find(table, span_of(name));
    if (node)
        return container_of(node, struct bearer_group, node);
    size_t size = strlen(name) + 1;
    struct bearer_group *group = xmalloc(sizeof *group + size);
    memcpy(group->name, name, size);
    group->node.key = span_of(group->name);
    list_init(&group->members);
    table_insert(table, &group->node);
    return group;
}

static void leave(struct table *table, struct bearer_group *group, struct list *member)
{
    list_remove(member);
    if (!list_empty(&group->members))
        return;
    table_remove(table, &group->node);
    free(group);
}

void bearers_add(struct bearers *bearers, struct bearer *bearer)
{
    bearer->token = group_of(&bearers->tokens, bearer->who->token_id);
    bearer->owner = group_of(&bearers->owners, bearer->who->user_id);
    list_append(&bearers->all, &bearer->all);
    list_append(&bearer->token->members, &bearer->of_token);
    list_append(&bearer->owner->members, &bearer->of_owner);
}

void bearers_leave(struct bearers *bearers, struct bearer *bearer)
{
    if (bearer->token == NULL)
        return;
    list_remove(&bearer->all);
    leave(&bearers->tokens, bearer->token, &bearer->of_token);
    leave(&bearers->owners, bearer->owner, &bearer->of_owner);
    bearer->token = bearer->owner = NULL;
}

struct bearers *bearers_new(void)
{
    struct bearers *bearers = xcalloc(1, sizeof *bearers);
    list_init(&bearers->all);
    return bearers;
}

void bearers_free(struct bearers **bearers)
{
    if (*bearers == NULL)
        return;
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
