/* SPDX-License-Identifier: MIT */
/* The measures; see confine.h. Owns the system call filters, which are built once per process.
 * Single-threaded. */
#include "hub/base/confine.h"

#include "hub/base/user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 4096 /* most processes of the user, all counted; only stops a flood of forks */
#define NOBODY 65534   /* uid that a process of root becomes; owns no file */

/* ---- limits ---- */

/* Lowers both limits, and never raises one. */
static bool limit(__rlimit_resource_t resource, uint64_t soft, uint64_t hard)
{
    struct rlimit now;
    if (getrlimit(resource, &now) < 0)
        return false;
    now.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
    now.rlim_cur = soft < now.rlim_max ? soft : now.rlim_max;
    return setrlimit(resource, &now) == 0;
}

static bool apply_limits(const struct confine_need *need)
{
    bool done = limit(RLIMIT_CORE, 0, 0) && limit(RLIMIT_NPROC, PROCESSES, PROCESSES) &&
                limit(RLIMIT_FSIZE, need->file_bytes, need->file_bytes);
    if (need->files)
        done &= limit(RLIMIT_NOFILE, need->files, need->files);
    if (need->cpu_s)
        done &= limit(RLIMIT_CPU, need->cpu_s, need->cpu_s + 5);
    if (need->memory_bytes)
        done &= limit(RLIMIT_AS, need->memory_bytes, need->memory_bytes);
    return done;
}

/* ---- files ---- */

/* Newer than the oldest headers that this builds with. */
#define RIGHTS_1 ((1ULL << 13) - 1) /* all rights of Landlock's first version */
#define RIGHT_REFER (1ULL << 13)
#define RIGHT_TRUNCATE (1ULL << 14)
#define RIGHT_IOCTL (1ULL << 15)
#define NET_RIGHTS 3ULL /* TCP: bind, connect */
#define SCOPES 3ULL     /* signals and abstract sockets: only to processes of its own */
#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RUN (READ | LANDLOCK_ACCESS_FS_EXECUTE)
#define OF_A_FILE                                                                                            \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE |             \
     RIGHT_TRUNCATE | RIGHT_IOCTL)
#define DEVICE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)

struct ruleset { /* the struct of Landlock's newest version */
    uint64_t files, net, scopes;
};

static uint64_t rights_of(long version)
{
    return RIGHTS_1 | (version >= 2 ? RIGHT_REFER : 0) | (version >= 3 ? RIGHT_TRUNCATE : 0) |
           (version >= 5 ? RIGHT_IOCTL : 0);
}

/* The paths that programs and libraries need to run. */
static const struct {
    const char *path;
    uint64_t rights;
    bool net;
} open_paths[] = {
    {"/usr", RUN, false},
    {"/bin", RUN, false},
    {"/lib", RUN, false},
    {"/lib32", RUN, false},
    {"/lib64", RUN, false},
    {"/etc/ld.so.cache", READ, false},
    {"/etc/alternatives", READ, false},
    {"/etc/localtime", READ, false},
    {"/dev/null", DEVICE, false},
    {"/dev/zero", DEVICE, false},
    {"/dev/urandom", READ, false},
    {"/proc/self", READ, false},
    {"/proc/cpuinfo", READ, false},
    {"/proc/meminfo", READ, false},
    {"/proc/sys/vm/overcommit_memory", READ, false},
    {"/sys/devices/system/cpu", READ, false},
    {"/etc/resolv.conf", READ, true},
    {"/etc/hosts", READ, true},
    {"/etc/nsswitch.conf", READ, true},
    {"/etc/host.conf", READ, true},
    {"/etc/gai.conf", READ, true},
    {"/etc/services", READ, true},
    {"/etc/ssl", READ, true},
    {"/etc/pki", READ, true},
    {"/run/systemd/resolve", READ, true}, /* resolv.conf may be a link into this */
};

static void allow_fd(int ruleset, int fd, uint64_t rights)
{
    struct stat about;
    if (fd < 0 || fstat(fd, &about) < 0)
        return;
    if (!S_ISDIR(about.st_mode))
        rights &= OF_A_FILE;
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static void allow_path(int ruleset, const char *path, uint64_t rights)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    allow_fd(ruleset, fd, rights);
    if (fd >= 0)
        close(fd);
}

