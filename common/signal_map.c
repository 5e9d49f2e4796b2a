/* SPDX-License-Identifier: Apache-2.0 */
#include "common/signal_map.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "common/parse.h"

#define DROPPED	 255
#define WORD_MAX 16 /* "SIGRTMIN+30" is the longest */

static int parse_one(const char *text, size_t len, int *ret)
{
	char name[WORD_MAX];

	if (len == 0 || len >= sizeof(name))
		return -EINVAL;
	memcpy(name, text, len);
	name[len] = '\0';
	return parse_signal(name, ret);
}

static int parse_rule(struct signal_map *map, const char *text, size_t len)
{
	const char *colon = memchr(text, ':', len);
	int from, to = 0, r;

	if (!colon)
		return -EINVAL;
	r = parse_one(text, (size_t)(colon - text), &from);
	if (r < 0)
		return r;
	len -= (size_t)(colon - text) + 1;
	if (len != 1 || colon[1] != '0') {
		r = parse_one(colon + 1, len, &to);
		if (r < 0)
			return r;
	}
	map->to[from] = to == 0 ? DROPPED : (uint8_t)to;
	return 0;
}

int signal_map_parse(struct signal_map *map, const char *text)
{
	for (;;) {
		size_t len = strcspn(text, ",");
		int r = parse_rule(map, text, len);

		if (r < 0 || text[len] == '\0')
			return r;
		text += len + 1;
	}
}

int signal_map_get(const struct signal_map *map, int sig)
{
	if (sig < 1 || sig > SIGNAL_MAP_MAX || map->to[sig] == 0)
		return sig;
	return map->to[sig] == DROPPED ? 0 : map->to[sig];
}

void signal_map_default(struct signal_map *map, int from, int to)
{
	if (map->to[from] == 0)
		map->to[from] = (uint8_t)to;
}
