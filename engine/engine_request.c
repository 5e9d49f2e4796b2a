/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine_request.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "engine/address.h"
#include "engine/http.h"

int engine_request_set_url(struct engine_request *request, const char *url, size_t size,
			   struct snap_error *err)
{
	const size_t scheme_size = strlen("http://");
	const char *address, *path, *end = url + size;
	int shown = (int)(size < 200 ? size : 200);

	if (size < scheme_size || strncmp(url, "http://", scheme_size) != 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "'%.*s' does not begin with http:// (TLS is not spoken)", shown,
				 url);
	/* a blank or a line end would make another request of it */
	for (const char *c = url; c < end; c++) {
		if (!isgraph((unsigned char)*c) || *c == '#')
			return snap_fail(err, SNAP_E_USAGE, EINVAL,
					 "'%.*s' holds a character that must be written as %%XX",
					 shown, url);
	}
	address = url + scheme_size;
	path = memchr(address, '/', (size_t)(end - address));
	if (!path)
		path = end;
	if ((size_t)(end - path) >= sizeof(request->path))
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "path of '%.*s' is too long", shown,
				 url);
	if (address_parse(address, (size_t)(path - address), 80, request->host, &request->port,
			  err) < 0) {
		snap_error_prefix(err, "'%.*s'", shown, url);
		return -EINVAL;
	}
	(void)snprintf(request->path, sizeof(request->path), "%.*s", (int)(end - path), path);
	if (path == end)
		(void)snprintf(request->path, sizeof(request->path), "/");
	return 0;
}

int engine_request_parse(const char *text, struct engine_request *ret, struct snap_error *err)
{
	struct engine_request request = {0};
	const char *url, *rest;
	size_t url_size;

	if (strcmp(text, "none") == 0) {
		*ret = request;
		return 0;
	}
	if (strncmp(text, "GET ", 4) == 0)
		(void)snprintf(request.method, sizeof(request.method), "GET");
	else if (strncmp(text, "POST ", 5) == 0)
		(void)snprintf(request.method, sizeof(request.method), "POST");
	else
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "'%.200s' is not 'GET URL', 'POST URL BODY' or 'none'", text);

	url = text + strlen(request.method) + 1;
	url_size = strcspn(url, " ");
	rest = url + url_size + (url[url_size] == ' ' ? 1 : 0);
	if (request.method[0] == 'G' && *rest != '\0')
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "a GET request has no body: '%.200s'",
				 text);
	if (strlen(rest) >= sizeof(request.body))
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "body of the request is over %zu bytes",
				 sizeof(request.body) - 1);
	if (engine_request_set_url(&request, url, url_size, err) < 0)
		return -EINVAL;
	memcpy(request.body, rest, strlen(rest) + 1);
	*ret = request;
	return 0;
}

int engine_request_format(const struct engine_request *request, char *buf, size_t size)
{
	char name[HTTP_NAME_MAX];
	int n;

	if (request->method[0] == '\0') {
		n = snprintf(buf, size, "none");
	} else {
		http_request_name(request, name);
		n = snprintf(buf, size, "%s%s%s", name, request->body[0] ? " " : "", request->body);
	}
	return n < 0 || (size_t)n >= size ? -ENOSPC : 0;
}
