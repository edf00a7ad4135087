/* The files of the page: from the program itself, or from the directory web_root while somebody works on
 * them. Loop thread only; reading web_root blocks, so it is for development. */
#include "hub/config/embed.h"
#include "hub/net/server_private.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX 8388608

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/vnd.microsoft.icon"},
    {".json", "application/json"},
    {".wav", "audio/wav"},
    {".ts", "text/plain; charset=utf-8"},
    {".txt", "text/plain; charset=utf-8"},
};

static const char *type_of(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < NELEMS(types); i++) {
        size_t m = strlen(types[i].suffix);
        if (n > m && strcmp(name + n - m, types[i].suffix) == 0)
            return types[i].type;
    }
    return NULL;
}

/* Names of files that may be asked for: no hidden ones, no way up. */
static bool name_valid(struct span name)
{
    if (name.n == 0 || name.n > 200)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool start = i == 0 || name.p[i - 1] == '/';
        if (!isalnum((unsigned char)c) && (start || strchr("._-/", c) == NULL))
            return false;
    }
    return true;
}

static bool read_file(const char *path, struct buf *to)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    struct stat st;
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_BYTES_MAX;
    while (ok) {
        ssize_t n = read(fd, buf_reserve(to, 65536), 65536);
        if (n <= 0) {
            ok = n == 0;
            break;
        }
        to->len += (size_t)n;
        ok = to->len <= FILE_BYTES_MAX;
    }
    close(fd);
    return ok;
}

/* Reads a file that lies, links resolved, below the directory. */
static bool from_directory(const char *root, const char *name, struct buf *hold, struct http_answer *ret)
{
    char base[PATH_MAX], path[PATH_MAX], real[PATH_MAX];
    const char *type = type_of(name);
    if (type == NULL || realpath(root, base) == NULL)
        return false;
    size_t n = strlen(base);
    if (snprintf(path, sizeof path, "%s/%s", base, name) >= (int)sizeof path || realpath(path, real) == NULL)
        return false;
    if (strncmp(real, base, n) != 0 || real[n] != '/' || !read_file(real, hold))
        return false;
    *ret = (struct http_answer){.status = 200, .type = type, .body = buf_span(hold)};
    return true;
}

static bool find(const struct options *options, struct span name, struct buf *hold, struct http_answer *ret)
{
    char text[256];
    if (!name_valid(name))
        return false;
    snprintf(text, sizeof text, "%.*s", SPAN_ARG(name));
    if (options->web_root && options->web_root[0])
        return from_directory(options->web_root, text, hold, ret);
    const struct embed *file = embed_find(name);
    if (file == NULL)
        return false;
    *ret = (struct http_answer){.status = 200, .type = file->type, .body = file->data, .etag = file->etag};
    return true;
}

/* Pages of any origin may load the client library; the hub still decides by Origin who may connect. */
#define OPEN_TO_PAGES                                                                                        \
    "Access-Control-Allow-Origin: *\r\n"                                                                     \
    "Cross-Origin-Resource-Policy: cross-origin\r\n"

bool assets_find(const struct options *options, struct span path, struct buf *hold,
                 struct http_answer *ret_answer)
{
    static const struct span sdk = {"/sdk/", 5};
    char name[256];
    if (path.n == 0 || path.p[0] != '/' || path.n > sizeof name - 16)
        return false;
    bool library = path.n > sdk.n && memcmp(path.p, sdk.p, sdk.n) == 0;
    if (library)
        snprintf(name, sizeof name, "%.*s", (int)path.n - 1, path.p + 1);
    else
        snprintf(name, sizeof name, "app%.*s", SPAN_ARG(path.n == 1 ? SPAN("/index.html") : path));
    if (!find(options, span_of(name), hold, ret_answer))
        return false;
    if (library)
        ret_answer->header = OPEN_TO_PAGES;
    return true;
}
