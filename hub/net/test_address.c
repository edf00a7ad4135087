/* SPDX-License-Identifier: MIT */
/* The address that a peer is counted by. */
#include "hub/net/address.h"
#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static void counts_as(const char *address, const char *want, bool local)
{
    struct sockaddr_storage at = {.ss_family = strchr(address, ':') ? AF_INET6 : AF_INET};
    char text[ADDRESS_SIZE], seen[ADDRESS_SIZE];
    bool six = at.ss_family == AF_INET6;
    void *to = six ? (void *)&((struct sockaddr_in6 *)&at)->sin6_addr
                   : (void *)&((struct sockaddr_in *)&at)->sin_addr;
    if (inet_pton(at.ss_family, address, to) != 1)
        abort();
    struct span found = address_of(&at, six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), text);
    snprintf(seen, sizeof seen, "%.*s", SPAN_ARG(found));
    is_text(seen, want, "%s", address);
    is_int(address_is_local(found), local, "is %sof this machine", local ? "" : "not ");
}

int main(void)
{
    char text[ADDRESS_SIZE];
    struct sockaddr_storage unix_socket = {.ss_family = AF_UNIX};
    counts_as("192.0.2.7", "192.0.2.7", false);
    counts_as("127.0.0.9", "127.0.0.9", true);
    counts_as("::ffff:192.0.2.7", "192.0.2.7", false);
    counts_as("::ffff:127.0.0.1", "127.0.0.1", true);
    counts_as("::1", "::1", true);
    counts_as("2001:db8:0:7::1", "2001:db8:0:7::/64", false);
    counts_as("2001:db8:0:7:ffff:ffff:ffff:ffff", "2001:db8:0:7::/64", false);
    counts_as("2001:db8:0:8::1", "2001:db8:0:8::/64", false);
    ok(span_is(address_of(&unix_socket, sizeof unix_socket, text), "unix"), "a unix socket");
    ok(address_is_local(SPAN("unix")), "is of this machine");
    return done_testing();
}
