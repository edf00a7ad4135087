/* Opens the listening socket: host:port, [v6]:port, unix:PATH, or the one systemd hands over. At start,
 * on the loop thread. */
#include "hub/base/log.h"
#include "hub/net/server_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_FD_FIRST 3 /* systemd's */

static int fail(char **ret_reason, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int fail(char **ret_reason, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (vasprintf(ret_reason, fmt, args) < 0)
        *ret_reason = xstrdup("out of memory");
    va_end(args);
    return -1;
}

/* The descriptor of socket activation, -1 if there is none. */
static int handed_over(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    if (pid == NULL || fds == NULL || strtol(pid, NULL, 10) != getpid() || strtol(fds, NULL, 10) < 1)
        return -1;
    fcntl(LISTEN_FD_FIRST, F_SETFD, FD_CLOEXEC);
    fcntl(LISTEN_FD_FIRST, F_SETFL, fcntl(LISTEN_FD_FIRST, F_GETFL) | O_NONBLOCK);
    return LISTEN_FD_FIRST;
}

/* Whether somebody accepts connections at a unix socket. */
static bool unix_alive(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) == 0;
    if (fd >= 0)
        close(fd);
    return alive;
}

static int open_unix(struct listener *listener, const char *path, char **ret_reason)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    if (path[0] == '\0' || strlen(path) >= sizeof at.sun_path)
        return fail(ret_reason, "option listen: the path of a unix socket has 1 to %zu bytes",
                    sizeof at.sun_path - 1);
    memcpy(at.sun_path, path, strlen(path));
    if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (unix_alive(&at))
            return fail(ret_reason, "option listen: %s is in use", path);
        unlink(path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return fail(ret_reason, "option listen: %s: %s", path, strerror(error));
    }
    listener->unix_path = xstrdup(path);
    return fd;
}

/* Splits "host:port" and "[v6]:port"; an empty host means every address. */
static bool split_address(const char *text, char *host, size_t size, const char **ret_port)
{
    const char *colon = strrchr(text, ':'), *start = text, *end = colon;
    if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    if (text[0] == '[') {
        start = text + 1;
        end = colon - 1;
        if (end < start || *end != ']')
            return false;
    } else if (memchr(text, ':', (size_t)(colon - text))) {
        return false; /* an IPv6 address without brackets */
    }
    if ((size_t)(end - start) >= size)
        return false;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    *ret_port = colon + 1;
    return true;
}

static int bind_one(const struct addrinfo *at)
{
    int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int open_tcp(const char *text, char **ret_reason)
{
    char host[256];
    const char *port;
    if (!split_address(text, host, sizeof host, &port))
        return fail(ret_reason, "option listen: '%s' is none of host:port, [v6]:port, unix:PATH", text);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0)
        return fail(ret_reason, "option listen: %s: %s", text, gai_strerror(rc));
    int fd = -1;
    for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = bind_one(at);
    int error = errno;
    freeaddrinfo(found);
    if (fd < 0)
        return fail(ret_reason, "option listen: cannot listen at %s: %s", text, strerror(error));
    return fd;
}

/* Writes what the socket is bound to. */
static void name_socket(int fd, char *name, size_t size)
{
    struct sockaddr_storage at = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof at;
    char host[INET6_ADDRSTRLEN] = "";
    getsockname(fd, (struct sockaddr *)&at, &len);
    const struct sockaddr_in *v4 = (const void *)&at;
    const struct sockaddr_in6 *v6 = (const void *)&at;
    if (at.ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(name, size, "%s:%u", host, ntohs(v4->sin_port));
    } else if (at.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(name, size, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_un *un = (const void *)&at;
        snprintf(name, size, "unix:%.*s", (int)sizeof un->sun_path, un->sun_path);
    }
}

bool listener_open(struct listener *listener, struct server *server, char **ret_reason)
{
    const char *text = server->config.options->listen;
    listener->server = server;
    list_init(&listener->peers);
    int fd = handed_over();
    if (fd < 0)
        fd = strncmp(text, "unix:", 5) == 0 ? open_unix(listener, text + 5, ret_reason)
                                            : open_tcp(text, ret_reason);
    if (fd < 0)
        return false;
    if (listen(fd, SOMAXCONN) < 0) {
        fail(ret_reason, "option listen: %s: %s", text, strerror(errno));
        close(fd);
        return false;
    }
    listener->fd = fd;
    name_socket(fd, listener->name, sizeof listener->name);
    return true;
}
