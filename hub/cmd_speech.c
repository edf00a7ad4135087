/* SPDX-License-Identifier: MIT */
/* `taskhub speech fetch`; see commands.h. Brings the engine moonshine: has pip download one wheel, of which
 * it takes no other than those with the hashes below, and puts library, runtime, model and licences into one
 * folder. Which server that wheel comes from is pip's configuration. The folder appears as a whole or not at
 * all. */
#include "hub/commands.h"

#include "hub/base/buf.h"
#include "hub/base/file.h"
#include "hub/base/id.h"
#include "hub/config/cli.h"
#include "hub/config/embed.h"
#include "hub/config/moonshine_dir.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERSION "0.0.73"
#define MARK "version" /* file of the folder that holds VERSION; written last */

/* x86_64, then two builds for aarch64. */
static const char requirement[] =
    "moonshine-voice==" VERSION
    " --hash=sha256:6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db"
    " --hash=sha256:c56de7614b18bbc65d8f4f2cb7432d8a258311aef38a49e9e16c8d06df8085f0"
    " --hash=sha256:d01e1343bfeb436a59f7d8562566d4b2f2a526297328d776a13d1544887aec61\n";

/* What is wanted of the wheel. */
static const char *const wanted[] = {("moonshine_voice/" MOONSHINE_LIBRARY), "moonshine_voice.libs/*",
                                     "moonshine_voice/assets/tiny-en/*", "*.dist-info/licenses/LICENSE"};

static const struct cli_command speech_command = {
    .program = "taskhub",
    .name = "taskhub speech fetch",
    .summary = "Brings the speech engine moonshine, once, by pip (PIP_INDEX_URL, PIP_FIND_LINKS and pip's\n"
               "files say from where). It is put where speech.moonshine_dir says; 112 MB.",
    .usage = "taskhub speech fetch [option…]",
};

static bool write_file(const char *directory, const char *name, struct span text)
{
    char *path CLEANUP(free_char) = xasprintf("%s/%s", directory, name);
    FILE *file = fopen(path, "we");
    bool fine = file && fwrite(text.p, 1, text.n, file) == text.n;
    fine = file && fclose(file) == 0 && fine;
    return fine && chmod(path, 0644) == 0;
}

/* Runs a program to its end; its complaints go to our stderr, and so does the rest. */
static bool run(const char *const *argv)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return status == 0;
}

/* Downloads the wheel into `work` and unpacks it there. */
static bool unpack(const char *python, const char *work)
{
    char *list CLEANUP(free_char) = xasprintf("%s/requirements.txt", work);
    char *wheels CLEANUP(free_char) = xasprintf("%s/wheels", work);
    char *pattern CLEANUP(free_char) = xasprintf("%s/*.whl", wheels);
    char *to CLEANUP(free_char) = xasprintf("%s/unpacked", work);
    glob_t found = {0};
    const char *const download[] = {python,
                                    "-m",
                                    "pip",
                                    "download",
                                    "--quiet",
                                    "--no-input",
                                    "--disable-pip-version-check",
                                    "--retries",
                                    "1",
                                    "--no-deps",
                                    "--only-binary=:all:",
                                    "--require-hashes",
                                    "--dest",
                                    wheels,
                                    "--requirement",
                                    list,
                                    NULL};
    if (!run(download) || glob(pattern, 0, NULL, &found) != 0)
        return false;
    bool fine = run((const char *const[]){python, "-m", "zipfile", "-e", found.gl_pathv[0], to, NULL});
    globfree(&found);
    return fine;
}

/* Moves the files that match into the folder, open to all. */
static bool take(const char *work, const char *pattern, const char *folder)
{
    char *path CLEANUP(free_char) = xasprintf("%s/unpacked/%s", work, pattern);
    glob_t found = {0};
    bool fine = glob(path, 0, NULL, &found) == 0;
    for (size_t i = 0; fine && i < found.gl_pathc; i++) {
        char *to CLEANUP(free_char) = xasprintf("%s%s", folder, strrchr(found.gl_pathv[i], '/'));
        fine = rename(found.gl_pathv[i], to) == 0 && chmod(to, 0644) == 0;
    }
    globfree(&found);
    return fine;
}

static bool is_there(const char *dir)
{
    char *path CLEANUP(free_char) = xasprintf("%s/" MARK, dir), text[sizeof VERSION + 1];
    return file_read(path, text, sizeof text) == sizeof VERSION - 1 &&
           memcmp(text, VERSION, sizeof VERSION - 1) == 0;
}

/* Puts the folder together and in its place, where an older one may be. */
static bool put(const char *work, const char *dir)
{
    char *folder CLEANUP(free_char) = xasprintf("%s/folder", work);
    const struct embed *notice = embed_find(span_of("NOTICE"));
    bool fine = notice && mkdir(folder, 0755) == 0 && chmod(folder, 0755) == 0;
    for (size_t i = 0; fine && i < NELEMS(wanted); i++)
        fine = take(work, wanted[i], folder);
    fine = fine && write_file(folder, "NOTICE", notice->data) && write_file(folder, MARK, span_of(VERSION));
    if (!fine)
        return false;
    if (access(dir, F_OK) == 0 && !is_there(dir))
        directory_clear(dir);
    return rename(folder, dir) == 0 || is_there(dir);
}

/* False and *ret_reason (free()). Python without pip is no reason to give up while Debian's own has it. */
static bool fetch(const char *dir, char **ret_reason)
{
    char *work = xasprintf("%s.XXXXXX", dir);
    if (mkdtemp(work) == NULL) {
        *ret_reason = xasprintf("%s: %s; speech.moonshine_dir names another place", dir, strerror(errno));
        free(work);
        return false;
    }
    bool fine = write_file(work, "requirements.txt", span_of(requirement)) &&
                (unpack("python3", work) || unpack("/usr/bin/python3", work));
    if (!fine)
        *ret_reason = xstrdup("moonshine-voice " VERSION " could not be had (python3 -m pip)");
    else if (!(fine = put(work, dir)))
        *ret_reason = xasprintf("%s: %s", dir, strerror(errno));
    directory_drop(&work);
    return fine;
}

int cmd_speech(int argc, char **argv)
{
    struct options options;
    char *reason CLEANUP(free_char) = NULL;
    int code;
    if (argc < 2 || strcmp(argv[1], "fetch") != 0)
        return cli_usage_error(&speech_command, xstrdup("what to do is missing: fetch"));
    if (!cli_begin(&speech_command, argc - 1, argv + 1, &options, &code))
        return code;
    char *dir CLEANUP(free_char) = moonshine_dir(&options);
    bool fine = is_there(dir) || fetch(dir, &reason);
    if (fine)
        printf("moonshine-voice " VERSION " is in %s\n", dir);
    else
        fprintf(stderr, "taskhub: %s; without it the engine builtin serves\n", reason);
    options_free(&options);
    return fine ? EXIT_FINE : EXIT_TROUBLE;
}
