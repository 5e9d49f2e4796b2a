/* SPDX-License-Identifier: Apache-2.0 */
#include "common/dialect.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"

#define STATUS_USAGE	   125
#define STATUS_USAGE_THEIR 1

static const struct {
	const char *name;
	enum dialect dialect;
} names[] = {
	{"tini", DIALECT_TINI},		  {"tini-static", DIALECT_TINI},
	{"docker-init", DIALECT_TINI},	  {"dumb-init", DIALECT_DUMB_INIT},
	{"catatonit", DIALECT_CATATONIT},
};

enum dialect dialect_of_program(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	const char *name = slash ? slash + 1 : path;

	for (unsigned int i = 0; name && i < ARRAY_LEN(names); i++) {
		if (strcmp(names[i].name, name) == 0)
			return names[i].dialect;
	}
	return DIALECT_NONE;
}

int dialect_parse(const char *word, enum dialect *ret)
{
	enum dialect dialect = word[0] == '\0' ? DIALECT_TINI : dialect_of_program(word);

	/* a program's path is no word */
	if (strchr(word, '/') || (dialect == DIALECT_NONE && strcmp(word, "none") != 0))
		return -EINVAL;
	*ret = dialect;
	return 0;
}

void dialect_print_version(enum dialect dialect)
{
	/* Docker reads "tini version" off whatever stands in for its docker-init */
	if (dialect == DIALECT_DUMB_INIT)
		(void)fputs("dumb-init v" SNAP_VERSION "_snapinit\n", stderr);
	else
		(void)fputs("tini version " SNAP_VERSION "_snapinit\n", stdout);
}

int dialect_usage_status(enum dialect dialect)
{
	return dialect == DIALECT_NONE ? STATUS_USAGE : STATUS_USAGE_THEIR;
}