static void allow_all(int ruleset, const struct confine_need *need, uint64_t rights)
{
    for (size_t i = 0; i < NELEMS(open_paths); i++)
        if (!open_paths[i].net || need->reach == CONFINE_NET)
            allow_path(ruleset, open_paths[i].path, open_paths[i].rights);
    if (need->readable && *need->readable)
        allow_path(ruleset, need->readable, READ);
    allow_fd(ruleset, need->directory,
             rights & ~(RIGHT_IOCTL | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                        LANDLOCK_ACCESS_FS_EXECUTE));
    allow_fd(ruleset, need->file, LANDLOCK_ACCESS_FS_READ_FILE);
}

static bool apply_files(const struct confine_need *need)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1 || need->reach == CONFINE_COMMAND)
        return false;
    struct ruleset rules = {.files = rights_of(version)};
    size_t size = version >= 6   ? sizeof rules
                  : version >= 4 ? offsetof(struct ruleset, scopes)
                                 : sizeof(uint64_t);
    rules.net = version >= 4 && need->reach != CONFINE_NET ? NET_RIGHTS : 0;
    rules.scopes = version >= 6 ? SCOPES : 0;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (ruleset < 0)
        return false;
    allow_all(ruleset, need, rules.files);
    bool done =
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    return done;
}

/* ---- who it is ---- */

/* Gives directory and file to the user that the process is about to become. */
static bool take_along(const struct confine_need *need, uid_t uid, gid_t gid)
{
    return (need->file < 0 || fchown(need->file, uid, gid) == 0) &&
           (need->directory < 0 || fchownat(need->directory, "", uid, gid, AT_EMPTY_PATH) == 0);
}

/* Root becomes need->user, or nobody; any other user stays. */
static bool apply_user(const struct confine_need *need)
{
    struct user user;
    if (geteuid() != 0)
        return true;
    if (need->user && *need->user && user_find(need->user, &user))
        return take_along(need, user.uid, user.gid) && user_become(&user, false) && user.uid != 0;
    return take_along(need, NOBODY, NOBODY) && setgroups(0, NULL) == 0 &&
           setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

static bool apply_privileges(const struct confine_need *need)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
    (void)need;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_capset, &header, none) == 0;
}

char *confine_directory(const char *parent)
{
    if (parent == NULL)
        parent = getenv("TMPDIR");
    char *path = xasprintf("%s/taskhub-XXXXXX", parent && *parent ? parent : "/tmp");
    if (mkdtemp(path))
        return path;
    free(path);
    return NULL;
}

/* ---- system calls ---- */

/* Calls that no task needs: those that affect other processes, mounts and namespaces, the system's state, the
 * kernel's newer interfaces; and those that leave the process group, which is killed as a whole. */
static const char *const forbidden[] = {
    "setsid",
    "setpgid",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "process_madvise",
    "kcmp",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "fanotify_init",
    "name_to_handle_at",
    "open_by_handle_at",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "vhangup",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "iopl",
    "ioperm",
    "personality",
};
static const uint64_t namespaces[] = {CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID,   CLONE_NEWNS,
                                      CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};

#define PROGRAM_MAX 4096 /* most instructions that the kernel accepts */
static struct sock_filter programs[CONFINE_REACHES][PROGRAM_MAX];
static unsigned short lengths[CONFINE_REACHES];

static void forbid(scmp_filter_ctx filter, const char *name, int error)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number != __NR_SCMP_ERROR)
        seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), number, 0);
}

static void forbid_sockets(scmp_filter_ctx filter, enum confine_reach reach)
{
    if (reach == CONFINE_ALONE)
        forbid(filter, "socket", EACCES);
    for (unsigned family = 0; reach == CONFINE_NET && family < AF_MAX; family++)
        if (family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
            seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                             (struct scmp_arg_cmp){.arg = 0, .op = SCMP_CMP_EQ, .datum_a = family});
}

