/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_SIGNAL_MAP_H
#define SNAP_COMMON_SIGNAL_MAP_H

/*
 * Which signal the engine gets for one that we get (--rewrite, as with dumb-init). A map of zeroes
 * changes nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#define SIGNAL_MAP_MAX 64

struct signal_map {
	uint8_t to[SIGNAL_MAP_MAX + 1]; /* 0: as it is */
};

/*
 * "15:3", "TERM:QUIT", "HUP:0" (dropped), or several of them with commas between; a later one wins.
 * 0 or -EINVAL, the map may then hold the first of them.
 */
int signal_map_parse(struct signal_map *map, const char *text);

/* the number to send instead of sig, 0: none */
int signal_map_get(const struct signal_map *map, int sig);

/* a rule that yields to one that is there */
void signal_map_default(struct signal_map *map, int from, int to);

#endif
