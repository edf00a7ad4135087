/* SPDX-License-Identifier: MIT */
/* A bare libwebsockets echo server, written the way the library's documentation does it: the default
 * loop, a message kept per connection, one lws_write() per WRITEABLE callback. It is the yardstick of
 * ./run bench: what the library alone costs. Prints its port and serves until SIGTERM. */
#include "hub/base/mem.h"

#include <libwebsockets.h>
#include <signal.h>
#include <stdio.h>

struct message {
    struct message *next;
    size_t size;
    unsigned char data[]; /* LWS_PRE bytes of room, then the text */
};
struct session {
    struct message *first, **end;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static void keep(struct session *session, const void *data, size_t size)
{
    struct message *message = xmalloc(sizeof *message + LWS_PRE + size);
    message->next = NULL;
    message->size = size;
    memcpy(message->data + LWS_PRE, data, size);
    *session->end = message;
    session->end = &message->next;
}

static void drop_first(struct session *session)
{
    struct message *message = session->first;
    session->first = message->next;
    if (session->first == NULL)
        session->end = &session->first;
    free(message);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    struct session *session = user;
    if (reason == LWS_CALLBACK_ESTABLISHED) {
        session->end = &session->first;
    } else if (reason == LWS_CALLBACK_RECEIVE) {
        keep(session, in, size);
        lws_callback_on_writable(wsi);
    } else if (reason == LWS_CALLBACK_SERVER_WRITEABLE && session->first) {
        struct message *message = session->first;
        if (lws_write(wsi, message->data + LWS_PRE, message->size, LWS_WRITE_TEXT) < (int)message->size)
            return -1;
        drop_first(session);
        if (session->first)
            lws_callback_on_writable(wsi);
    } else if (reason == LWS_CALLBACK_CLOSED) {
        while (session->first)
            drop_first(session);
    }
    return 0;
}

int main(void)
{
    static const struct lws_protocols protocols[] = {
        {.name = "taskhub.v1", .callback = on_event, .per_session_data_size = sizeof(struct session)},
        {0},
    };
    struct lws_context_creation_info info = {0};
    info.port = 0;
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    info.gid = (__typeof__(info.gid))-1;
    info.uid = (__typeof__(info.uid))-1;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    lws_set_log_level(LLL_ERR, NULL);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    struct lws_context *context = lws_create_context(&info);
    struct lws_vhost *vhost = context ? lws_create_vhost(context, &info) : NULL;
    if (vhost == NULL) {
        fprintf(stderr, "libwebsockets does not start\n");
        return 1;
    }
    printf("%d\n", lws_get_vhost_listen_port(vhost));
    fflush(stdout);
    while (!stopping && lws_service(context, 0) >= 0)
        continue;
    lws_context_destroy(context);
    return 0;
}
