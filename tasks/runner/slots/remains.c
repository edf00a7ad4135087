/* SPDX-License-Identifier: MIT */
/* The worker's directory, its lock and its record; see remains.h. The record is trusted: only the worker's
 * user can write it, and no confined task can. */
#include "tasks/runner/slots/remains.h"

#include "hub/base/file.h"
#include "hub/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "taskhub-worker-"
#define RECORD "processes"
#define GROUPS_MAX 4096
#define ROUNDS_MAX 100 /* rounds over all processes, to catch those forked in the last one */

struct group {
    int32_t leader, session; /* leader 0 = free place */
    uint64_t started;        /* start time of the leader, from /proc */
};

struct numbers { /* identifies where pids are valid: this boot, this pid namespace */
    char boot[40];
    uint64_t namespace; /* its inode */
};

struct record { /* the file's content, mapped */
    struct numbers numbers;
    struct group groups[GROUPS_MAX];
};

struct remains {
    char *directory;
    int fd; /* of the directory, which is locked */
    struct record *record;
};

/* ---- processes ---- */

/* Reads group, session and start time of a process; false if there is none with this pid or it is dead. */
static bool look_at(pid_t pid, struct group *ret)
{
    char path[32], text[1024], *behind_name, state;
    unsigned long long started;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    ssize_t n = file_read(path, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    behind_name = strrchr(text, ')');
    if (behind_name == NULL ||
        sscanf(behind_name, ") %c %*d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &ret->leader, &ret->session, &started) != 4)
        return false;
    ret->started = started;
    return state != 'Z' && state != 'X';
}

static struct numbers numbers_here(void)
{
    struct numbers here = {.boot = ""};
    struct stat about = {0};
    file_read("/proc/sys/kernel/random/boot_id", here.boot, sizeof here.boot);
    stat("/proc/self/ns/pid", &about);
    here.namespace = about.st_ino;
    return here;
}

/* Whether the process belongs to a recorded group. The number of a group is not reused while it has
 * members. */
static bool is_listed(const struct record *record, const struct group *found)
{
    for (size_t i = 0; i < GROUPS_MAX; i++) {
        const struct group *group = &record->groups[i];
        if (group->leader > 1 && group->leader == found->leader && group->session == found->session &&
            group->started <= found->started)
            return true;
    }
    return false;
}

/* Kills the recorded groups in one round over all processes. Returns how many processes were found alive. */
static unsigned kill_listed(const struct record *record)
{
    struct group found;
    unsigned count = 0;
    DIR *all = opendir("/proc");
    for (struct dirent *entry; all && (entry = readdir(all)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && look_at(pid, &found) && is_listed(record, &found))
            count += kill(-found.leader, SIGKILL) == 0;
    }
    if (all)
        closedir(all);
    return count;
}

/* ---- directories ---- */

static struct record *map(int directory, int flags)
{
    struct stat about;
    int fd = openat(directory, RECORD, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    void *mapped = MAP_FAILED;
    if (fd >= 0 && flags & O_CREAT)
        errno = posix_fallocate(fd, 0, sizeof(struct record));
    if (fd >= 0 && fstat(fd, &about) == 0 && about.st_uid == geteuid() &&
        about.st_size == sizeof(struct record))
        mapped = mmap(NULL, sizeof(struct record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static void remove_dead_worker(char *directory, int fd)
{
    struct record *record = map(fd, 0);
    struct numbers here = numbers_here();
    bool same = record && memcmp(&here, &record->numbers, sizeof here) == 0;
    for (unsigned round = 0; same && round < ROUNDS_MAX && kill_listed(record); round++)
        continue;
    log_warn("a worker was killed; what it left behind is removed", "directory", directory);
    if (record)
        munmap(record, sizeof *record);
    directory_drop(&directory);
}

/* Opens a directory that this user owns. */
static int open_own(const char *path)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (fstat(fd, &about) != 0 || about.st_uid != geteuid())) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Removes a directory, with its groups, if its worker is dead. One without a record is still being made. */
static void clean_up(const char *parent, const char *name)
{
    char *path = xasprintf("%s/%s", parent, name);
    int fd = open_own(path);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && faccessat(fd, RECORD, F_OK, 0) == 0)
        remove_dead_worker(xstrdup(path), fd);
    if (fd >= 0)
        close(fd);
    free(path);
}

static void clean_up_all(const char *parent)
{
    DIR *all = opendir(parent);
    for (struct dirent *entry; all && (entry = readdir(all)) != NULL;)
        if (strncmp(entry->d_name, NAME, strlen(NAME)) == 0)
            clean_up(parent, entry->d_name);
    if (all)
        closedir(all);
}

/* ---- the object ---- */

struct remains *remains_new(void)
{
    const char *parent = getenv("TMPDIR");
    parent = parent && *parent ? parent : "/tmp";
    clean_up_all(parent);
    struct remains *remains = xcalloc(1, sizeof *remains);
    remains->directory = xasprintf("%s/" NAME "XXXXXX", parent);
    remains->fd = mkdtemp(remains->directory) ? open_own(remains->directory) : -1;
    /* Others may enter it but not list it: only those who know a slot's directory find it. */
    if (remains->fd >= 0 && fchmod(remains->fd, 0711) == 0 && flock(remains->fd, LOCK_EX | LOCK_NB) == 0)
        remains->record = map(remains->fd, O_CREAT | O_EXCL);
    if (remains->record)
        remains->record->numbers = numbers_here();
    else
        remains_free(&remains);
    return remains;
}

void remains_free(struct remains **remains)
{
    struct remains *gone = *remains;
    int error = errno;
    *remains = NULL;
    if (gone == NULL)
        return;
    if (gone->record)
        munmap(gone->record, sizeof *gone->record);
    if (gone->fd >= 0)
        directory_drop(&gone->directory);
    if (gone->fd >= 0)
        close(gone->fd);
    free(gone->directory);
    free(gone);
    errno = error;
}

const char *remains_directory(const struct remains *remains)
{
    return remains->directory;
}

/* The record's place of a leader (0 = a free place); NULL if there is none. */
static struct group *place_of(struct remains *remains, pid_t leader)
{
    for (size_t i = 0; i < GROUPS_MAX; i++)
        if (remains->record->groups[i].leader == leader)
            return &remains->record->groups[i];
    return NULL;
}

bool remains_add(struct remains *remains, pid_t leader)
{
    struct group found = {.session = getsid(leader)}, *place = place_of(remains, 0);
    if (place == NULL)
        return false;
    look_at(leader, &found); /* reads its start time, which /proc may hide */
    *place = (struct group){.leader = leader, .session = found.session, .started = found.started};
    return true;
}

void remains_remove(struct remains *remains, pid_t leader)
{
    struct group *place = place_of(remains, leader);
    if (place)
        place->leader = 0;
}

void remains_guard(const char *directory)
{
    int fd = open_own(directory);
    struct record *record = NULL;
    if (fd >= 0 && flock(fd, LOCK_EX) == 0)
        record = map(fd, 0);
    if (record == NULL)
        return; /* the worker has removed it itself */
    for (size_t i = 0; i < GROUPS_MAX; i++)
        if (record->groups[i].leader > 1)
            kill(-record->groups[i].leader, SIGKILL); /* its number is not reused yet */
    remove_dead_worker(xstrdup(directory), fd);
    close(fd);
}
