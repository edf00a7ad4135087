/* SPDX-License-Identifier: MIT */
/* The listening socket (host:port, [v6]:port, unix:PATH, or the one that systemd passes), where accepting is
 * limited per address and paused; and the table of TCP peers. Loop thread only. */
#include "hub/base/file.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/net/address.h"
#include "hub/net/server_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_BURST 128      /* most connections accepted in one turn */
#define NEWCOMER_MS 200       /* time in which a new peer is not closed to make room */
#define CROWDED_AFTER_MS 1000 /* after waiting this long for room, closes the oldest peer at any age */
#define PROBE_PLACES 16       /* more peers, for probes, from the spare descriptors */

/* ---- states ------------------------------------------------------------------------------------------ */
static void on_readable(uv_poll_t *poll, int status, int events);

static uint64_t now_of(const struct listener *listener)
{
    return uv_now(&listener->server->config.loop->uv);
}

static void close_socket(struct listener *listener)
{
    loop_close(listener->poll);
    close(listener->fd);
    if (listener->unix_path)
        unlink(listener->unix_path);
    free(listener->unix_path);
    listener->unix_path = NULL;
}

static void listener_become(struct listener *listener, enum listener_state to)
{
    static const unsigned moves[] = {
        [LISTENER_CLOSED] = 1u << LISTENER_PAUSED,
        [LISTENER_PAUSED] = 1u << LISTENER_ACCEPTING | 1u << LISTENER_CROWDED | 1u << LISTENER_CLOSED,
        [LISTENER_ACCEPTING] = 1u << LISTENER_PAUSED | 1u << LISTENER_CLOSED,
        [LISTENER_CROWDED] = 1u << LISTENER_PAUSED | 1u << LISTENER_ACCEPTING | 1u << LISTENER_CLOSED,
    };
    enum listener_state before = listener->state;
    if (!(moves[before] & 1u << to))
        abort();
    listener->state = to;
    if (to == LISTENER_CLOSED) {
        close_socket(listener);
    } else if (to == LISTENER_PAUSED) {
        uv_poll_stop(listener->poll);
    } else if (before == LISTENER_PAUSED) {
        uv_poll_start(listener->poll, UV_READABLE, on_readable);
    }
}

/* Whether the limit of unauthenticated connections is reached. More connections then wait in the kernel's
 * queue for a moment: after a restart all clients connect at the same time. */
static bool is_full(const struct listener *listener)
{
    return listener->unauthenticated.used >= (size_t)listener->server->config.options->unauthenticated;
}

/* Call when a peer has gone or authenticated, which makes room. */
static void resume_accepting(struct listener *listener)
{
    if (listener->state == LISTENER_PAUSED && !is_full(listener))
        listener_become(listener, LISTENER_ACCEPTING);
}

/* ---- opening --------------------------------------------------------------------------------------- */
#define LISTEN_FD_FIRST 3 /* first descriptor that systemd passes */

/* Reports an error; takes ownership of the reason. */
static int fail(char **ret_reason, char *reason)
{
    *ret_reason = reason;
    return -1;
}

/* The descriptor from socket activation, -1 if there is none. */
static int inherited_socket(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    if (pid == NULL || fds == NULL || strtol(pid, NULL, 10) != getpid() || strtol(fds, NULL, 10) < 1)
        return -1;
    fcntl(LISTEN_FD_FIRST, F_SETFD, FD_CLOEXEC);
    fcntl(LISTEN_FD_FIRST, F_SETFL, fcntl(LISTEN_FD_FIRST, F_GETFL) | O_NONBLOCK);
    return LISTEN_FD_FIRST;
}

/* Whether a process accepts connections at a unix socket. */
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
        return fail(ret_reason, xasprintf("option listen: the path of a unix socket has 1 to %zu bytes",
                                          sizeof at.sun_path - 1));
    memcpy(at.sun_path, path, strlen(path));
    if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (unix_alive(&at))
            return fail(ret_reason, xasprintf("option listen: %s is in use", path));
        unlink(path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return fail(ret_reason, xasprintf("option listen: %s: %s", path, strerror(error)));
    }
    /* The operator decides who may connect, by the umask that the hub was started with. */
    if (chmod(path, 0777 & ~file_umask()) < 0)
        log_warn("the mode of the socket cannot be set", "path", path);
    listener->unix_path = xstrdup(path);
    return fd;
}

