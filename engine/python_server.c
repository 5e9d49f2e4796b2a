/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/python_server.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/parse.h"
#include "engine/address.h"
#include "engine/engine_request.h"

/* an interpreter, its options and wrappers may come first */
#define PROGRAM_WORDS_MAX 16

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *const *python_server_options(const struct python_server *server, char *const *argv)
{
	for (int i = 0; argv && argv[i] && argv[i + 1] && i < PROGRAM_WORDS_MAX; i++) {
		bool is_command = strcmp(base_name(argv[i]), server->command[0]) == 0 &&
				  strcmp(argv[i + 1], server->command[1]) == 0;
		bool is_module =
			strcmp(argv[i], "-m") == 0 && strcmp(argv[i + 1], server->module) == 0;

		if (is_command || is_module)
			return argv + i + 2;
	}
	return NULL;
}

/* what follows the name in "--name" or "--name=value"; NULL: another option */
static const char *after_name(const char *word, const char *name)
{
	if (strncmp(word, "--", 2) != 0)
		return NULL;
	for (word += 2; *name != '\0'; word++, name++) {
		if (*word != *name && !(*word == '_' && *name == '-'))
			return NULL;
	}
	return *word == '\0' || *word == '=' ? word : NULL;
}

/* where the command is a script of the user's, all of it may hold options */
static char *const *words_of(const struct python_server *server, const struct engine *engine)
{
	static char *const nothing[] = {NULL};
	char *const *options = python_server_options(server, engine->argv);

	if (options)
		return options;
	return engine->argv ? engine->argv : nothing;
}

const char *python_server_option(const struct python_server *server, const struct engine *engine,
				 const char *name)
{
	const char *value = NULL;

	for (char *const *word = words_of(server, engine); word[0]; word++) {
		const char *after = after_name(word[0], name);

		if (after && *after == '=')
			value = after + 1;
		else if (after)
			value = word[1];
	}
	return value && value[0] ? value : NULL;
}

bool python_server_flag(const struct python_server *server, const struct engine *engine,
			const char *name)
{
	for (char *const *word = words_of(server, engine); word[0]; word++) {
		const char *after = after_name(word[0], name);

		if (after && *after == '\0')
			return true;
	}
	return false;
}

static int find_address(const struct python_server *server, const struct engine *engine,
			char ret_host[ADDRESS_HOST_MAX], int *ret_port, struct snap_error *err)
{
	const char *port = python_server_option(server, engine, "port");
	const char *host = python_server_option(server, engine, "host");

	if (python_server_option(server, engine, "ssl-certfile") ||
	    python_server_option(server, engine, "uds"))
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "%s serves TLS or a unix socket, which cannot be asked: give "
				 "--ready exec:COMMAND, --oracle none and --release none",
				 server->name);
	if (!port && engine->ready_kind == ENGINE_READY_HTTP && engine->ready.host[0]) {
		memcpy(ret_host, engine->ready.host, sizeof(engine->ready.host));
		*ret_port = engine->ready.port;
		return 0;
	}
	*ret_port = server->port;
	if (port && parse_int(port, 1, 65535, ret_port) < 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s has port '%.20s', not 1 to 65535",
				 server->name, port);
	if (!host)
		host = "127.0.0.1";
	return address_set_host(host, strlen(host), ret_host, err);
}

int python_server_request(const struct python_server *server, const struct engine *engine,
			  const char *method, const char *path, struct engine_request *ret,
			  struct snap_error *err)
{
	int r = find_address(server, engine, ret->host, &ret->port, err);

	if (r < 0)
		return r;
	(void)snprintf(ret->path, sizeof(ret->path), "%s", path);
	(void)snprintf(ret->method, sizeof(ret->method), "%s", method);
	return 0;
}

int python_server_authorize(const struct python_server *server, const struct engine *engine,
			    const struct engine_request *request, const char *key,
			    char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err)
{
	char host[ADDRESS_HOST_MAX];
	int port = 0, n;

	/* the key is for the server alone, wherever a URL of the user's may lead */
	buf[0] = '\0';
	if (!key || find_address(server, engine, host, &port, NULL) < 0 || port != request->port ||
	    strcmp(host, request->host) != 0)
		return 0;
	n = snprintf(buf, HTTP_AUTHORIZATION_MAX, "Bearer %s", key);
	for (const char *c = key; *c != '\0'; c++) {
		if (!isprint((unsigned char)*c))
			n = -1;
	}
	if (n >= 0 && n < HTTP_AUTHORIZATION_MAX)
		return 0;
	buf[0] = '\0';
	return snap_fail(err, SNAP_E_USAGE, EINVAL,
			 "the API key of %s is too long or not printable", server->name);
}
