/* SPDX-License-Identifier: MIT */
/* Quotas and charges; see quota.h. A holder exists while it has taken something. */
#include "hub/base/quota.h"

struct quota_holder {
    struct table_node node;
    struct quota *quota;
    size_t used;
};

static struct quota_holder *find(const struct quota *quota, struct span who)
{
    struct table_node *node = table_find(&quota->holders, who);
    return node ? container_of(node, struct quota_holder, node) : NULL;
}

static struct quota_holder *holder_new(struct quota *quota, struct span who)
{
    struct quota_holder *holder = table_new(&quota->holders, sizeof *holder, who);
    holder->quota = quota;
    return holder;
}

bool charge_take(struct charge *charge, struct quota *quota, struct span who, size_t n, size_t limit)
{
    if (charge->holder || n == 0)
        abort(); /* the charge in it would never be given back */
    struct quota_holder *holder = find(quota, who);
    size_t used = holder ? holder->used : 0;
    if (used > limit || n > limit - used)
        return false;
    *charge = (struct charge){holder ? holder : holder_new(quota, who), n};
    charge->holder->used += n;
    quota->used += n;
    return true;
}

void charge_give(struct charge *charge)
{
    struct quota_holder *holder = charge->holder;
    if (holder == NULL)
        return;
    holder->quota->used -= charge->n;
    holder->used -= charge->n;
    if (holder->used == 0) {
        table_remove(&holder->quota->holders, &holder->node);
        free(holder);
    }
    *charge = (struct charge){NULL, 0};
}

const char *charge_who(const struct charge *charge)
{
    return charge->holder ? charge->holder->node.key.p : NULL;
}

const struct quota *charge_quota(const struct charge *charge)
{
    return charge->holder ? charge->holder->quota : NULL;
}

size_t quota_used(const struct quota *quota, struct span who)
{
    const struct quota_holder *holder = find(quota, who);
    return holder ? holder->used : 0;
}

void quota_free(struct quota *quota)
{
    table_free(&quota->holders);
}
