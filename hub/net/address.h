/* SPDX-License-Identifier: MIT */
/* Addresses of peers, as limits count them. Pure functions, any thread. */
#pragma once

#include "hub/base/span.h"

#include <stdbool.h>
#include <sys/socket.h>

#define ADDRESS_SIZE 64
/* Whom a peer counts as, in `text`: "192.0.2.7", "2001:db8:0:7::/64" (a customer of a provider has one such
 * net at least), "unix". An IPv4 address inside of an IPv6 one is itself. */
struct span address_of(const struct sockaddr_storage *from, socklen_t size, char text[static ADDRESS_SIZE]);
/* Whether peers of this address are of this machine: then one address may have any number of them. */
bool address_is_local(struct span address);
