/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_CONFIG_FILE_H
#define SNAP_COMMON_CONFIG_FILE_H

/*
 * The configuration file: lines `key = value`, empty lines, and lines that begin with #. What the
 * keys mean is the option tables' matter. Text and lines lie in the struct, which must not move
 * while anybody uses a value; nothing is allocated. docs/man/snapinit.conf.5.scd.in is normative.
 */

#include <limits.h>
#include <stddef.h>

#include "common/error.h"

#define CONFIG_SIZE_MAX	 16384U
#define CONFIG_LINES_MAX 256U
#define CONFIG_WHERE_MAX (PATH_MAX + 16) /* "PATH:LINE" */
#define CONFIG_NONE	 "none"		 /* for a path: no file at all */

struct config_line {
	const char *key;
	const char *value; /* without blanks at its ends, not empty */
	unsigned int number;
};

struct config_file {
	char path[PATH_MAX]; /* for messages; empty: there is no file */
	struct config_line lines[CONFIG_LINES_MAX];
	unsigned int n;
	char text[CONFIG_SIZE_MAX + 1];
};

/*
 * The file at `chosen`, which must be there, or for NULL the first of the well-known ones that is:
 * /etc/snapinit.conf, and etc/snapinit.conf beside the folder of the running program (a bundle's).
 * None is fine then. A symbolic link, what is no regular file, and what others own or may write
 * when we are root, is refused: what stands in it is executed. SNAP_E_USAGE says what is wrong and
 * where.
 */
int config_file_load(struct config_file *config, const char *chosen, struct snap_error *err);

/* the first of `places` (NULL ends them) that is there */
int config_file_load_first(struct config_file *config, const char *const *places,
			   struct snap_error *err);

/* take config->text (size bytes) apart; config->path is for messages */
int config_file_parse(struct config_file *config, size_t size, struct snap_error *err);

#endif
