/* SPDX-License-Identifier: MIT */
/* What the fence around a one-shot child costs: `child N` starts a program N times as it is and N times
 * confined to a directory of its own (hub/base/confine.h), in turn, and prints the medians of both and the
 * median of the ratios of neighbours as JSON: microseconds of CPU of parent and child, as the clock would
 * tell of what else runs. */
#include "hub/base/confine.h"
#include "hub/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "/bin/true"

static _Noreturn void become_program(const char *directory)
{
    if (directory) {
        struct confine_need need = {.directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC),
                                    .file = -1,
                                    .cpu_s = 300,
                                    .memory_bytes = (uint64_t)2 << 30,
                                    .files = 64};
        if (fchdir(need.directory) != 0)
            _exit(2);
        confine(&need);
    }
    execl(PROGRAM, PROGRAM, (char *)NULL);
    _exit(2);
}

/* Microseconds of CPU that this process and the children that it has waited for have used. */
static uint64_t used_us(void)
{
    static const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    uint64_t sum = 0;
    for (size_t i = 0; i < NELEMS(whose); i++) {
        struct rusage usage;
        getrusage(whose[i], &usage);
        sum += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
               (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    return sum;
}

/* What it took from before the fork until everything is gone again; ends the program on a failure. */
static uint64_t once(bool confined)
{
    int status = 0;
    uint64_t before = used_us();
    char *directory = confined ? confine_directory(NULL) : NULL;
    pid_t pid = fork();
    if (pid == 0)
        become_program(directory);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    directory_drop(&directory);
    if (pid < 0 || status != 0) {
        fprintf(stderr, "child: %s failed, %s\n", PROGRAM, confined ? "confined" : "as it is");
        exit(1);
    }
    return used_us() - before;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    if (count == 0 || count > 100000) {
        fprintf(stderr, "usage: child N, 1 to 100000\n");
        return 2;
    }
    double *plain = xcalloc(count, sizeof *plain), *confined = xcalloc(count, sizeof *confined),
           *ratios = xcalloc(count, sizeof *ratios);
    confine_prepare();
    for (size_t i = 0; i < count; i++) {
        plain[i] = (double)once(false);
        confined[i] = (double)once(true);
        ratios[i] = confined[i] / plain[i];
    }
    printf("{\"plain_us\":%.1f,\"confined_us\":%.1f,\"ratio\":%.3f}\n", median(plain, count),
           median(confined, count), median(ratios, count));
    free(plain);
    free(confined);
    free(ratios);
    return 0;
}
