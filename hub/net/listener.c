/* The listening socket, ours so that it can be handed over by systemd, limited
 * per address and paused; and the table of TCP peers. Loop thread only. */
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/net/server_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_BURST 128     /* connections taken in one turn */
#define REFUSE_AFTER_MS 1000 /* a full house waits so long for room before it refuses */

static void on_readable(uv_poll_t *poll, int status, int events);

static void pause_accepting(struct listener *listener)
{
    if (listener->paused_at == 0) {
        uv_poll_stop(&listener->poll);
        listener->paused_at = uv_now(&listener->server->config.loop->uv);
    }
}

static void resume_accepting(struct listener *listener)
{
    if (listener->accepting && listener->paused_at) {
        listener->paused_at = 0;
        uv_poll_start(&listener->poll, UV_READABLE, on_readable);
    }
}

/* Whether the next connection would be one too many that has not authenticated. Then the rest waits in
 * the kernel's queue for a moment: after a restart everybody comes at once. */
static bool crowded(const struct listener *listener)
{
    size_t limit = (size_t)listener->server->config.options->unauthenticated;
    return !listener->refusing && listener->unauthenticated >= limit;
}

/* ---- peers ------------------------------------------------------------------------------------------ */
void peer_authenticated(struct peer *peer)
{
    if (!peer->unauthenticated)
        return;
    peer->unauthenticated = false;
    peer->listener->unauthenticated--;
    if (!crowded(peer->listener))
        resume_accepting(peer->listener);
}

const char *peer_address(const struct peer *peer)
{
    return peer->address->text;
}

static void address_release(struct listener *listener, struct address *address)
{
    if (--address->count)
        return;
    table_remove(&listener->addresses, &address->node);
    free(address);
}

void peer_free(struct peer *peer)
{
    struct listener *listener = peer->listener;
    peer_authenticated(peer);
    listener->count--;
    list_remove(&peer->node);
    address_release(listener, peer->address);
    free(peer);
    if (!crowded(listener))
        resume_accepting(listener); /* a descriptor is free again */
}

/* Text of a peer's address without its port. */
static void address_text(const struct sockaddr_storage *from, char *text, socklen_t size, bool *ret_exempt)
{
    const struct sockaddr_in *v4 = (const void *)from;
    const struct sockaddr_in6 *v6 = (const void *)from;
    *ret_exempt = false;
    if (from->ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, text, size);
        *ret_exempt = (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    } else if (from->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, size);
        *ret_exempt = v6->sin6_addr.s6_addr[12] == 127;
    } else if (from->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, text, size);
        *ret_exempt = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    } else {
        memcpy(text, "unix", 5);
        *ret_exempt = true;
    }
}

static struct address *address_take(struct listener *listener, const struct sockaddr_storage *from)
{
    char text[64];
    bool exempt;
    address_text(from, text, sizeof text, &exempt);
    struct table_node *node = table_find(&listener->addresses, span_of(text));
    struct address *address = node ? container_of(node, struct address, node) : NULL;
    if (address == NULL) {
        address = xcalloc(1, sizeof *address);
        memcpy(address->text, text, sizeof text);
        address->exempt = exempt;
        address->node.key = span_of(address->text);
        table_insert(&listener->addresses, &address->node);
    }
    address->count++;
    return address;
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

static void adopt(struct listener *listener, int fd, const struct sockaddr_storage *from)
{
    const struct options *options = listener->server->config.options;
    if (listener->count >= listener->max) {
        refuse(fd, METRIC_REFUSED_TOTAL);
        return;
    }
    if (listener->unauthenticated >= (size_t)options->unauthenticated) {
        refuse(fd, METRIC_REFUSED_UNAUTHENTICATED);
        return;
    }
    struct address *address = address_take(listener, from);
    if (!address->exempt && address->count > options->address_connections) {
        address_release(listener, address);
        refuse(fd, METRIC_REFUSED_ADDRESS);
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on a unix socket: no matter */
    struct peer *peer = xcalloc(1, sizeof *peer);
    peer->listener = listener;
    peer->address = address;
    peer->unauthenticated = true;
    listener->unauthenticated++;
    listener->count++;
    list_append(&listener->peers, &peer->node);
    metric_add(METRIC_CONNECTIONS_TOTAL, 1);
    peer->wsi = lws_adopt_socket_vhost(listener->server->vhost, fd);
    if (peer->wsi)
        lws_set_opaque_user_data(peer->wsi, peer);
    else
        peer_free(peer);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    (void)status, (void)events;
    for (int i = 0; i < ACCEPT_BURST; i++) {
        if (crowded(listener)) {
            pause_accepting(listener);
            return;
        }
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof from;
        int fd = accept4(listener->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            adopt(listener, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("connections wait: out of file descriptors or memory", "error", strerror(errno));
            pause_accepting(listener);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* On a foreign loop the library arms its timers only behind an event of its own; without one, requests
 * that never come would never time out. */
static void let_library_look(struct listener *listener)
{
    uint64_t now = uv_now(&listener->server->config.loop->uv);
    if (now < listener->looked_at + 1000 || listener->count == listener->server->conns->count)
        return;
    listener->looked_at = now;
    lws_cancel_service(listener->server->context);
}

void listener_tick(struct listener *listener)
{
    let_library_look(listener);
    size_t limit = (size_t)listener->server->config.options->unauthenticated;
    if (listener->unauthenticated < limit)
        listener->refusing = false;
    if (listener->paused_at == 0)
        return;
    uint64_t waited = uv_now(&listener->server->config.loop->uv) - listener->paused_at;
    if (crowded(listener)) {
        listener->refusing = waited >= REFUSE_AFTER_MS;
        if (!listener->refusing)
            return;
    }
    resume_accepting(listener);
}

void listener_stop(struct listener *listener)
{
    if (!listener->accepting)
        return;
    listener->accepting = false;
    uv_close((uv_handle_t *)&listener->poll, NULL);
    close(listener->fd);
    if (listener->unix_path)
        unlink(listener->unix_path);
    free(listener->unix_path);
    listener->unix_path = NULL;
}
