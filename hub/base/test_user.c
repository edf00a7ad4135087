/* SPDX-License-Identifier: MIT */
/* Finding users, becoming one (as root, in a child), and detecting a container. */
#include "hub/base/file.h"
#include "hub/base/user.h"
#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_find(void)
{
    struct user user;
    ok(user_find("root", &user) && user.uid == 0 && user.gid == 0, "by name");
    is_text(user.home, "/root", "its home");
    ok(user_find("0", &user), "by number");
    is_text(user.name, "root", "its name");
    ok(user_find("4242", &user) && user.uid == 4242 && user.gid == 4242, "a number that nobody has");
    is_text(user.name, "", "without a name");
    ok(!user_find("no-such-user", &user), "no such name");
    ok(!user_find("-1", &user) && !user_find("99999999999", &user) && !user_find("", &user),
       "no such numbers");
}

static bool may_bind(unsigned port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool bound = bind(fd, (struct sockaddr *)&at, sizeof at) == 0 || errno == EADDRINUSE;
    close(fd);
    return bound;
}

/* What a child that has become the user finds wrong; 0 = nothing. */
static int become(bool ports)
{
    struct user user;
    gid_t groups[64];
    if (!user_find("daemon", &user) || !user_become(&user, ports))
        return 1;
    if (getuid() != user.uid || geteuid() != user.uid || getegid() != user.gid || setuid(0) == 0)
        return 2;
    for (int i = getgroups(64, groups) - 1; i >= 0; i--)
        if (groups[i] == 0)
            return 3;
    if (strcmp(getenv("HOME"), user.home) != 0)
        return 4;
    if (access("/proc/self/fd", R_OK) != 0 || access("/etc/shadow", R_OK) == 0)
        return 5;
    if (may_bind(81) != ports)
        return 6;
    user_keep_no_ports();
    return may_bind(82) ? 7 : 0;
}

static void test_become(bool ports)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0)
        _exit(become(ports));
    ok(waitpid(child, &status, 0) == child && status == 0, "root becomes daemon, %s (%d)",
       ports ? "who may listen anywhere for a while" : "for good", status >> 8);
}

static void test_ordinary(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct user other;
        if (geteuid() == 0 && setuid(65533) != 0)
            _exit(2);
        _exit(user_find("root", &other) && !user_become(&other, true) && errno == EPERM ? 0 : 1);
    }
    ok(waitpid(child, &status, 0) == child && status == 0, "others become nobody else");
}

static void test_container(void)
{
    char top[] = "/tmp/taskhub-user-XXXXXX", *path = NULL;
    unsetenv("container");
    unsetenv("KUBERNETES_SERVICE_HOST");
    ok(mkdtemp(top) && !user_in_container(top), "a machine");
    setenv("container", "lxc", 1);
    ok(user_in_container(top), "a variable tells a container");
    unsetenv("container");
    path = xasprintf("%s/run", top);
    mkdir(path, 0755);
    free(path);
    path = xasprintf("%s/run/.containerenv", top);
    ok(mkdir(path, 0755) == 0 && user_in_container(top), "and so does a file");
    free(path);
    path = xstrdup(top);
    directory_drop(&path);
}

int main(void)
{
    test_find();
    if (geteuid() == 0) {
        test_become(false);
        test_become(true);
    }
    test_ordinary();
    test_container();
    return done_testing();
}
