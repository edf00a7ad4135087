/* SPDX-License-Identifier: MIT */
/* The option `user`; see run_as.h. Main thread, at start. */
#include "hub/config/run_as.h"

#include "hub/base/file.h"
#include "hub/base/user.h"

#include <errno.h>
#include <unistd.h>

/* Stores the reason (taken); always false. */
static bool refuse(char **ret_reason, char *reason)
{
    *ret_reason = reason;
    return false;
}

/* Makes a missing data directory and gives it to the user. An existing one keeps its owner. */
static bool give_directory(const struct options *options, const struct user *user, char **ret_reason)
{
    const char *path = options->data_dir;
    if (access(path, F_OK) == 0)
        return true;
    if (!data_dir_make(path, ret_reason))
        return false;
    if (chown(path, user->uid, user->gid) == 0)
        return true;
    return refuse(ret_reason, xasprintf("data_dir %s: %s", path, strerror(errno)));
}

bool run_as(const struct options *options, bool ports, char **ret_reason)
{
    struct user user;
    const char *name = options->user;
    if (*name == '\0')
        return true;
    if (!user_find(name, &user))
        return refuse(ret_reason, xasprintf("option user: there is no user %s", name));
    if (user.uid == geteuid())
        return true;
    if (geteuid() != 0)
        return refuse(
            ret_reason,
            xasprintf("option user: only root can become %s, and this is user %u; start it as root, or as "
                      "%s, or leave the option out",
                      name, (unsigned)geteuid(), name));
    if (!give_directory(options, &user, ret_reason))
        return false;
    if (!user_become(&user, ports))
        return refuse(ret_reason, xasprintf("option user: cannot become %s: %s", name, strerror(errno)));
    if (access(options->data_dir, R_OK | W_OK | X_OK) != 0)
        return refuse(ret_reason,
                      xasprintf("data_dir %s: user %s cannot write there: %s; make it his (chown -R %s %s)",
                                options->data_dir, name, strerror(errno), name, options->data_dir));
    return true;
}

const char *run_as_warn(const struct options *options)
{
    if (geteuid() != 0 || *options->user || user_in_container(""))
        return NULL;
    return "running as root, which is not needed: a fault here would be a fault of the whole machine; set "
           "the option "
           "user, or user = root where it is meant";
}
