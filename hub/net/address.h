/* SPDX-License-Identifier: MIT */
/* Addresses of peers, in the form that limits count by. Pure functions, any thread. */
#pragma once

#include "hub/base/span.h"

#include <stdbool.h>
#include <sys/socket.h>

#define ADDRESS_SIZE 64
/* Writes the address that a peer is counted by into `text`, and returns it: "192.0.2.7", "2001:db8:0:7::/64"
 * (a provider assigns at least such a network to each customer), "unix". An IPv4 address mapped into IPv6
 * becomes the IPv4 address. */
struct span address_of(const struct sockaddr_storage *from, socklen_t size, char text[static ADDRESS_SIZE]);
/* Whether the address belongs to this machine: then the limit per address does not apply. */
bool address_is_local(struct span address);
