/* SPDX-License-Identifier: MIT */
/* Users; see user.h. */
#include "hub/base/user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_number(const char *text)
{
    size_t n = strlen(text);
    return n && n < 10 && strspn(text, "0123456789") == n;
}

bool user_find(const char *name, struct user *ret)
{
    uid_t number = is_number(name) ? (uid_t)strtoul(name, NULL, 10) : 0;
    const struct passwd *found = getpwnam(name);
    if (found == NULL && is_number(name))
        found = getpwuid(number);
    *ret = (struct user){.uid = number, .gid = (gid_t)number};
    if (found == NULL)
        return is_number(name);
    ret->uid = found->pw_uid;
    ret->gid = found->pw_gid;
    snprintf(ret->name, sizeof ret->name, "%s", found->pw_name);
    snprintf(ret->home, sizeof ret->home, "%s", found->pw_dir);
    return true;
}

static bool set_capabilities(uint32_t low)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{low, low, 0}, {0, 0, 0}};
    return syscall(SYS_capset, &header, data) == 0;
}

static void tell_environment(const struct user *user)
{
    setenv("HOME", *user->home ? user->home : "/", 1);
    if (*user->name) {
        setenv("USER", user->name, 1);
        setenv("LOGNAME", user->name, 1);
    }
}

bool user_become(const struct user *user, bool ports)
{
    bool grouped = *user->name ? initgroups(user->name, user->gid) == 0 : setgroups(1, &user->gid) == 0;
    if (!grouped || prctl(PR_SET_KEEPCAPS, ports, 0, 0, 0) != 0 ||
        setresgid(user->gid, user->gid, user->gid) != 0 || setresuid(user->uid, user->uid, user->uid) != 0)
        return false;
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* as for a process that user started */
    tell_environment(user);
    return set_capabilities(ports ? 1u << CAP_NET_BIND_SERVICE : 0);
}

void user_keep_no_ports(void)
{
    if (geteuid() != 0)
        set_capabilities(0);
}

bool user_in_container(const char *top)
{
    static const char *const files[] = {"/.dockerenv", "/run/.containerenv", "/run/systemd/container"};
    static const char *const variables[] = {"container", "KUBERNETES_SERVICE_HOST"};
    char path[512];
    for (size_t i = 0; i < NELEMS(variables); i++)
        if (getenv(variables[i]))
            return true;
    for (size_t i = 0; i < NELEMS(files); i++) {
        snprintf(path, sizeof path, "%s%s", top, files[i]);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}