static scmp_filter_ctx make_filter(enum confine_reach reach)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL)
        return NULL;
    for (size_t i = 0; i < NELEMS(forbidden); i++)
        forbid(filter, forbidden[i], EPERM);
    for (size_t i = 0; i < NELEMS(namespaces); i++)
        seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                         SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
    forbid(filter, "clone3", ENOSYS); /* a filter cannot see its flags; libraries then fall back to clone() */
    forbid_sockets(filter, reach);
    return filter;
}

static void build(enum confine_reach reach)
{
    scmp_filter_ctx filter = make_filter(reach);
    int fd = filter ? memfd_create("filter", MFD_CLOEXEC) : -1;
    if (fd >= 0 && seccomp_export_bpf(filter, fd) == 0) {
        ssize_t n = pread(fd, programs[reach], sizeof programs[reach], 0);
        lengths[reach] = n > 0 ? (unsigned short)((size_t)n / sizeof(struct sock_filter)) : 0;
    }
    if (fd >= 0)
        close(fd);
    if (filter)
        seccomp_release(filter);
}

void confine_prepare(void)
{
    for (enum confine_reach reach = CONFINE_ALONE; reach < CONFINE_REACHES; reach++)
        if (lengths[reach] == 0)
            build(reach);
}

static bool apply_calls(const struct confine_need *need)
{
    struct sock_fprog program = {lengths[need->reach], programs[need->reach]};
    errno = ENOSYS;
    return program.len && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* ---- the network ---- */

static bool write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

/* Root may make the namespace; other users need a user namespace around it, in which they keep their
 * identity. */
bool confine_network(void)
{
    char user[48], group[48];
    snprintf(user, sizeof user, "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
    snprintf(group, sizeof group, "%u %u 1", (unsigned)getegid(), (unsigned)getegid());
    if (geteuid() == 0)
        return unshare(CLONE_NEWNET) == 0;
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_map("/proc/self/setgroups", "deny") &&
           write_map("/proc/self/uid_map", user) && write_map("/proc/self/gid_map", group);
}

static bool probe_network(const struct confine_need *need)
{
    (void)need;
    return confine_network();
}

/* ---- all of them ---- */

/* Applied in this order: each may remove what only the earlier ones need. */
static const struct measure {
    const char *name, *meaning, *without;
    bool (*apply)(const struct confine_need *need);
} measures[CONFINE_MEASURES] = {
    [CONFINE_LIMITS] = {"limits", "core, processes, files, file size, CPU time",
                        "a task may take what its user may", apply_limits},
    [CONFINE_FILES] = {"landlock", "system libraries to read, an empty directory of its own to write",
                       "only their modes close files to a task", apply_files},
    [CONFINE_USER] = {"user", "not root", "tasks are root", apply_user},
    [CONFINE_PRIVILEGES] = {"privileges", "no capabilities, none by programs it starts",
                            "a task has those of the worker", apply_privileges},
    [CONFINE_CALLS] = {"seccomp",
                       "no sockets, no calls that change the system, no way out of its process group",
                       "a task may open sockets, and a daemon that it starts outlives it", apply_calls},
    [CONFINE_NETWORK] = {"network", "an empty network namespace", "seccomp alone closes the network",
                         probe_network},
};

unsigned confine(const struct confine_need *need)
{
    unsigned in_force = 0;
    confine_prepare(); /* before the limits, which would stop it */
    for (size_t i = 0; i < CONFINE_NETWORK; i++)
        in_force |= measures[i].apply(need) ? 1u << i : 0;
    return in_force;
}

const char *confine_name(enum confine_measure measure)
{
    return measures[measure].name;
}

const char *confine_meaning(enum confine_measure measure)
{
    return measures[measure].meaning;
}

const char *confine_without(enum confine_measure measure)
{
    return measures[measure].without;
}

int confine_probe(enum confine_measure measure)
{
    const struct confine_need need = {.directory = -1, .file = -1};
    int status;
    confine_prepare();
    pid_t child = fork();
    if (child == 0) {
        errno = 0;
        bool done = measures[measure].apply(&need);
        _exit(done ? 0 : errno ? errno : ENOTSUP);
    }
    if (child < 0)
        return errno;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : ENOTSUP;
}