/* Splits "host:port" and "[v6]:port"; an empty host means all addresses. */
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
        return fail(ret_reason,
                    xasprintf("option listen: '%s' is none of host:port, [v6]:port, unix:PATH", text));
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0)
        return fail(ret_reason, xasprintf("option listen: %s: %s", text, gai_strerror(rc)));
    int fd = -1;
    for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = bind_one(at);
    int error = errno;
    freeaddrinfo(found);
    if (fd < 0)
        return fail(ret_reason, xasprintf("option listen: cannot listen at %s: %s", text, strerror(error)));
    return fd;
}

/* Writes the address that the socket is bound to. */
static void name_socket(int fd, char *name, size_t size)
{
    struct sockaddr_storage at = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof at;
    char host[INET6_ADDRSTRLEN] = "", port[8] = "";
    getsockname(fd, (struct sockaddr *)&at, &len);
    const struct sockaddr_un *un = (const void *)&at;
    if (at.ss_family == AF_UNIX) {
        snprintf(name, size, "unix:%.*s", (int)sizeof un->sun_path, un->sun_path);
        return;
    }
    getnameinfo((struct sockaddr *)&at, len, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(name, size, at.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

bool listener_open(struct listener *listener, struct server *server, char **ret_reason)
{
    const char *text = server->config.options->listen;
    listener->server = server;
    list_init(&listener->peers);
    list_init(&listener->newcomers);
    list_init(&listener->http);
    list_init(&listener->going);
    int fd = inherited_socket();
    if (fd < 0)
        fd = strncmp(text, "unix:", 5) == 0 ? open_unix(listener, text + 5, ret_reason)
                                            : open_tcp(text, ret_reason);
    if (fd < 0)
        return false;
    if (listen(fd, SOMAXCONN) < 0) {
        fail(ret_reason, xasprintf("option listen: %s: %s", text, strerror(errno)));
        close(fd);
        return false;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof on); /* accepted sockets inherit it; fails for a unix socket */
    listener->fd = fd;
    listener->input = xmalloc(SERVER_INPUT_BYTES);
    wheel_init(&listener->wheel, now_of(listener));
    name_socket(fd, listener->name, sizeof listener->name);
    listener->poll = xcalloc(1, sizeof *listener->poll);
    uv_poll_init(&server->config.loop->uv, listener->poll, fd);
    listener->poll->data = listener;
    listener_become(listener, LISTENER_PAUSED);
    return true;
}

/* ---- peers ------------------------------------------------------------------------------------------ */
static void peer_become(struct peer *peer, enum peer_state to)
{
    static const unsigned moves[] = {
        [PEER_NEW] = 1u << PEER_NEW | 1u << PEER_HTTP | 1u << PEER_KNOWN | 1u << PEER_GOING,
        [PEER_HTTP] = 1u << PEER_HTTP | 1u << PEER_NEW | 1u << PEER_GOING,
        [PEER_KNOWN] = 0,
        [PEER_GOING] = 1u << PEER_GOING,
    };
    struct listener *listener = peer->listener;
    struct list *const order[] = {&listener->newcomers, &listener->http, NULL, &listener->going};
    if (!(moves[peer->state] & 1u << to))
        abort();
    peer->state = to;
    peer->since = now_of(listener);
    charge_give(&peer->place);
    charge_give(&peer->address_place);
    list_remove(&peer->order);
    if (order[to])
        list_append(order[to], &peer->order);
    resume_accepting(listener);
}

void peer_authenticated(struct peer *peer)
{
    if (peer->state == PEER_NEW)
        peer_become(peer, PEER_KNOWN);
}

static struct peer *oldest_peer(const struct list *order)
{
    return list_empty(order) ? NULL : container_of(order->next, struct peer, order);
}

static bool is_in_reserve(const struct peer *peer)
{
    return charge_quota(&peer->seat) == &peer->listener->reserve;
}

enum http_place peer_asks(struct peer *peer, bool probe)
{
    struct listener *listener = peer->listener;
    size_t limit = (size_t)listener->server->config.options->http_connections;
    if (peer->state == PEER_GOING || (is_in_reserve(peer) && !probe))
        return HTTP_NO_PLACE;
    peer_become(peer, PEER_HTTP);
    if (listener->http_peers.used >= limit)
        peer_become(oldest_peer(&listener->http), PEER_GOING);
    if (peer->state != PEER_HTTP || !charge_take(&peer->place, &listener->http_peers, QUOTA_ONE, 1, limit))
        return HTTP_NO_PLACE;
    return is_in_reserve(peer) ? HTTP_ONE_ANSWER : HTTP_STAYS;
}

/* How many of its address may be unauthenticated. */
static size_t newcomers_of(const struct peer *peer)
{
    const struct options *options = peer->listener->server->config.options;
    bool local = address_is_local(span_of(peer_address(peer)));
    return local ? QUOTA_UNLIMITED : (size_t)options->address_unauthenticated;
}

enum http_place peer_upgrades(struct peer *peer)
{
    struct listener *listener = peer->listener;
    if (peer->state == PEER_GOING || is_in_reserve(peer))
        return HTTP_NO_PLACE;
    struct span address = span_of(peer_address(peer));
    size_t limit = (size_t)listener->server->config.options->unauthenticated;
    peer_become(peer, PEER_NEW);
    bool taken =
        charge_take(&peer->place, &listener->unauthenticated, QUOTA_ONE, 1, limit) &&
        charge_take(&peer->address_place, &listener->address_newcomers, address, 1, newcomers_of(peer));
    return taken ? HTTP_STAYS : HTTP_NO_PLACE;
}

/* Closes the peers that must make room. Do not call from the event of a peer. */
static void close_leaving(struct listener *listener)
{
    for (struct peer *peer; (peer = oldest_peer(&listener->going)) != NULL;) {
        list_remove(&peer->order);
        peer_drop(peer);
    }
}

/* Whether there is room for another unauthenticated peer, if necessary by closing the oldest one. */
static bool make_room(struct listener *listener)
{
    if (!is_full(listener))
        return true;
    struct peer *peer = oldest_peer(&listener->newcomers);
    uint64_t now = now_of(listener);
    if (peer == NULL || (listener->state != LISTENER_CROWDED && now - peer->since < NEWCOMER_MS))
        return false;
    metric_add(METRIC_REFUSED_UNAUTHENTICATED, 1);
    peer_become(peer, PEER_GOING);
    close_leaving(listener);
    return !is_full(listener);
}

const char *peer_address(const struct peer *peer)
{
    return charge_who(&peer->address);
}

static void peer_free(struct peer *peer)
{
    struct listener *listener = peer->listener;
    charge_give(&peer->seat);
    charge_give(&peer->place);
    charge_give(&peer->address_place);
    charge_give(&peer->address);
    list_remove(&peer->node);
    list_remove(&peer->order);
    wheel_stop(&peer->timer);
    free(peer);
    resume_accepting(listener);
}

static void on_peer(uv_poll_t *poll, int status, int events)
{
    struct peer *peer = poll->data;
    peer->role->event(peer, status < 0 ? UV_DISCONNECT : events);
}

void peer_watch(struct peer *peer, int events)
{
    if (events == peer->events)
        return;
    peer->events = events;
    if (events)
        uv_poll_start(peer->poll, events, on_peer);
    else
        uv_poll_stop(peer->poll);
}

void peer_drop_in(struct peer *peer, uint64_t ms)
{
    peer->due = ms ? now_of(peer->listener) + ms : 0;
    if (ms)
        wheel_set(&peer->listener->wheel, &peer->timer, peer->due);
}

void peer_drop(struct peer *peer)
{
    peer->role->gone(peer);
    loop_close(peer->poll);
    close(peer->fd);
    peer_free(peer);
}

/* Drops the peers whose time is up. */
static void drop_late(struct listener *listener)
{
    uint64_t now = now_of(listener);
    for (struct wheel_timer *timer; (timer = wheel_next(&listener->wheel, now)) != NULL;) {
        struct peer *peer = container_of(timer, struct peer, timer);
        if (peer->due && now >= peer->due)
            peer_drop(peer);
        else if (peer->due)
            wheel_set(&listener->wheel, timer, peer->due);
    }
}

/* ---- accepting --------------------------------------------------------------------------------------- */
static void refuse(int fd, enum metric reason)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
                               "Content-Length: 0\r\n\r\n";
    metric_add(reason, 1);
    if (send(fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        shutdown(fd, SHUT_WR);
    close(fd);
}

/* Charges a new peer to its quotas; false and the metric of the limit that refused it. */
static bool charge_peer(struct peer *peer, struct span address, enum metric *ret_reason)
{
    struct listener *listener = peer->listener;
    const struct options *options = listener->server->config.options;
    bool local = address_is_local(address);
    size_t of_address = local ? QUOTA_UNLIMITED : (size_t)options->address_connections;
    if (!charge_take(&peer->seat, &listener->all, QUOTA_ONE, 1, listener->max) &&
        !charge_take(&peer->seat, &listener->reserve, QUOTA_ONE, 1, PROBE_PLACES))
        *ret_reason = METRIC_REFUSED_TOTAL;
    else if (!charge_take(&peer->place, &listener->unauthenticated, QUOTA_ONE, 1, QUOTA_UNLIMITED))
        *ret_reason = METRIC_REFUSED_UNAUTHENTICATED;
    else if (!charge_take(&peer->address, &listener->addresses, address, 1, of_address) ||
             !charge_take(&peer->address_place, &listener->address_newcomers, address, 1, newcomers_of(peer)))
        *ret_reason = METRIC_REFUSED_ADDRESS;
    else
        return true;
    return false;
}

static void add_peer(struct listener *listener, int fd, struct span address)
{
    enum metric reason;
    uv_loop_t *loop = &listener->server->config.loop->uv;
    struct peer *peer = xcalloc(1, sizeof *peer);
    peer->listener = listener;
    peer->since = now_of(listener);
    list_append(&listener->peers, &peer->node);
    list_init(&peer->order);
    list_append(&listener->newcomers, &peer->order);
    wheel_timer_init(&peer->timer);
    if (!charge_peer(peer, address, &reason)) {
        peer_free(peer);
        refuse(fd, reason);
        return;
    }
    metric_add(METRIC_CONNECTIONS_TOTAL, 1);
    peer->fd = fd;
    peer->poll = xcalloc(1, sizeof *peer->poll);
    uv_poll_init(loop, peer->poll, fd);
    peer->poll->data = peer;
    listener->welcome(peer);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    (void)status, (void)events;
    close_leaving(listener);
    for (int i = 0; i < ACCEPT_BURST; i++) {
        if (!make_room(listener)) {
            listener_become(listener, LISTENER_PAUSED);
            return;
        }
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof from;
        char text[ADDRESS_SIZE];
        int fd = accept4(listener->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_peer(listener, fd, address_of(&from, size, text));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("connections wait: out of file descriptors or memory", "error", strerror(errno));
            listener_become(listener, LISTENER_PAUSED);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

void listener_tick(struct listener *listener)
{
    uint64_t now = now_of(listener);
    drop_late(listener);
    close_leaving(listener);
    if (!is_full(listener))
        listener->full_since = 0;
    else if (listener->full_since == 0)
        listener->full_since = now;
    bool crowded = listener->full_since && now - listener->full_since >= CROWDED_AFTER_MS;
    if (listener->state == LISTENER_CROWDED ? !crowded : listener->state == LISTENER_PAUSED)
        listener_become(listener, crowded ? LISTENER_CROWDED : LISTENER_ACCEPTING);
}

void listener_stop(struct listener *listener)
{
    if (listener->state != LISTENER_CLOSED)
        listener_become(listener, LISTENER_CLOSED);
}

void listener_free(struct listener *listener)
{
    free(listener->input);
    quota_free(&listener->all);
    quota_free(&listener->unauthenticated);
    quota_free(&listener->reserve);
    quota_free(&listener->http_peers);
    quota_free(&listener->addresses);
    quota_free(&listener->address_newcomers);
}
