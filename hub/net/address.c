/* SPDX-License-Identifier: MIT */
/* Addresses of peers; see address.h. */
#include "hub/net/address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* Clears the half of an IPv6 address that the customer chooses. Returns the suffix that says so. */
static const char *drop_host(struct sockaddr_storage *at)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)at;
    if (at->ss_family != AF_INET6 || IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
        IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return "";
    memset(in6->sin6_addr.s6_addr + 8, 0, 8);
    return "/64";
}

struct span address_of(const struct sockaddr_storage *from, socklen_t size, char text[static ADDRESS_SIZE])
{
    struct sockaddr_storage at = *from;
    if (from->ss_family != AF_INET && from->ss_family != AF_INET6)
        return SPAN("unix");
    const char *mark = drop_host(&at);
    char number[ADDRESS_SIZE - sizeof "/64"] = "";
    getnameinfo((const struct sockaddr *)&at, size, number, sizeof number, NULL, 0, NI_NUMERICHOST);
    snprintf(text, ADDRESS_SIZE, "%s%s", number, mark);
    bool mapped = strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.');
    return span_of(mapped ? text + 7 : text);
}

bool address_is_local(struct span address)
{
    return span_is(address, "unix") || span_is(address, "::1") || strncmp(address.p, "127.", 4) == 0;
}
