/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_PYTHON_SERVER_H
#define SNAP_ENGINE_PYTHON_SERVER_H

/*
 * What vLLM and SGLang have in common: Python programs that are started as a command or a module,
 * with options of argparse ("--port 80", "--port=80", '_' for '-'; of two the last), behind which
 * HTTP is served.
 */

#include <stdbool.h>

#include "engine/engine.h"
#include "engine/http.h"

struct python_server {
	const char *name;	/* in messages */
	const char *command[2]; /* program and its first word */
	const char *module;
	int port; /* the default */
};

/* the words after the program's own name; NULL: it is not in argv */
char *const *python_server_options(const struct python_server *server, char *const *argv);

/* NULL: not there, or empty */
const char *python_server_option(const struct python_server *server, const struct engine *engine,
				 const char *name);

bool python_server_flag(const struct python_server *server, const struct engine *engine,
			const char *name);

/* where it listens, by its options, else by the user's readiness URL; 0 or -EINVAL */
int python_server_request(const struct python_server *server, const struct engine *engine,
			  const char *method, const char *path, struct engine_request *ret,
			  struct snap_error *err);

/* "Bearer KEY" for a request to the server itself, else empty; key NULL: none */
int python_server_authorize(const struct python_server *server, const struct engine *engine,
			    const struct engine_request *request, const char *key,
			    char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err);

#endif
