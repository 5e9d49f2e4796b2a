/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_ADDRESS_H
#define SNAP_ENGINE_ADDRESS_H

/*
 * Where an engine listens: a numeric address or "localhost", and a port. No name service is
 * asked: it would load NSS modules, need files that a container lacks, and block past a deadline.
 * The unspecified addresses mean this host.
 */

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define ADDRESS_HOST_MAX 64

/* "[" host "]:" port */
#define ADDRESS_TEXT_MAX (ADDRESS_HOST_MAX + 16)

/*
 * "127.0.0.1:80", "[::1]:80", "localhost:80"; size bytes of text. default_port 0: the port must be
 * there. The host comes out without brackets. 0 or -EINVAL.
 */
int address_parse(const char *text, size_t size, int default_port, char ret_host[ADDRESS_HOST_MAX],
		  int *ret_port, struct snap_error *err);

/* copy and check a host: numeric, or "localhost"; 0 or -EINVAL */
int address_set_host(const char *text, size_t size, char ret_host[ADDRESS_HOST_MAX],
		     struct snap_error *err);

/* "127.0.0.1:80" or "[::1]:80" */
void address_format(const char *host, int port, char buf[ADDRESS_TEXT_MAX]);

/*
 * A connected, non-blocking, close-on-exec TCP socket, or -errno: -ECONNREFUSED, -ETIMEDOUT …
 * Nothing is said about it in an error: the caller knows what it was for.
 */
int address_connect(const char *host, int port, uint64_t deadline_ns);

#endif
