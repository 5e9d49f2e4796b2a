/* SPDX-License-Identifier: Apache-2.0 */
/* hold NAME: hold one kind of object and wait; hold --list[-unprivileged]: the table */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"

#include "tests/unit/task/holdings.h"

#define EXIT_NOT_OFFERED 77

static int list(bool unprivileged)
{
	const struct holding *holding;

	for (size_t i = 0; (holding = holding_at(i)) != NULL; i++) {
		enum criu_answer answer = unprivileged ? holding->criu_unprivileged : holding->criu;
		const char *finding =
			unprivileged ? holding->finding_unprivileged : holding->finding;

		(void)printf("%s\t%s\t%s\t%s\t%s\n", holding->name,
			     answer == CRIU_REFUSES ? "refuses" : "dumps",
			     holding->transient ? "~" : "", finding ? finding : "",
			     holding->beyond ? holding->beyond : "");
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct holding *holding;
	int r;

	if (argc != 2)
		return 2;
	if (strcmp(argv[1], "--list") == 0 || strcmp(argv[1], "--list-unprivileged") == 0)
		return list(argv[1][6] != '\0');
	holding = holding_find(argv[1]);
	if (!holding)
		return 2;
	(void)fd_close_from_except(3, NULL, 0);
	r = holding->hold();
	if (r < 0) {
		(void)printf("%s\n", strerror(-r));
		return EXIT_NOT_OFFERED;
	}
	(void)printf("ready\n");
	(void)fflush(stdout);
	for (;;)
		(void)pause();
}
