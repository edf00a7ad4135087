/* SPDX-License-Identifier: MIT */
/* Gives every file of a directory to a fuzz target, as a TAP test: what was found once stays found. */
#include "tests/fuzz/fuzz.h"
#include "tests/lib/tap.h"

#include <dirent.h>

static void replay(const char *directory, const char *name)
{
    static uint8_t data[1 << 20];
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(data, 1, sizeof data, file) : 0;
    if (file)
        fclose(file);
    uint8_t *copy = malloc(n ? n : 1); /* of the exact size, so that a sanitizer sees a read behind it */
    memcpy(copy, data, n);
    ok(file && LLVMFuzzerTestOneInput(copy, n) == 0, "%s", name);
    free(copy);
}

int main(int argc, char **argv)
{
    DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    if (directory == NULL) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.')
            replay(argv[1], entry->d_name);
    closedir(directory);
    return done_testing();
}
