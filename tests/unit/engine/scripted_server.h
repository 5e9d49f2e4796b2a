/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_UNIT_ENGINE_SCRIPTED_SERVER_H
#define SNAP_TESTS_UNIT_ENGINE_SCRIPTED_SERVER_H

/*
 * A process that listens on a free port of the loopback and gives each connection the next answer
 * of a script (the last one for ever), in time or out of it. What it saw is in shared memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct scripted_answer {
	const char *text;
	size_t repeat;	      /* send text so many times; 0 is once */
	unsigned int wait_ms; /* before the answer */
	unsigned int byte_ms; /* after each byte */
	bool reset;	      /* RST where the others close */
	bool stay;	      /* do not close: wait for the client's end */
	bool deaf;	      /* do not read the request first */
};

struct scripted_server_seen {
	unsigned int connections; /* ended ones */
	bool client_closed_first; /* in the last one */
	char request[16384];	  /* the last one */
};

struct scripted_server {
	pid_t pid;
	int port;
	struct scripted_server_seen *seen;
};

void scripted_server_start(struct scripted_server *s, const struct scripted_answer *answers,
			   size_t n);

/* the same, but it begins to listen only after delay_ms; until then connections are refused */
void scripted_server_start_late(struct scripted_server *s, const struct scripted_answer *answers,
				size_t n, unsigned int delay_ms);

/* wait until n connections have ended */
void scripted_server_wait(const struct scripted_server *s, unsigned int n);
void scripted_server_stop(struct scripted_server *s);

/* a port on which nobody listens, held (bound) by *ret_fd */
int scripted_server_dead_port(int *ret_fd);

#endif
