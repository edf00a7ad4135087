/* Looks a host name up; see redis_resolve.h. */
#include "hub/redis/redis_resolve.h"

#include <netdb.h>

struct redis_resolve {
    uv_getaddrinfo_t request;
    unsigned pick;
    redis_resolve_fn *fn; /* NULL once cancelled */
    void *ctx;
};

static const char *pick_address(const struct addrinfo *list, unsigned pick, char *to, size_t size)
{
    unsigned count = 0;
    for (const struct addrinfo *at = list; at; at = at->ai_next)
        count++;
    if (count == 0)
        return NULL;
    const struct addrinfo *at = list;
    for (pick %= count; pick; pick--)
        at = at->ai_next;
    return getnameinfo(at->ai_addr, at->ai_addrlen, to, (socklen_t)size, NULL, 0, NI_NUMERICHOST) == 0 ? to
                                                                                                       : NULL;
}

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct redis_resolve *resolve = request->data;
    char text[64];
    const char *address = status == 0 ? pick_address(list, resolve->pick, text, sizeof text) : NULL;
    if (resolve->fn)
        resolve->fn(resolve->ctx, address, address ? NULL : status < 0 ? uv_strerror(status) : "no address");
    uv_freeaddrinfo(list);
    free(resolve);
}

struct redis_resolve *redis_resolve(struct loop *loop, const char *host, unsigned pick, redis_resolve_fn *fn,
                                    void *ctx)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct redis_resolve *resolve = xcalloc(1, sizeof *resolve);
    resolve->request.data = resolve;
    resolve->pick = pick;
    resolve->fn = fn;
    resolve->ctx = ctx;
    int rc = uv_getaddrinfo(&loop->uv, &resolve->request, on_found, host, NULL, &hints);
    if (rc == 0)
        return resolve;
    free(resolve);
    fn(ctx, NULL, uv_strerror(rc));
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
