/* SPDX-License-Identifier: MIT */
/* What a confined process cannot do, each tried in a child: files of others, sockets, other processes. If
 * root runs it, it is also tried as an ordinary user. */
#include "hub/base/confine.h"
#include "hub/base/file.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ORDINARY 65533

static char top[] = "/tmp/taskhub-confine-XXXXXX", own[64], other[64], secret[64];

static bool reads(const char *path)
{
    int fd = open(path, O_RDONLY);
    return fd >= 0 && close(fd) == 0;
}

static bool reads_secret(void)
{
    return reads(secret);
}

static bool lists_other(void)
{
    return reads(other);
}

static bool writes_elsewhere(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/new", top);
    return open(path, O_WRONLY | O_CREAT, 0600) >= 0 && unlink(path) == 0;
}

static bool opens_unix(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool opens_internet(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool signals_others(void)
{
    return kill(getppid(), 0) == 0;
}

static bool makes_namespace(void)
{
    return unshare(CLONE_NEWUSER) == 0;
}

/* In a child, which leads neither a session nor a group. */
static bool leaves(pid_t (*by)(void))
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(by() < 0);
    return waitpid(child, &status, 0) == child && status == 0;
}

static bool leaves_session(void)
{
    return leaves(setsid);
}

static pid_t lead_group(void)
{
    return setpgid(0, 0);
}

static bool leaves_group(void)
{
    return leaves(lead_group);
}

static bool is_root(void)
{
    return geteuid() == 0;
}

static bool writes_own(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/new", own);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    return fd >= 0 && write(fd, "x", 1) == 1 && unlink(path) == 0;
}

static bool starts_programs(void)
{
    return system("/bin/true") == 0; /* NOLINT: a fixed text */
}

static bool dumps_core(void)
{
    struct rlimit core;
    return getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0;
}

static const struct {
    const char *what;
    bool (*may)(void);
    int alone, net, command; /* whether it is allowed, by reach; -1 = depends on the user */
} acts[] = {
    {"reads another's file", reads_secret, false, false, true},
    {"lists another's directory", lists_other, false, false, true},
    {"writes where it likes", writes_elsewhere, false, false, true},
    {"opens a unix socket", opens_unix, false, false, true},
    {"opens an internet socket", opens_internet, false, true, true},
    {"signals its parent", signals_others, false, false, -1},
    {"makes a namespace", makes_namespace, false, false, false},
    {"leaves its session", leaves_session, false, false, false},
    {"leaves its process group", leaves_group, false, false, false},
    {"dumps core", dumps_core, false, false, false},
    {"writes into its directory", writes_own, true, true, true},
    {"starts programs", starts_programs, true, true, true},
};

/* One bit per act that succeeded; all bits if the child failed. */
static unsigned try_in_child(enum confine_reach reach, uid_t user)
{
    int pipes[2];
    unsigned done = ~0u;
    if (pipe(pipes) != 0)
        return done;
    pid_t child = fork();
    if (child == 0) {
        if (user != geteuid() && (setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0))
            _exit(1);
        struct confine_need need = {
            .reach = reach, .directory = open(own, O_PATH | O_DIRECTORY), .file = -1, .file_bytes = 1 << 20};
        confine(&need);
        done = is_root() && reach != CONFINE_COMMAND ? 1u << NELEMS(acts) : 0;
        for (size_t i = 0; i < NELEMS(acts); i++)
            done |= acts[i].may() ? 1u << i : 0;
        _exit(write(pipes[1], &done, sizeof done) == sizeof done ? 0 : 1);
    }
    close(pipes[1]);
    if (read(pipes[0], &done, sizeof done) != sizeof done)
        done = ~0u;
    close(pipes[0]);
    waitpid(child, NULL, 0);
    return done;
}

static void test_reach(enum confine_reach reach, uid_t user)
{
    static const char *const names[] = {"alone", "net", "command"};
    unsigned done = try_in_child(reach, user);
    diag("%s, user %u", names[reach], (unsigned)user);
    for (size_t i = 0; i < NELEMS(acts); i++) {
        const int may[] = {acts[i].alone, acts[i].net, acts[i].command};
        if (may[reach] >= 0)
            is_int((done >> i) & 1u, may[reach], "%s", acts[i].what);
    }
    is_int(done >> NELEMS(acts), 0, "and is not root");
}

/* There is only a loopback interface, which is down. */
static void test_network(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    pid_t child = fork();
    int status;
    if (child == 0) {
        bool apart = confine_network();
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        _exit(apart && connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno == ENETUNREACH ? 0 : 1);
    }
    ok(waitpid(child, &status, 0) == child && status == 0, "an empty network reaches nobody");
}

static void test_table(void)
{
    for (enum confine_measure measure = 0; measure < CONFINE_MEASURES; measure++)
        is_int(confine_probe(measure), 0, "%s: %s", confine_name(measure), confine_meaning(measure));
}

static void make_files(void)
{
    ok(mkdtemp(top) != NULL && chmod(top, 0777) == 0, "a directory");
    snprintf(own, sizeof own, "%s/own", top);
    snprintf(other, sizeof other, "%s/other", top);
    snprintf(secret, sizeof secret, "%s/jwt.key", top);
    ok(mkdir(own, 0700) == 0 && chmod(own, 0777) == 0 && mkdir(other, 0755) == 0, "and two in it");
    int fd = open(secret, O_CREAT | O_WRONLY, 0644);
    ok(fd >= 0 && close(fd) == 0, "and a file that all may read");
}

int main(void)
{
    make_files();
    confine_prepare();
    for (enum confine_reach reach = CONFINE_ALONE; reach < CONFINE_REACHES; reach++) {
        test_reach(reach, geteuid());
        if (geteuid() == 0)
            test_reach(reach, ORDINARY);
    }
    test_network();
    test_table();
    char *path = xstrdup(top);
    directory_drop(&path);
    ok(path == NULL && access(top, F_OK) != 0, "all of it is removed");
    return done_testing();
}
