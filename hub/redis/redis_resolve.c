/* Looks a host up; see redis_resolve.h. */
#include "hub/redis/redis_resolve.h"

#include <netdb.h>
#include <stdio.h>

struct redis_resolve {
    uv_getaddrinfo_t request;
    unsigned pick;
    redis_resolve_fn *fn; /* NULL once cancelled */
    void *ctx;
};

static const struct addrinfo *pick_address(const struct addrinfo *list, unsigned pick)
{
    unsigned count = 0;
    for (const struct addrinfo *at = list; at; at = at->ai_next)
        count++;
    for (pick = count ? pick % count : 0; pick; pick--)
        list = list->ai_next;
    return list;
}

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct redis_resolve *resolve = request->data;
    const struct addrinfo *one = status == 0 ? pick_address(list, resolve->pick) : NULL;
    if (resolve->fn && one)
        resolve->fn(resolve->ctx, one->ai_addr, one->ai_addrlen, NULL);
    else if (resolve->fn)
        resolve->fn(resolve->ctx, NULL, 0, status < 0 ? uv_strerror(status) : "no address");
    uv_freeaddrinfo(list);
    free(resolve);
}

struct redis_resolve *redis_resolve(struct loop *loop, const char *host, unsigned port, unsigned pick,
                                    redis_resolve_fn *fn, void *ctx)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *numeric;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &numeric) == 0) {
        fn(ctx, numeric->ai_addr, numeric->ai_addrlen, NULL);
        freeaddrinfo(numeric);
        return NULL;
    }
    struct redis_resolve *resolve = xcalloc(1, sizeof *resolve);
    resolve->request.data = resolve;
    resolve->pick = pick;
    resolve->fn = fn;
    resolve->ctx = ctx;
    hints.ai_flags = AI_NUMERICSERV;
    int rc = uv_getaddrinfo(&loop->uv, &resolve->request, on_found, host, service, &hints);
    if (rc == 0)
        return resolve;
    free(resolve);
    fn(ctx, NULL, 0, uv_strerror(rc));
    return NULL;
}

void redis_resolve_cancel(struct redis_resolve **resolve)
{
    if (*resolve == NULL)
        return;
    (*resolve)->fn = NULL;
    uv_cancel((uv_req_t *)&(*resolve)->request); /* or it comes to its end unheard */
    *resolve = NULL;
}
